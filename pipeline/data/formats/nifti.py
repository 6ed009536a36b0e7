"""A NIfTI file, or pair of files, becomes a checked volume or is refused with a reason and remedy.

The common readers check neither the checksum of a `.nii.gz` nor what the header claims before
they allocate. Here the order is: regular file, format by content, header, declared size, bytes
to their very end with checksum and length, values, geometry.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Header

from ..volume import Finding, Reason, Volume, VolumeError
from .canonical import (
    Layout,
    frame_finding,
    one_frame,
    several_channels,
    three_axes,
    volume_of,
)
from .inflater import GZIP_MAGIC
from .magic import looks_like, misnamed
from .nifti_axes import nifti_affine
from .pair import expected_half, half_of, other_half
from .stored import Place, decoded_head, missing, regular_size, system_errors

_nib: Any = nib  # the functions of nibabel have no types
_HEADER_BYTES = 540  # the longer of the two header versions
_SINGLE = (b"n+1\0", b"n+2\0\r\n\x1a\n")
_PAIR = (b"ni1\0", b"ni2\0\r\n\x1a\n")
_ENDINGS = (".nii", ".hdr", ".img")
_COLOURS = {128: 3, 2304: 4}  # RGB24 and RGBA32


def read_nifti(path: Path, *, budget: int = 4 << 30) -> Volume:
    """Reads and checks one NIfTI-1 or NIfTI-2 volume, compressed or not, by its content.

    Args:
        path: The file, or either half of a pair; a link is followed.
        budget: Most bytes that the decoded file, and its voxels, may take.

    Raises:
        VolumeError: The volume is refused.
    """
    with system_errors(path, path):
        file = _header_file(path)
    with system_errors(path, file):
        regular_size(path, file)
        with file.open("rb") as handle:
            head, packed = decoded_head(path, handle, _HEADER_BYTES)
    header, paired = _header(path, head)
    _dims(path, header)  # before the offset: a damaged header is told by its sizes first
    doubts = misnamed(file, "NIfTI", _ENDINGS, packed)
    if paired:
        place = _place_in_pair(path, file, header)
    else:
        if file != path:
            reason = f"{file.name} holds voxels of its own, so it is not the header of this file"
            raise VolumeError(Reason.E_PAIR, path, reason)
        place = Place(file, packing="gzip" if packed else "raw", skip=_offset(path, header))
    layout = _layout(path, header, place)
    return volume_of(path, replace(layout, findings=doubts + layout.findings), budget)


def is_pair_header(head: bytes) -> bool:
    """Whether a file with these first (decoded) bytes has its voxels in a second file."""
    return head[344:348] == _PAIR[0] or head[4:12] == _PAIR[1]


def _header_file(path: Path) -> Path:
    """The file with the header: of a pair, the user may have named the other one."""
    return (other_half(path) or path) if half_of(path) == ".img" else path


def _place_in_pair(path: Path, file: Path, header: Nifti1Header) -> Place:
    if half_of(file) != ".hdr":
        reason = "its voxels lie in a second file, but its name does not end in .hdr"
        raise VolumeError(Reason.E_PAIR, path, reason)
    with system_errors(path, path):
        voxels = path if file != path else other_half(file)
    if voxels is None:
        raise missing(path, expected_half(file))
    offset = _offset(path, header)
    with system_errors(path, voxels):
        size = regular_size(path, voxels)
        with voxels.open("rb") as handle:
            packed = handle.read(2) == GZIP_MAGIC
    # Plain voxels have no magic of their own and may begin like gzip; then their number tells.
    shape, _, frames = _dims(path, header)
    plain = offset + math.prod(shape) * frames * _dtype(path, header).itemsize
    packed = packed and (size != plain or voxels.name.lower().endswith(".gz"))
    return Place(voxels, packing="gzip" if packed else "raw", skip=offset)


def _offset(path: Path, header: Nifti1Header) -> int:
    offset = float(header["vox_offset"])
    least = 0 if bytes(header["magic"])[:2] == b"ni" else int(header.sizeof_hdr)
    if not (math.isfinite(offset) and offset >= least):
        reason = f"voxels are said to start at byte {offset:g}"
        if offset == 0:
            start = -(-(least + 4) // 16) * 16  # behind the four bytes that announce extensions
            reason += f", within its header; if they follow it, set vox_offset to {start}"
        raise VolumeError(Reason.E_OFFSET, path, reason)
    return int(offset)


def _layout(path: Path, header: Nifti1Header, place: Place) -> Layout:
    shape, frame, frames = _dims(path, header)
    dtype = _dtype(path, header)
    slope, inter, findings = _scaling(path, header)
    affine, doubts = nifti_affine(path, header, shape)
    findings += doubts + frame_finding(frame, frames)
    place = place.of_frame(frame, frames, math.prod(shape) * dtype.itemsize)
    return Layout(place, shape, dtype, affine, slope, inter, findings)


def _header(path: Path, head: bytes) -> tuple[Nifti1Header, bool]:
    """The header, and whether the voxels lie in a second file."""
    little, big = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    declared = big if big in (348, 540) else little
    if declared not in (348, 540):
        text = looks_like(head, "it does not start with a NIfTI header")
        raise VolumeError(Reason.E_NOT_NIFTI, path, text)
    if len(head) < declared:
        raise VolumeError(Reason.E_TRUNCATED, path, f"its header of {declared} bytes is not whole")
    magic = head[344:348] if declared == 348 else head[4:12]
    if magic not in _SINGLE + _PAIR:
        raise VolumeError(Reason.E_ANALYZE, path, "its header has no NIfTI magic: Analyze 7.5")
    kind = _nib.Nifti1Header if declared == 348 else _nib.Nifti2Header
    order = "<" if declared == little else ">"
    # Without nibabel's own check, which repairs headers and says so on stderr only.
    header: Nifti1Header = kind(head[:declared], endianness=order, check=False)
    return header, magic in _PAIR


def _dims(path: Path, header: Nifti1Header) -> tuple[tuple[int, int, int], int, int]:
    """The sizes of the volume, which frame it is, and of how many."""
    count, *dims = (int(size) for size in header["dim"])
    sizes = dims[: max(count, 0)]
    if not 1 <= count <= 7 or min(sizes) <= 0:
        raise VolumeError(Reason.E_DIMS, path, f"its dim field is {[count, *dims]}")
    if len(sizes) >= 5 and sizes[3] == 1 < sizes[4] and set(sizes[5:]) <= {1}:
        # The standard keeps dimension 4 for time and 5 for the values of one voxel.
        raise several_channels(path, sizes[4])
    kept, frame, frames = one_frame(path, sizes)
    return three_axes(path, kept), frame, frames


def _dtype(path: Path, header: Nifti1Header) -> np.dtype[np.generic]:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    try:
        dtype: np.dtype[np.generic] = _nib.Nifti1Header.get_data_dtype(header)
    except KeyError as error:
        raise VolumeError(Reason.E_DTYPE, path, f"unknown datatype code {code}") from error
    if code in _COLOURS:
        raise several_channels(path, _COLOURS[code])
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        name = str(_nib.nifti1.data_type_codes.label[code])
        raise VolumeError(Reason.E_DTYPE, path, f"its datatype is {name} (code {code})")
    if bits != 8 * dtype.itemsize:
        raise VolumeError(Reason.E_DTYPE, path, f"datatype {dtype.name} contradicts bitpix {bits}")
    return dtype


def _scaling(path: Path, header: Nifti1Header) -> tuple[float, float, tuple[Finding, ...]]:
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0.0 or not math.isfinite(slope):
        text = f"scl_slope is {slope:g}; values are taken as stored"
        return 1.0, 0.0, (Finding("W_SLOPE", text),)
    if not math.isfinite(inter):
        raise VolumeError(Reason.E_SCALE, path, f"scl_inter is {inter:g}")
    return slope, inter, ()
