"""Rows 23 to 26 and 36 to 38: sizes, voxel types and places that a header states."""

from __future__ import annotations

import math

import numpy as np

from .bad_file import BadFile
from .bad_file import bad_volume as _bad
from .volumes import BITPIX, DATATYPE, DIM, GOOD, OFFSET, SHAPE, nifti, packed, patched, voxels


def _frames(count: int) -> bytes:
    return nifti(np.stack([voxels(seed) for seed in range(count)], axis=-1))


def dimension_faults() -> list[BadFile]:
    """Rows 23 to 25."""
    x, y, z = SHAPE
    return [
        _bad(23, "no axes", patched(GOOD, DIM, "h", 0), "E_DIMS"),
        _bad(23, "an axis of 0", patched(GOOD, DIM, "4h", 3, x, 0, z), "E_DIMS"),
        _bad(23, "an axis below 0", patched(GOOD, DIM, "4h", 3, x, -y, z), "E_DIMS"),
        _bad(23, "nine axes", patched(GOOD, DIM, "h", 9), "E_DIMS"),
        _bad(24, "five frames", _frames(5), "E_NDIM"),
        _bad(24, "no such frame", packed(_frames(5)), "E_NDIM", data={"frame": 5}),
        _bad(24, "the frame that was asked for", packed(_frames(5)), "W_FRAME",
             expected="warn", data={"frame": 0}, twin=True),
        _bad(24, "one frame", _frames(1), expected="ok", twin=True),
        _bad(25, "one axis", nifti(voxels(shape=(99,))), "E_NDIM"),
        _bad(25, "two axes", nifti(voxels(shape=(20, 24))), "E_NDIM"),
        _bad(25, "five axes", nifti(voxels(shape=(*SHAPE, 2, 3))), "E_NDIM"),
        _bad(25, "three values a voxel", nifti(voxels(shape=(*SHAPE, 1, 3))), "E_CHANNELS"),
    ]  # fmt: skip


def type_faults() -> list[BadFile]:
    """Rows 26 and 36 to 38."""
    return [
        _bad(26, "RGB", patched(GOOD, DATATYPE, "hh", 128, 24), "E_CHANNELS"),
        _bad(26, "RGBA", patched(GOOD, DATATYPE, "hh", 2304, 32), "E_CHANNELS"),
        _bad(26, "complex64", nifti(voxels(dtype="<c8")), "E_DTYPE"),
        _bad(26, "complex128", packed(nifti(voxels(dtype="<c16"))), "E_DTYPE"),
        _bad(26, "float128", patched(GOOD, DATATYPE, "hh", 1536, 128), "E_DTYPE"),
        _bad(36, "NIfTI-1", nifti(voxels(dtype=">i2"), order=">"), expected="ok", twin=True),
        _bad(36, "NIfTI-2", nifti(voxels(dtype=">i2"), order=">", version=2),
             expected="ok", twin=True),
        _bad(36, "compressed float64", packed(nifti(voxels(dtype=">f8"), order=">")),
             expected="ok", twin=True),
        _bad(37, "unknown code", patched(GOOD, DATATYPE, "h", 1234), "E_DTYPE"),
        _bad(37, "code 0", patched(GOOD, DATATYPE, "h", 0), "E_DTYPE"),
        _bad(37, "bitpix of another type", patched(GOOD, BITPIX, "h", 32), "E_DTYPE"),
        _bad(38, "behind the end", patched(GOOD, OFFSET, "f", 50_000), "E_TRUNCATED"),
        _bad(38, "in the header", patched(GOOD, OFFSET, "f", 100), "E_OFFSET"),
        _bad(38, "before the file", patched(GOOD, OFFSET, "f", -352), "E_OFFSET"),
        _bad(38, "NaN", patched(GOOD, OFFSET, "f", math.nan), "E_OFFSET"),
    ]  # fmt: skip
