"""Random moves of all volumes of a batch at once, on the device that they are on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from .resampling import Interpolation


def moved(volumes: Tensor, matrices: NDArray[np.float64], interpolation: Interpolation) -> Tensor:
    """Moves each volume of a batch; equal to `resampled` of each alone, to rounding.

    Args:
        volumes: Shape (B, C, X, Y, Z), float32, left unchanged.
        matrices: Shape (B, 3, 3); an index of the result, counted from the centre, times its
            volume's matrix is the index of the volume, counted likewise.
        interpolation: Between voxels; beyond the border the nearest voxel of it counts.

    Returns:
        The same shape, on the same device.
    """
    size = volumes.shape[2:]
    factors = torch.from_numpy(matrices.astype(np.float32)).to(volumes.device)
    mode = "bilinear" if interpolation == "linear" else "nearest"
    return grid_sample(
        volumes, _places(factors, size), mode=mode, padding_mode="border", align_corners=True
    )


def _places(factors: Tensor, size: Sequence[int]) -> Tensor:
    """Where voxels come from, (B, X, Y, Z, 3), -1 to 1 along Z, Y and X, as `grid_sample` reads."""
    device = factors.device
    x, y, z = (torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in size)
    places = []
    for axis, n in reversed([*enumerate(size)]):
        # No matrix product: a GPU may be told to round the factors of one.
        across, down, along = factors[:, axis, :, None].unbind(1)
        plane = (down * y)[:, :, None] + (along * z)[:, None, :]
        place = (across * x)[:, :, None, None] + plane[:, None]
        places.append(place / max((n - 1) / 2, 0.5))
    return torch.stack(places, dim=-1)
