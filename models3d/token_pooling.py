"""Averages over windows of tokens on a CPU."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import conv3d

from .layers import Triple, window_counts, window_sum
from .products import onednn_is_on


def sums_of_windows(x: Tensor, window: Triple) -> Tensor:
    """Give what ``window_sum`` gives, to rounding, without gradients.

    Args:
        x: ``(B, C, X, Y, Z)`` on a CPU with channels last in memory, left unchanged.
        window: odd extents in voxels along X, Y, Z.
    """
    # Autocast would lower a convolution's precision; other types have no fast one.
    if x.dtype != torch.float32 or torch.is_autocast_enabled("cpu") or not onednn_is_on():
        return window_sum(x, window)
    # One pass, by a depthwise convolution of oneDNN; sums of shifted copies take a dozen.
    ones = x.new_ones((x.shape[1], 1, *window))
    across, down, along = (extent // 2 for extent in window)
    return conv3d(x, ones, padding=(across, down, along), groups=x.shape[1])


@lru_cache(maxsize=64)
def counts_of_windows(grid: Triple, window: Triple, dtype: torch.dtype) -> Tensor:
    """Count the voxels that exist in each window, ``(X, Y, Z)``; not to be changed in place."""
    return window_counts(torch.empty((1, 1, *grid), dtype=dtype), window)
