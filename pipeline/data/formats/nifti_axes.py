"""Where the axes of a NIfTI image lie: its two orientations, units and voxel sizes.

Source: nifti1.h, methods 1 to 3 of orientation and the codes of xyzt_units, nifti.nimh.nih.gov.
"""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from ..volume import Finding, Reason, VolumeError
from .assumed import assumed, assumed_axes, axes_of
from .canonical import checked_affine
from .rules import rules_in_force

_nib: Any = nib  # the functions of nibabel have no types
_APART_MM, _APART_DEGREES = 1.0, 1.0
#: Of two voxel sizes, the larger by the smaller: from where on they are doubtful, or contradict
#: each other.
_DOUBTFUL_TIMES, _APART_TIMES = 1.01, 1.5
_UNITS = {1: "metres", 3: "micrometres"}  # of xyzt_units; 2 is mm, 0 unknown


def nifti_affine(
    path: Path, header: Nifti1Header, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """Index to RAS mm (4, 4) by the rules in force, and what is doubtful about it.

    Raises:
        VolumeError: The unit is not mm, the axes span no volume of a possible place, or the header
            states no orientation, or two that are more than 1 mm or 1 degree apart, or voxel
            sizes that are more than 1 mm or a factor of 1.5 off those of its sform.
    """
    unit = _UNITS.get(int(header["xyzt_units"]) & 7)
    if unit is not None:
        # Some tools scale such voxels and others do not, and some writers state a wrong unit.
        reason = f"its voxel sizes are in {unit}; write them in mm, and 2 as xyzt_units"
        raise VolumeError(Reason.E_SPACING, path, reason)
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    by_qform = qform and (not sform or rules_in_force().prefer == "qform")
    zooms = header["pixdim"][1:4]
    sized = bool((np.isfinite(zooms) & (zooms > 0)).all())
    if not sized and (by_qform or not sform):
        raise VolumeError(Reason.E_SPACING, path, f"its pixdim field is {zooms.tolist()}")
    if not (sform or qform):
        return _unstated(path, header, shape)
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # as the standard reads a missing handedness
    affine = checked_affine(path, _stated(path, header, by_qform))
    if not sized:
        # The qform is made of these sizes, so there is nothing to compare.
        text = f"its pixdim field is {zooms.tolist()}; the voxel sizes of sform are taken"
        return affine, (Finding("W_SPACING", text),)
    # The sizes come first: the qform is made of them, and they are easier to understand.
    findings = _other_sizes(path, header, by_qform=by_qform, qform=qform) if sform else ()
    return affine, findings + (_contradiction(path, header, shape) if sform and qform else ())


def _unstated(
    path: Path, header: Nifti1Header, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """The affine of a header whose two orientation codes are 0, about the volume's centre."""
    zooms = header["pixdim"][1:4].astype(np.float64)
    if rules_in_force().orientation == "nifti":
        # Method 1 of nifti1.h: x grows to the left in an image that states nothing.
        axes = axes_of("LAS")
        findings: tuple[Finding, ...] = (assumed("LAS, which NIfTI-1 suggests,"),)
    else:
        axes, findings = assumed_axes(path, "its qform_code and sform_code are 0")
    affine = np.eye(4)
    affine[:3, :3] = axes * zooms
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return checked_affine(path, affine), findings


def _stated(path: Path, header: Nifti1Header, by_qform: bool) -> NDArray[np.float64]:
    kind = _nib.Nifti1Header
    try:
        with np.errstate(all="ignore"):  # what overflows is refused by `checked_affine`
            affine = kind.get_qform(header) if by_qform else kind.get_sform(header)
    except (HeaderDataError, ValueError) as error:
        raise VolumeError(Reason.E_AFFINE, path, str(error)) from error
    return np.asarray(affine, dtype=np.float64)


def _other_sizes(
    path: Path, header: Nifti1Header, *, by_qform: bool, qform: bool
) -> tuple[Finding, ...]:
    """What is doubtful if the pixdim field states other voxel sizes than the sform.

    Args:
        path: The volume, as messages name it.
        header: With valid sizes in its pixdim field, and a sform.
        by_qform: Whether the qform, which has the sizes of pixdim, is taken.
        qform: Whether a qform is stated at all.

    Raises:
        VolumeError: They are more than 1 mm or a factor of 1.5 apart, and no rule decides.
    """
    stated = header["pixdim"][1:4].astype(np.float64)
    sizes = _nib.affines.voxel_sizes(np.asarray(_nib.Nifti1Header.get_sform(header), np.float64))
    with np.errstate(all="ignore"):  # a sform that is not taken may span no volume
        times = float(np.maximum(stated / sizes, sizes / stated).max())
    if times <= _DOUBTFUL_TIMES:
        return ()
    ours, theirs = (", ".join(f"{size:.4g}" for size in triple) for triple in (stated, sizes))
    text = f"its voxel sizes are {ours} mm by its pixdim field and {theirs} mm by its sform"
    apart = times > _APART_TIMES or float(np.abs(stated - sizes).max()) > _APART_MM
    prefer = rules_in_force().prefer
    # Without a qform pixdim has no axes of its own, so there is nothing else to take.
    if apart and (prefer == "none" or (prefer == "qform" and not qform)):
        only = "" if qform else "; its qform_code is 0, so data.prefer=sform alone can decide"
        raise VolumeError(Reason.E_ORIENT_CONFLICT, path, text + only)
    taken = "pixdim" if by_qform else "sform"
    return (Finding("W_SPACING", f"{text}; those of {taken} are taken"),)


def _contradiction(
    path: Path, header: Nifti1Header, shape: tuple[int, int, int]
) -> tuple[Finding, ...]:
    """What is doubtful if two orientations are stated, half a voxel or more apart.

    Raises:
        VolumeError: They are more than 1 mm or 1 degree apart, and no rule prefers one.
    """
    prefer = rules_in_force().prefer
    taken = "qform" if prefer == "qform" else "sform"
    sform = np.asarray(_nib.Nifti1Header.get_sform(header), dtype=np.float64)
    try:
        qform = _stated(path, header, by_qform=True)
        with np.errstate(all="ignore"):
            apart, degrees = _apart(sform, qform, shape)
    except VolumeError:
        apart = math.nan
    if not math.isfinite(apart):
        return (Finding("W_ORIENTATION", f"its qform is no rotation; {taken} is taken"),)
    sizes = _nib.affines.voxel_sizes(sform)
    if apart <= min(_APART_MM, float(sizes.min()) / 2) and degrees <= _APART_DEGREES:
        return ()
    text = f"its two orientations, sform and qform, put a corner {apart:.3g} mm apart"
    if degrees > _APART_DEGREES:
        text += f", and an axis {degrees:.3g} degrees"
    if prefer == "none" and (apart > _APART_MM or degrees > _APART_DEGREES):
        raise VolumeError(Reason.E_ORIENT_CONFLICT, path, text)
    return (Finding("W_ORIENTATION", f"{text}; {taken} is taken"),)


def _apart(
    one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[float, float]:
    """Largest distance in mm of a corner's two places, and of degrees between an axis's two."""
    corners = np.array([*product(*((0, size - 1) for size in shape), (1,))], dtype=np.float64)
    moved = corners @ (one - other).T
    axes = [affine[:3, :3] / _nib.affines.voxel_sizes(affine) for affine in (one, other)]
    # By the chord between unit vectors: exact for small angles, where the cosine is not.
    chords = np.linalg.norm(axes[0] - axes[1], axis=0) / 2
    degrees = 2 * np.degrees(np.arcsin(chords.clip(0, 1)))
    return float(np.linalg.norm(moved[:, :3], axis=1).max()), float(degrees.max())
