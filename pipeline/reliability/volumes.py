"""The good volumes that bad files are made of, and the fields of a header that are overwritten."""

from __future__ import annotations

import gzip
import struct
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

_nib: Any = nib  # its functions have no types

SHAPE = (20, 24, 16)
#: Voxel to RAS mm of the reference volume: RAS+ already, no two axes alike.
AFFINE = np.array([[2.0, 0, 0, -20], [0, 1.5, 0, -17], [0, 0, 3.0, 8], [0, 0, 0, 1]])
#: Places of fields in the header, in bytes (nifti1.h).
DIM, DATATYPE, BITPIX, PIXDIM, OFFSET, SLOPE, INTER = 40, 70, 72, 76, 108, 112, 116
QFORM_CODE, SFORM_CODE, QUATERN, SROW, MAGIC = 252, 254, 256, 280, 344


def voxels(
    seed: int = 0, shape: tuple[int, ...] = SHAPE, dtype: str = "<i2"
) -> NDArray[np.generic]:
    """Grey values 0 to 254, no two volumes alike."""
    return np.random.default_rng(seed).integers(0, 255, shape).astype(dtype)


def nifti(
    values: NDArray[np.generic],
    affine: NDArray[np.float64] = AFFINE,
    order: Literal["<", ">"] = "<",
    version: Literal[1, 2] = 1,
    qform: NDArray[np.float64] | None = None,
) -> bytes:
    """A sound NIfTI file, not compressed; both orientations are stated.

    Args:
        values: Voxels of any shape.
        affine: Voxel to RAS mm, of the sform.
        order: Of the bytes.
        version: Of the format.
        qform: Another affine for the qform; by default the same, or what is nearest to it.
    """
    header = (_nib.Nifti1Header if version == 1 else _nib.Nifti2Header)(endianness=order)
    kind = _nib.Nifti1Image if version == 1 else _nib.Nifti2Image
    image = kind(values, affine, header, dtype=values.dtype)
    image.set_sform(affine, code=1)
    image.set_qform(affine if qform is None else qform, code=1)
    content: bytes = image.to_bytes()
    return content


def patched(content: bytes, place: int, layout: str, *numbers: float) -> bytes:
    """A little-endian file with some fields of its header overwritten."""
    changed = bytearray(content)
    struct.pack_into("<" + layout, changed, place, *numbers)
    return bytes(changed)


def packed(content: bytes) -> bytes:
    """The same as gzip, without a time in its header."""
    return gzip.compress(content, mtime=0)


def with_value(value: float, dtype: str = "<f4", places: int = 1) -> bytes:
    """The reference volume with a value in some voxels."""
    values = voxels(dtype=dtype)
    values.reshape(-1)[1000 : 1000 + places] = value
    return nifti(values)


GOOD = nifti(voxels())
GOOD_GZ = packed(GOOD)
