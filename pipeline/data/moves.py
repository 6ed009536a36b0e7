"""Random flips, quarter turns and small affine moves of a volume, as one step.

Each would be a pass over the volume, and an affine one a slow one. Here they are multiplied first;
the voxels move once, and are interpolated only where an affine move was drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .resampling import Interpolation, resampled

Plane = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Move:
    """Where the voxels of a moved volume come from.

    Attributes:
        matrix: Shape (3, 3). An index of the moved volume, counted from its centre, times this is
            the index that it came from, counted likewise.
        turns_only: Whether it exchanges and mirrors axes and does nothing else.
    """

    matrix: NDArray[np.float64]
    turns_only: bool

    def __call__(self, volume: Tensor, interpolation: Interpolation) -> Tensor:
        """Moves a volume.

        Args:
            volume: Shape (C, X, Y, Z), left unchanged. Axes that are exchanged have one size.
            interpolation: Between voxels; beyond the border the nearest voxel of it counts.

        Returns:
            The same shape; of its own memory.
        """
        if self.turns_only:
            return self._turned(volume)
        return resampled(volume, self.matrix, interpolation)

    def _turned(self, volume: Tensor) -> Tensor:
        sources = np.abs(self.matrix).argmax(axis=0)
        mirrored = [1 + axis for axis in range(3) if self.matrix[sources[axis], axis] < 0]
        turned = volume.permute(0, *(1 + int(source) for source in sources))
        return (turned.flip(mirrored) if mirrored else turned.clone()).contiguous()


@dataclass(frozen=True)
class Moves:
    """What moves are drawn from.

    Attributes:
        flip: Probability of a mirror along each axis.
        quarter_turns: Probability of one to three quarter turns in each plane.
        planes: Pairs of axes that a quarter turn may exchange.
        affine: Probability of an affine move.
        degrees: Largest angle of its turns about each axis.
        scale: Largest change of size along each axis, e.g. 0.1.
    """

    flip: float
    quarter_turns: float
    planes: tuple[Plane, ...]
    affine: float
    degrees: float
    scale: float

    def draw(self, seed: int) -> Move:
        """The move that belongs to a seed."""
        chance = np.random.default_rng(seed)
        matrix = np.diag(np.where(chance.random(3) < self.flip, -1.0, 1.0))
        for plane in self.planes:
            if chance.random() < self.quarter_turns:
                matrix = matrix @ quarter_turn(plane, int(chance.integers(1, 4)))
        if not chance.random() < self.affine:
            return Move(matrix, turns_only=True)
        angles = chance.uniform(-self.degrees, self.degrees, 3)
        sizes = 1.0 + chance.uniform(-self.scale, self.scale, 3)
        return Move(matrix @ rotation(angles) @ np.diag(sizes), turns_only=False)


def quarter_turn(plane: Plane, count: int) -> NDArray[np.float64]:
    """The matrix (3, 3) of `torch.rot90(volume, count, plane)`."""
    first, second = plane
    once = np.eye(3)
    once[[first, second]] = once[[second, first]]
    once[second] *= -1.0
    return np.linalg.matrix_power(once, count)


def rotation(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix (3, 3) of turns by angles (3,) about the third, then the second and first axis."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        one, other = (place for place in range(3) if place != axis)
        sine = math.sin(angle) * (1.0 if axis != 1 else -1.0)
        turn[one, one] = turn[other, other] = math.cos(angle)
        turn[one, other], turn[other, one] = -sine, sine
        matrix = matrix @ turn
    return matrix
