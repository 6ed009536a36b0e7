"""Rows 27 to 35 and 57: where the axes lie, and how a volume compares with the rest of its set."""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from .bad_file import BadFile
from .bad_file import bad_volume as _bad
from .volumes import (
    AFFINE,
    GOOD,
    PIXDIM,
    QFORM_CODE,
    SFORM_CODE,
    SROW,
    nifti,
    packed,
    patched,
    voxels,
)

_NRRD = """NRRD0004
type: short
dimension: 3
sizes: 20 24 16
spacings: 2 1.5 3
endian: little
encoding: raw

"""
_META = """ObjectType = Image
NDims = 3
DimSize = 20 24 16
ElementSpacing = 2 1.5 3
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""


def _turned(degrees: float, shift: float = 0.0) -> NDArray[np.float64]:
    """The reference affine, turned about z and moved along x."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[c, -s, 0, shift], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    turned: NDArray[np.float64] = turn @ AFFINE
    return turned


def _sheared(degrees: float) -> NDArray[np.float64]:
    """The reference affine with slices that are moved along y, as a tilted gantry leaves them."""
    affine = AFFINE.copy()
    affine[1, 2] = AFFINE[2, 2] * math.tan(math.radians(degrees))
    return affine


def _twin(axes: str) -> bytes:
    """The reference volume, stored along other axes."""
    image = nib.Nifti1Image(voxels(), AFFINE)
    change = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt(tuple("RAS")), nib.orientations.axcodes2ornt(tuple(axes))
    )
    stored = image.as_reoriented(change)
    return nifti(np.asarray(stored.dataobj), stored.affine)


def orientation_faults() -> list[BadFile]:
    """Rows 27 and 28."""
    unstated = patched(GOOD, QFORM_CODE, "hh", 0, 0)
    data = voxels().tobytes(order="F")
    missing, conflict = "E_ORIENT_MISSING", "E_ORIENT_CONFLICT"
    turned = nifti(voxels(), AFFINE, qform=_turned(90.0))
    return [
        _bad(27, "NIfTI", unstated, missing),
        _bad(27, "NRRD", _NRRD.encode() + data, missing, file="x.nrrd"),
        _bad(27, "MetaImage", _META.encode() + data, missing, file="x.mha"),
        _bad(27, "as the user says", unstated, "W_ORIENTATION",
             expected="warn", data={"assume_orientation": "LPS"}),
        _bad(27, "as NIfTI-1 suggests", unstated, "W_ORIENTATION",
             expected="warn", data={"assume_orientation": "nifti"}),
        _bad(28, "50 mm", nifti(voxels(), AFFINE, qform=_turned(0.0, 50.0)), conflict),
        _bad(28, "2 degrees", nifti(voxels(), AFFINE, qform=_turned(2.0)), conflict),
        _bad(28, "a quarter turn", packed(turned), conflict),
        _bad(28, "the sform is preferred", turned, "W_ORIENTATION",
             expected="warn", data={"prefer": "sform"}, twin=True),
        _bad(28, "the qform is preferred", turned, "W_ORIENTATION",
             expected="warn", data={"prefer": "qform"}),
    ]  # fmt: skip


def affine_faults() -> list[BadFile]:
    """Rows 29 to 33."""
    by_qform = patched(GOOD, SFORM_CODE, "h", 0)
    tilted = patched(nifti(voxels(), _sheared(15.0)), QFORM_CODE, "h", 0)  # no qform can be so
    numbers = (("zero", 0.0), ("negative", -2.0), ("NaN", math.nan))
    straight = nib.affines.from_matvec(np.eye(3), [3, -4, 5])
    return [
        *(
            _bad(29, f"{name}, no sform", patched(by_qform, PIXDIM + 4, "f", size), "E_SPACING")
            for name, size in numbers
        ),
        *(
            _bad(29, f"{name}, with a sform", patched(GOOD, PIXDIM + 8, "f", size), "W_SPACING",
                 expected="warn", twin=True)
            for name, size in numbers
        ),
        _bad(30, "zeros", patched(GOOD, SROW, "12f", *[0.0] * 12), "E_AFFINE"),
        _bad(30, "NaN", patched(GOOD, SROW, "f", math.nan), "E_AFFINE"),
        _bad(30, "two axes alike", patched(GOOD, SROW, "8f", 1, 1, 0, 0, 1, 1, 0, 0), "E_AFFINE"),
        _bad(31, "refused", tilted, "E_SHEAR"),
        _bad(31, "a degree", nifti(voxels(), _sheared(1.0), qform=AFFINE),
             "E_SHEAR", "E_ORIENT_CONFLICT"),
        _bad(31, "resampled", tilted, "W_SHEAR", expected="warn", data={"shear": "resample"}),
        _bad(32, "20 degrees", nifti(voxels(), _turned(20.0)), expected="ok"),
        _bad(32, "moved", nifti(voxels(), straight @ AFFINE), expected="ok"),
        *(
            _bad(33, axes, packed(_twin(axes)), expected="ok", twin=True)
            for axes in ("LAS", "LPS", "PIR", "SLA")
        ),
    ]  # fmt: skip


def set_faults() -> list[BadFile]:
    """Rows 34, 35 and 57: what only a volume's set shows."""
    wide, narrow = AFFINE.copy(), AFFINE.copy()
    wide[:3, 2] *= 30
    narrow[:3, :3] /= 5
    ct = voxels().astype("<i2") * 8 - 1024
    long = voxels(shape=(20, 24, 80))
    return [
        _bad(34, "slices of 90 mm", nifti(voxels(), wide), "W_SPACING_OUTLIER", expected="warn"),
        _bad(35, "five times as many slices", nifti(long), "W_SHAPE_OUTLIER", expected="warn"),
        _bad(35, "8 mm wide", nifti(voxels(), narrow), "W_FIELD_OF_VIEW", expected="warn"),
        _bad(57, "CT among MR", nifti(ct), "W_MODALITY", expected="warn"),
    ]
