"""Resampling to a voxel size, one axis after the other.

MONAI's `Spacing` says which grid that is. Where it only stretches axes, as it does for every
volume at right angles, trilinear interpolation is linear interpolation along each in turn: equal
to rounding, and far less work than voxel by voxel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Spacing
from numpy.typing import NDArray
from torch import Tensor

from .resampling import Interpolation

#: Of the matrix between the grids; a volume that is straightened has far larger parts off its
#: diagonal.
_STRAIGHT = 1e-6
#: Values of a tile: 512 KiB for each of its arrays.
_TILE = 1 << 17


class Respaced:
    """A step of a chain: the volumes of some keys at another voxel size.

    Args:
        spacing: Voxel size in mm (x, y, z).
        modes: Interpolation by key.
    """

    def __init__(
        self, spacing: tuple[float, float, float], modes: Mapping[str, Interpolation]
    ) -> None:
        words = {"linear": "bilinear", "nearest": "nearest"}  # MONAI's
        self._whole = {key: Spacing(spacing, mode=words[mode]) for key, mode in modes.items()}
        self._grid = Spacing(spacing, lazy=True)
        self._modes = dict(modes)

    def __call__(self, volumes: dict[str, MetaTensor]) -> dict[str, MetaTensor]:
        """Resamples each volume (C, X, Y, Z) of the keys; beyond the border its edge counts."""
        done = {key: self._respaced(key, volumes[key]) for key in self._modes}
        return {**volumes, **done}

    def _respaced(self, key: str, volume: MetaTensor) -> MetaTensor:
        planned = self._grid(volume).pending_operations[-1]
        matrix = np.asarray(planned["lazy_affine"], dtype=np.float64)
        if np.abs(matrix[:3, :3] - np.diag(np.diag(matrix)[:3])).max() > _STRAIGHT:
            return cast("MetaTensor", self._whole[key](volume))
        sizes: Sequence[int] = planned["lazy_shape"]
        values = volume.as_tensor()
        # The axes that shrink most come first, so that the others have less to do.
        for axis in sorted(range(3), key=lambda axis: sizes[axis] / volume.shape[1 + axis]):
            places = matrix[axis, axis] * np.arange(sizes[axis]) + matrix[axis, 3]
            values = along(values, 1 + axis, places, self._modes[key])
        affine = volume.affine @ torch.as_tensor(matrix, dtype=volume.affine.dtype)
        return MetaTensor(values.contiguous(), meta={**volume.meta, "affine": affine})


def along(
    values: Tensor, axis: int, places: NDArray[np.float64], interpolation: Interpolation
) -> Tensor:
    """Interpolates along one axis.

    Args:
        values: Any shape, left unchanged.
        axis: Which one; it has N values.
        places: Shape (M,): indices between 0 and N - 1; others count as the nearer of the two.
        interpolation: Linear, or the nearest value.

    Returns:
        The same shape, but M along the axis.
    """
    last = values.shape[axis] - 1
    places = places.clip(0, last)
    if interpolation == "nearest":
        return values.index_select(axis, torch.from_numpy(np.rint(places).astype(np.int64)))
    before = np.minimum(np.floor(places), max(last - 1, 0))
    if np.array_equal(places, np.arange(last + 1)):
        return values
    weights = torch.from_numpy((places - before).astype(np.float32))
    nearer = torch.from_numpy(before.astype(np.int64))
    further = (nearer + 1).clamp_(max=last)
    lines = values.reshape(math.prod(values.shape[:axis]), last + 1, -1)
    result = values.new_empty((len(lines), len(places), lines.shape[2]))
    for some, at in _tiles(result.shape):
        near, far = (lines[some].index_select(1, index[at]) for index in (nearer, further))
        torch.lerp(near, far, weights[at, None], out=result[some, at])
    return result.view(*values.shape[:axis], len(places), *values.shape[axis + 1 :])


def _tiles(shape: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Lines, and places on them, of which the values stay in cache; together all of (L, M, V)."""
    lines, places, values = shape
    if places * values > _TILE:
        few = max(1, _TILE // values)
        for line, first in product(range(lines), range(0, places, few)):
            yield slice(line, line + 1), slice(first, first + few)
        return
    several = _TILE // max(1, places * values)
    for first in range(0, lines, several):
        yield slice(first, first + several), slice(None)


def spacing_of(volume: MetaTensor) -> tuple[float, float, float]:
    """Voxel size in mm along x, y, z."""
    lengths = torch.linalg.vector_norm(volume.affine[:3, :3].double(), dim=0)
    return cast("tuple[float, float, float]", tuple(float(length) for length in lengths))
