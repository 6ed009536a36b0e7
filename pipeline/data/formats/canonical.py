"""From stored voxels to a checked volume in RAS+ order: the same for every format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..volume import Finding, Reason, Volume, VolumeError, content_sha256
from .stored import Place, read_stored

_nib: Any = nib  # the functions of nibabel have no types
_SLAB_VOXELS = 1 << 21
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Layout:
    """What a checked header says about the voxels.

    Attributes:
        place: Where they lie.
        shape: Their number along the stored axes, the fastest first.
        dtype: How each is stored, with the order of its bytes.
        affine: Stored index to RAS mm (4, 4), float64.
        slope: Factor from the stored to the true value.
        inter: Added after the factor.
        findings: What is doubtful in the header.
    """

    place: Place
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    affine: NDArray[np.float64]
    slope: float = 1.0
    inter: float = 0.0
    findings: tuple[Finding, ...] = ()


def volume_of(path: Path, layout: Layout, budget: int) -> Volume:
    """Reads the voxels that a header describes and checks their values.

    Args:
        path: The volume, as messages name it.
        layout: What its header says.
        budget: Most bytes that the decoded data, and the float32 voxels, may take.

    Raises:
        VolumeError: The volume is refused.
    """
    stored, trailing = read_stored(path, layout.place, layout.shape, layout.dtype, budget)
    findings = layout.findings
    if trailing:
        findings += (Finding("W_TRAILING", "bytes follow the image; ignored"),)
    voxels, affine = _canonical(path, layout, stored)
    x, y, z = (float(size) for size in _nib.affines.voxel_sizes(affine))
    content = content_sha256(voxels, affine)
    return Volume(voxels, affine, layout.affine, (x, y, z), content, findings)


def three_axes(path: Path, sizes: Sequence[int]) -> tuple[int, int, int]:
    """The three sizes of one 3D image; trailing axes of length 1 are dropped.

    Raises:
        VolumeError: An axis has no voxels, or there are not three axes.
    """
    axes = list(sizes)
    shape = " x ".join(str(size) for size in axes)
    if not axes or min(axes) <= 0:
        raise VolumeError(Reason.E_DIMS, path, f"its size is {shape or 'not given'}")
    while len(axes) > 3 and axes[-1] == 1:
        axes.pop()
    if len(axes) != 3:
        series = ", a series of frames or channels" if len(axes) == 4 else ""
        raise VolumeError(Reason.E_NDIM, path, f"it has {len(axes)} dimensions: {shape}{series}")
    return axes[0], axes[1], axes[2]


def several_channels(path: Path, count: int) -> VolumeError:
    """The refusal of a volume with more than one value a voxel."""
    return VolumeError(Reason.E_CHANNELS, path, f"it has {count} channels; one is expected")


def checked_affine(path: Path, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """The affine (4, 4) if its axes span a volume of a possible place.

    Raises:
        VolumeError: It is not finite, or singular.
    """
    if not (np.abs(affine) < 1e9).all():
        raise VolumeError(Reason.E_AFFINE, path, "its affine is not finite, or beyond 1000 km")
    lengths = _nib.affines.voxel_sizes(affine)
    if not lengths.all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
        raise VolumeError(Reason.E_AFFINE, path, "its affine is singular: the axes span no volume")
    return affine


def checked_spacing(path: Path, spacing: Sequence[float], name: str) -> NDArray[np.float64]:
    """The voxel sizes (3,) in mm, if all are finite and positive.

    Raises:
        VolumeError: They are not; `name` is the field of the header.
    """
    sizes = np.array(spacing[:3], dtype=np.float64)
    if len(sizes) != 3 or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise VolumeError(Reason.E_SPACING, path, f"its {name} field is {list(spacing)}")
    return sizes


def _canonical(
    path: Path, layout: Layout, stored: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Scaled values in RAS+ order and their affine; slab by slab, so that memory stays low."""
    raw = stored.view(layout.dtype).reshape(layout.shape, order="F")
    orientation = _nib.orientations.io_orientation(layout.affine)
    axes = [int(axis) for axis in orientation[:, 0]]
    shape = [layout.shape[axes.index(axis)] for axis in range(3)]
    voxels = np.empty(shape, dtype=np.float32)
    flips = tuple(slice(None, None, int(sign)) for sign in orientation[:, 1])
    as_stored = voxels.transpose(axes)[flips]
    ends: list[int | float] = []
    nonfinite = 0
    step = max(1, _SLAB_VOXELS // (raw.shape[0] * raw.shape[1]))
    for start in range(0, raw.shape[2], step):
        slab = raw[..., start : start + step]
        with np.errstate(over="ignore", invalid="ignore"):
            if (layout.slope, layout.inter) != (1.0, 0.0):
                slab = slab * np.float64(layout.slope) + np.float64(layout.inter)
            ends += [slab.min().item(), slab.max().item()]  # of int64, float would round them
            as_stored[..., start : start + step] = slab
        if not math.isfinite(ends[-1] - ends[-2]):
            nonfinite += int(np.count_nonzero(~np.isfinite(raw[..., start : start + step])))
    _check_values(path, ends, nonfinite, raw.size)
    return voxels, layout.affine @ _nib.orientations.inv_ornt_aff(orientation, layout.shape)


def _check_values(path: Path, ends: list[int | float], nonfinite: int, count: int) -> None:
    if nonfinite:
        raise VolumeError(Reason.E_NONFINITE, path, f"{nonfinite:,} of {count:,} voxels")
    low, high = min(ends), max(ends)
    if not -_FLOAT32_MAX <= low <= high <= _FLOAT32_MAX:
        raise VolumeError(Reason.E_RANGE, path, f"its values reach from {low:g} to {high:g}")
    if low == high:
        raise VolumeError(Reason.E_CONSTANT, path, f"every voxel is {low:g}")
    if np.float32(low) == np.float32(high):
        reason = f"its values, near {low:g}, differ by less than single precision can tell apart"
        raise VolumeError(Reason.E_RANGE, path, f"{reason}; subtract an offset")
