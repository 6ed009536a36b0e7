"""The ways in which a copy may lie: its axes exchanged, mirrored, its grey values inverted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from .audit_record import Axis

_AXES: tuple[Axis, ...] = get_args(Axis)


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the 48 ways to lay a box onto itself.

    Attributes:
        order: The axes of the result, as places 0, 1, 2 of the axes before.
        flips: Whether the result is then mirrored along each of its axes.
    """

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Names of the axes that are mirrored."""
        return tuple(name for name, flip in zip(_AXES, self.flips, strict=True) if flip)

    @property
    def is_permuted(self) -> bool:
        """Whether axes are exchanged, as a rotation by 90 degrees does."""
        return self.order != (0, 1, 2)

    def of(self, signatures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Signatures of the volumes that were laid so.

        Args:
            signatures: (N, k, k, k), at frequencies (x, y, z). Mirroring changes the sign of the
                odd ones.

        Returns:
            Of the same shape.
        """
        a, b, c = self.order
        found = np.transpose(signatures, (0, a + 1, b + 1, c + 1))
        odd = np.indices(found.shape[1:]) % 2
        signs = (np.array(self.flips) @ odd.reshape(3, -1)) % 2
        return found * np.where(signs == 1, -1.0, 1.0).reshape(found.shape[1:]).astype(np.float32)


def _turn(order: tuple[int, ...], flips: tuple[int, ...]) -> Turn:
    (a, b, c), (x, y, z) = order, flips
    return Turn((a, b, c), (bool(x), bool(y), bool(z)))


#: As it is, the seven mirror images, then those with exchanged axes.
TURNS: tuple[Turn, ...] = tuple(
    _turn(order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((0, 1), repeat=3)
)
