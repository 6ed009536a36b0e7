"""Stored voxels in the order of the patient's axes, RAS+ and C-contiguous."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

_nib: Any = nib  # the functions of nibabel have no types
_SCRATCH_VOXELS = 1 << 17  # half a MiB, which stays in the cache of one core
_LINE = 16  # float32 of a cache line


@dataclass(frozen=True, slots=True)
class Scale:
    """From stored to true values.

    Attributes:
        slope: The factor.
        inter: Added after it, both in double precision.
        fill: What stands for values that are not finite; None keeps them.
    """

    slope: float = 1.0
    inter: float = 0.0
    fill: float | None = None

    def put(self, part: NDArray[np.generic], into: NDArray[np.float32]) -> None:
        """Writes the true values of stored ones; what is beyond single precision is infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            if (self.slope, self.inter) == (1.0, 0.0):
                into[...] = part
            else:
                into[...] = np.multiply(part, self.slope, dtype=np.float64) + self.inter
        if self.fill is not None:
            into[~np.isfinite(into)] = self.fill


def arranged(
    raw: NDArray[np.generic], affine: NDArray[np.float64], scale: Scale
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """True values in RAS+ order, and the affine that belongs to them.

    Args:
        raw: Stored voxels (3 axes), the first axis fastest.
        affine: Stored index to RAS mm (4, 4).
        scale: From stored to true values.

    Returns:
        Voxels (X, Y, Z), C-contiguous, and voxel to RAS mm (4, 4).
    """
    orientation = _nib.orientations.io_orientation(affine)
    source: NDArray[np.generic] = _nib.orientations.apply_orientation(raw, orientation)  # a view
    voxels = np.empty(source.shape, dtype=np.float32)
    fastest = int(orientation[0, 0])
    # The last two axes of a block: where the memory of both sides runs along.
    order = (0, 1, 2) if fastest == 2 else (1 - fastest, 2, fastest)
    _turn(source.transpose(order), voxels.transpose(order), scale)
    return voxels, affine @ _nib.orientations.inv_ornt_aff(orientation, raw.shape)


def _turn(source: NDArray[np.generic], target: NDArray[np.float32], scale: Scale) -> None:
    """Copies voxels whose memory runs along the last axis to where it may run along the one before.

    Voxel by voxel from one order to the other, each would miss the cache; so it is done in blocks
    that fit into it.
    """
    planes, rows, length = source.shape
    step = min(planes, max(1, _SCRATCH_VOXELS // (rows * length)))
    # From row to row an odd number of cache lines: at a power of two, columns would share few
    # places of the cache, and displace each other.
    gapped = _LINE * (-(-length // _LINE) | 1)
    scratch = np.empty((step, rows, gapped), dtype=np.float32)[..., :length]
    for start in range(0, planes, step):
        part = source[start : start + step]
        block = scratch[: len(part)]
        scale.put(part, block)
        target[start : start + step] = block
