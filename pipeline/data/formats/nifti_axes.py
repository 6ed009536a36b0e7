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
from .canonical import checked_affine

_nib: Any = nib  # the functions of nibabel have no types
_UNITS = {1: "metres", 3: "micrometres"}  # of xyzt_units; 2 is mm, 0 unknown


def nifti_affine(
    path: Path, header: Nifti1Header, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """Index to RAS mm (4, 4), and what is doubtful about it.

    Raises:
        VolumeError: The unit is not mm, or the axes span no volume of a possible place.
    """
    affine = _affine(path, header)
    if int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0:
        return affine, _contradiction(header, affine, shape)
    text = "the header states no orientation; x to the left is assumed, as NIfTI-1 suggests"
    return affine, (Finding("W_ORIENTATION", text),)


def _affine(path: Path, header: Nifti1Header) -> NDArray[np.float64]:
    unit = _UNITS.get(int(header["xyzt_units"]) & 7)
    if unit is not None:
        # Some tools scale such voxels and others do not, and some writers state a wrong unit.
        reason = f"its voxel sizes are in {unit}; write them in mm, and 2 as xyzt_units"
        raise VolumeError(Reason.E_SPACING, path, reason)
    zooms = header["pixdim"][1:4]
    if int(header["sform_code"]) <= 0 and not (np.isfinite(zooms) & (zooms > 0)).all():
        raise VolumeError(Reason.E_SPACING, path, f"its pixdim field is {zooms.tolist()}")
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # as the standard reads a missing handedness
    try:
        with np.errstate(all="ignore"):  # what overflows is refused below
            affine = np.asarray(_nib.Nifti1Header.get_best_affine(header), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise VolumeError(Reason.E_AFFINE, path, str(error)) from error
    return checked_affine(path, affine)


def _contradiction(
    header: Nifti1Header, affine: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[Finding, ...]:
    """What is doubtful if two orientations are stated, half a voxel or 1 mm apart."""
    if int(header["sform_code"]) <= 0 or int(header["qform_code"]) <= 0:
        return ()
    text = "its qform is no rotation"
    corners = np.array([*product(*((0, size - 1) for size in shape), (1,))], dtype=np.float64)
    try:
        with np.errstate(all="ignore"):
            moved = corners @ (_nib.Nifti1Header.get_qform(header) - affine).T
            apart = float(np.linalg.norm(moved[:, :3], axis=1).max())
    except (HeaderDataError, ValueError):
        apart = math.nan
    limit = min(1.0, float(_nib.affines.voxel_sizes(affine).min()) / 2)
    if apart <= limit:
        return ()
    if math.isfinite(apart):
        text = f"its two orientations, sform and qform, put a corner {apart:.3g} mm apart"
    return (Finding("W_ORIENTATION", f"{text}; sform is taken"),)
