"""Interpolation of a volume that moves about its centre.

Equal to `torch.nn.functional.grid_sample` with `padding_mode="border"`, which goes voxel by voxel
on a CPU; here whole planes are computed at once, few enough to stay in cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Interpolation = Literal["linear", "nearest"]

#: Voxels of a tile: 256 KiB for each of its arrays.
_TILE = 1 << 16


def resampled(volume: Tensor, matrix: NDArray[np.float64], interpolation: Interpolation) -> Tensor:
    """Moves a volume.

    Args:
        volume: Shape (C, X, Y, Z), float32, left unchanged.
        matrix: Shape (3, 3); an index of the result, counted from the centre, times this is the
            index of the volume, counted likewise.
        interpolation: Between voxels; beyond the border the nearest voxel of it counts.

    Returns:
        The same shape.
    """
    size = volume.shape[1:]
    flat = volume.flatten(1)
    result = torch.empty_like(flat)
    planes = max(1, _TILE // max(1, size[1] * size[2]))
    for first in range(0, size[0], planes):
        places = _places(size, matrix, range(first, min(first + planes, size[0])))
        start = first * size[1] * size[2]
        part = result[:, start : start + places[0].numel()]
        if interpolation == "nearest":
            _nearest(flat, size, places, part)
        else:
            _linear(flat, size, places, part)
    return result.view(volume.shape)


def _places(size: Sequence[int], matrix: NDArray[np.float64], planes: range) -> list[Tensor]:
    """Along each axis, where the voxels of some planes of the result come from: indices, flat."""
    weights = torch.from_numpy(matrix.astype(np.float32))
    x, y, z = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in size)
    x = x[planes.start : planes.stop]
    places = []
    for axis, n in enumerate(size):
        across, down, along = weights[axis]
        plane = (down * y)[:, None] + (along * z + (n - 1) / 2)
        places.append(((across * x)[:, None, None] + plane).clamp_(0, n - 1).flatten())
    return places


def _nearest(flat: Tensor, size: Sequence[int], places: Sequence[Tensor], out: Tensor) -> None:
    index = _index(size, [place.round_() for place in places])
    torch.index_select(flat, 1, index, out=out)


def _linear(flat: Tensor, size: Sequence[int], places: Sequence[Tensor], out: Tensor) -> None:
    before = [
        place.floor().clamp_(max=max(n - 2, 0)) for n, place in zip(size, places, strict=True)
    ]
    x, y, z = (place.sub_(low) for place, low in zip(places, before, strict=True))
    index = _index(size, before)
    along, down, across = _steps(size)
    for values, part in zip(flat, out, strict=True):

        def line(start: int, values: Tensor = values) -> Tensor:
            nearer, further = (
                values[offset:].index_select(0, index) for offset in (start, start + along)
            )
            return nearer.lerp_(further, z)

        plane = line(0).lerp_(line(down), y)
        torch.lerp(plane, line(across).lerp_(line(across + down), y), x, out=part)


def _index(size: Sequence[int], whole: Sequence[Tensor]) -> Tensor:
    x, y, z = (place.to(torch.int64) for place in whole)
    return x.mul_(size[1]).add_(y).mul_(size[2]).add_(z)


def _steps(size: Sequence[int]) -> tuple[int, int, int]:
    """From a voxel to its neighbour along Z, Y and X, in memory; along an axis of one voxel, 0."""
    steps = (1, size[2], size[1] * size[2])
    along, down, across = (
        step if n > 1 else 0 for step, n in zip(steps, reversed(size), strict=True)
    )
    return along, down, across
