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
from .axes import Scale, arranged
from .plausible import implausible
from .rules import rules_in_force
from .stored import Place, read_stored
from .values import Values, sparse

_nib: Any = nib  # the functions of nibabel have no types
_SLAB_VOXELS = 1 << 18
#: How far two axes may be from a right angle, in degrees. Headers in single precision are off by
#: less than 1e-4; 0.1 moves a voxel 250 mm away by less than half a millimetre.
SHEAR_DEGREES = 0.1


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
    findings = layout.findings + _sheared(path, layout.affine)
    stored, trailing = read_stored(path, layout.place, layout.shape, layout.dtype, budget)
    if trailing:
        findings += (Finding("W_TRAILING", "bytes follow the image; ignored"),)
    voxels, affine, doubts = _canonical(path, layout, stored)
    x, y, z = (float(size) for size in _nib.affines.voxel_sizes(affine))
    findings += doubts + sparse(voxels) + implausible((x, y, z), voxels.shape)
    content = content_sha256(voxels, affine)
    return Volume(voxels, affine, layout.affine, (x, y, z), content, findings)


def one_frame(path: Path, sizes: Sequence[int]) -> tuple[list[int], int, int]:
    """The sizes of one frame of a series by the rules in force, its number and that of all frames.

    Args:
        path: The volume, as messages name it.
        sizes: Along all axes, the frames last.

    Returns:
        The sizes as they are, frame 0 of 1, if there is no series or no rule about frames.

    Raises:
        VolumeError: There is no such frame.
    """
    frame, axes = rules_in_force().frame, list(sizes)
    while len(axes) > 4 and axes[-1] == 1:
        axes.pop()
    if frame is None or len(axes) != 4 or axes[3] <= 1 or min(axes) <= 0:
        return list(sizes), 0, 1
    if frame >= axes[3]:
        reason = f"it has {axes[3]} frames, the last one is {axes[3] - 1}; data.frame is {frame}"
        raise VolumeError(Reason.E_NDIM, path, reason)
    return axes[:3], frame, axes[3]


def frame_finding(frame: int, frames: int) -> tuple[Finding, ...]:
    """What is said of a volume that is one of several frames."""
    text = f"frame {frame} of its {frames}, counted from 0, is taken, as data.frame says"
    return (Finding("W_FRAME", text),) if frames > 1 else ()


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


def _sheared(path: Path, affine: NDArray[np.float64]) -> tuple[Finding, ...]:
    """What is doubtful about the angles between the axes; no finding within `SHEAR_DEGREES`."""
    axes = affine[:3, :3] / _nib.affines.voxel_sizes(affine)
    cosines = np.abs((axes.T @ axes)[np.triu_indices(3, 1)]).max()
    degrees = math.degrees(math.asin(min(float(cosines), 1.0)))
    if degrees <= SHEAR_DEGREES:
        return ()
    text = f"two of its axes are {degrees:.3g} degrees off a right angle"
    if rules_in_force().shear == "refuse":
        raise VolumeError(Reason.E_SHEAR, path, text)
    return (Finding("W_SHEAR", f"{text}; resampling to preprocess.spacing straightens it"),)


def _canonical(
    path: Path, layout: Layout, stored: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[Finding, ...]]:
    """Scaled values in RAS+ order, their affine, and what is doubtful about them."""
    raw = stored.view(layout.dtype).reshape(layout.shape, order="F")
    seen = Values()
    step = max(1, _SLAB_VOXELS // (raw.shape[0] * raw.shape[1]))
    for start in range(0, raw.shape[2], step):  # so that what is done about NaN takes little memory
        seen.see(raw[..., start : start + step], layout.slope, layout.inter)
    seen.check(path, raw.size)
    scale = Scale(layout.slope, layout.inter, seen.filler())
    voxels, affine = arranged(raw, layout.affine, scale)
    return voxels, affine, seen.findings(raw.size)
