"""Averages over windows of tokens on a CPU."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv3d

from .layers import Triple, window_sum
from .products import has_fast_onednn

#: Voxels of a window up to which the convolution, which reads all of them, is faster.
_FEW = 27


def sums_of_windows(x: Tensor, window: Triple) -> Tensor:
    """Give what ``window_sum`` gives, to rounding, without gradients.

    Args:
        x: ``(B, C, X, Y, Z)`` on a CPU with channels last in memory, left unchanged.
        window: odd extents in voxels along X, Y, Z.
    """
    few = window[0] * window[1] * window[2] <= _FEW
    # Autocast would lower a convolution's precision.
    plain = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not (few and plain and has_fast_onednn()):
        return window_sum(x, window)
    # One pass, by a depthwise convolution; sums of shifted copies take a dozen.
    ones = x.new_ones((x.shape[1], 1, *window))
    across, down, along = (extent // 2 for extent in window)
    return conv3d(x, ones, padding=(across, down, along), groups=x.shape[1])


def counts_of_windows(grid: Triple, window: Triple, dtype: torch.dtype) -> Tensor:
    """Give what ``window_counts`` gives on a CPU, not to be changed.

    Args:
        grid: voxels along X, Y, Z.
        window: odd extents in voxels along X, Y, Z.
        dtype: of the numbers.
    """
    return torch.from_numpy(_counts(grid, window)).to(dtype)


# The same for each block of a stage and each batch; on small grids thirty steps of torch would take
# as long as the pooling. No tensor is kept, for that would be one of the mode it was made in. As
# many as the stages of a few networks.
@lru_cache(maxsize=16)
def _counts(grid: Triple, window: Triple) -> NDArray[np.float32]:
    counts = np.ones((), dtype=np.float32)
    for size, extent in zip(grid, window, strict=True):
        index, reach = np.arange(size), extent // 2
        along = np.minimum(index + reach, size - 1) - np.maximum(index - reach, 0) + 1
        counts = counts[..., None] * along.astype(np.float32)
    return counts
