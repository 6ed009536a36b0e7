"""A NIfTI file becomes a checked volume, or is refused with its file, reason and remedy.

The common readers check neither the checksum of a `.nii.gz` nor what the header claims before
they allocate. Here the order is: regular file, format by content, header, declared size, bytes
to their very end with checksum and length, values, geometry.
"""

from __future__ import annotations

import math
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from .volume import Finding, Reason, Volume, VolumeError, content_sha256

_nib: Any = nib  # the functions of nibabel have no types
_GZIP_MAGIC = b"\x1f\x8b"
_HEADER_BYTES = 540  # the longer of the two header versions
_CHUNK = 1 << 18
_MAX_INFLATION = 1032  # deflate cannot grow data by more
_SLAB_VOXELS = 1 << 21
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_LOOKS_LIKE = (
    (b"<!doctype html", "it looks like an HTML page (a login page?)"),
    (b"<html", "it looks like an HTML page (a login page?)"),
    (b"version https://git-lfs", "it is a git-lfs pointer: run `git lfs pull`"),
    (b"nrrd000", "it looks like NRRD"),
    (b"objecttype", "it looks like MetaImage"),
    (b"pk\x03\x04", "it looks like a zip archive"),
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a checked header says about the voxels."""

    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    inter: float
    affine: NDArray[np.float64]
    findings: tuple[Finding, ...]

    @property
    def end(self) -> int:
        """Position of the first byte after the voxels."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read_nifti(path: Path, *, budget: int = 4 << 30) -> Volume:
    """Reads and checks one NIfTI-1 or NIfTI-2 file, compressed or not, by its content.

    Args:
        path: The file; a link is followed.
        budget: Most bytes that the decoded file, and its voxels, may take.

    Raises:
        VolumeError: The volume is refused.
    """
    try:
        size = _regular_size(path)
        with path.open("rb") as handle:
            layout, stored, trailing = _stored_bytes(path, handle, size, budget)
    except FileNotFoundError as error:
        raise VolumeError(Reason.E_MISSING, path, "there is no file of that name") from error
    except PermissionError as error:
        raise VolumeError(Reason.E_PERMISSION, path, error.strerror or "no permission") from error
    except OSError as error:
        raise VolumeError(Reason.E_IO, path, error.strerror or str(error)) from error
    findings = layout.findings
    if trailing:
        findings += (Finding("W_TRAILING", "bytes follow the image; ignored"),)
    voxels, affine = _canonical(path, layout, stored)
    x, y, z = (float(size) for size in _nib.affines.voxel_sizes(affine))
    content = content_sha256(voxels, affine)
    return Volume(voxels, affine, layout.affine, (x, y, z), content, findings)


def _regular_size(path: Path) -> int:
    status = path.stat()  # before opening: a FIFO would block, a device could answer for ever
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise VolumeError(Reason.E_IRREGULAR, path, f"it is {kind}")
    if status.st_size == 0:
        raise VolumeError(Reason.E_EMPTY, path, "it has 0 bytes")
    return status.st_size


class _Inflater:
    """Decompresses all members of a gzip stream, to the end, checksum and length checked."""

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self.path = path
        self.handle = handle
        self.trailing = False

    def __iter__(self) -> Iterator[bytes]:
        pending = self.handle.read(_CHUNK)
        while pending.startswith(_GZIP_MAGIC):
            decoder = zlib.decompressobj(wbits=31)
            while not decoder.eof:
                if not pending:
                    have = self.handle.tell()
                    reason = f"the compressed data stops after {have:,} bytes, without its end"
                    raise VolumeError(Reason.E_TRUNCATED, self.path, reason)
                try:
                    chunk = decoder.decompress(pending, _CHUNK * 8)
                except zlib.error as error:
                    raise VolumeError(Reason.E_CRC, self.path, str(error)) from error
                if chunk:
                    yield chunk
                pending = decoder.unconsumed_tail or decoder.unused_data
                if not decoder.eof and not pending:
                    pending = self.handle.read(_CHUNK)
            if len(pending) < len(_GZIP_MAGIC):
                pending += self.handle.read(_CHUNK)
        self.trailing = bool(pending)


def _stored_bytes(
    path: Path, handle: BinaryIO, size: int, budget: int
) -> tuple[_Layout, NDArray[np.uint8], bool]:
    """The checked header, the decoded bytes up to the last voxel, whether more follows."""
    packed = handle.read(2) == _GZIP_MAGIC
    handle.seek(0)
    inflater = _Inflater(path, handle)
    chunks = iter(inflater) if packed else iter(partial(handle.read, _CHUNK), b"")
    head = b""
    while len(head) < _HEADER_BYTES and (chunk := next(chunks, b"")):
        head += chunk
    layout = _layout(path, head)
    _check_size(path, layout, size * _MAX_INFLATION if packed else size, budget)
    stored = np.empty(layout.end, dtype=np.uint8)
    total = 0
    for chunk in chain((head,), chunks):
        kept = memoryview(chunk)[: max(layout.end - total, 0)]
        stored[total : total + len(kept)] = kept
        total += len(chunk)
        if total > budget:
            raise VolumeError(Reason.E_BUDGET, path, f"it decodes to more than {budget:,} bytes")
        if total >= layout.end and not packed:
            break
    if total < layout.end:
        reason = f"it holds {total:,} of the {layout.end:,} bytes that its header declares"
        raise VolumeError(Reason.E_TRUNCATED, path, reason)
    return layout, stored, inflater.trailing or total > layout.end


def _check_size(path: Path, layout: _Layout, most: int, budget: int) -> None:
    needed = max(layout.end, 4 * math.prod(layout.shape))
    if needed > budget:
        reason = f"its header declares {needed:,} bytes; at most {budget:,} are allowed"
        raise VolumeError(Reason.E_BUDGET, path, reason)
    if layout.end > most:
        reason = f"its header declares {layout.end:,} bytes; the file can hold {most:,} at most"
        raise VolumeError(Reason.E_TRUNCATED, path, reason)


def _layout(path: Path, head: bytes) -> _Layout:
    header = _header(path, head)
    shape = _shape(path, header)
    dtype = _dtype(path, header)
    offset = float(header["vox_offset"])
    if not (math.isfinite(offset) and offset >= header.sizeof_hdr):
        raise VolumeError(Reason.E_OFFSET, path, f"voxels are said to start at byte {offset:g}")
    slope, inter, findings = _scaling(path, header)
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        text = "the header states no orientation; x to the left is assumed, as NIfTI-1 suggests"
        findings += (Finding("W_ORIENTATION", text),)
    return _Layout(shape, dtype, int(offset), slope, inter, _affine(path, header), findings)


def _header(path: Path, head: bytes) -> Nifti1Header:
    little, big = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    declared = big if big in (348, 540) else little
    if declared not in (348, 540):
        raise VolumeError(Reason.E_NOT_NIFTI, path, _looks_like(head))
    if len(head) < declared:
        raise VolumeError(Reason.E_TRUNCATED, path, f"its header of {declared} bytes is not whole")
    magic = head[344:348] if declared == 348 else head[4:12]
    if magic in (b"ni1\0", b"ni2\0\r\n\x1a\n"):
        raise VolumeError(Reason.E_PAIR, path, "its voxels lie in a second file")
    if magic not in (b"n+1\0", b"n+2\0\r\n\x1a\n"):
        raise VolumeError(Reason.E_NOT_NIFTI, path, "it looks like Analyze 7.5")
    kind = _nib.Nifti1Header if declared == 348 else _nib.Nifti2Header
    order = "<" if declared == little else ">"
    # Without nibabel's own check, which repairs headers and says so on stderr only.
    header: Nifti1Header = kind(head[:declared], endianness=order, check=False)
    return header


def _looks_like(head: bytes) -> str:
    if head[128:132] == b"DICM":
        return "it looks like DICOM"
    start = head.lstrip()[:64].lower()
    guesses = (text for magic, text in _LOOKS_LIKE if start.startswith(magic))
    return next(guesses, "it does not start with a NIfTI header")


def _shape(path: Path, header: Nifti1Header) -> tuple[int, int, int]:
    count, *dims = (int(size) for size in header["dim"])
    sizes = dims[: max(count, 0)]
    if not 1 <= count <= 7 or min(sizes) <= 0:
        raise VolumeError(Reason.E_DIMS, path, f"its dim field is {[count, *dims]}")
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) != 3:
        shape = " x ".join(str(size) for size in sizes)
        raise VolumeError(Reason.E_NDIM, path, f"it has {len(sizes)} dimensions: {shape}")
    return sizes[0], sizes[1], sizes[2]


def _dtype(path: Path, header: Nifti1Header) -> np.dtype[np.generic]:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    try:
        dtype: np.dtype[np.generic] = _nib.Nifti1Header.get_data_dtype(header)
    except KeyError as error:
        raise VolumeError(Reason.E_DTYPE, path, f"unknown datatype code {code}") from error
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


def _affine(path: Path, header: Nifti1Header) -> NDArray[np.float64]:
    zooms = header["pixdim"][1:4]
    if int(header["sform_code"]) <= 0 and not (np.isfinite(zooms) & (zooms > 0)).all():
        raise VolumeError(Reason.E_SPACING, path, f"its pixdim field is {zooms.tolist()}")
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # as the standard reads a missing handedness
    try:
        affine = np.asarray(_nib.Nifti1Header.get_best_affine(header), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise VolumeError(Reason.E_AFFINE, path, str(error)) from error
    if not (np.abs(affine) < 1e9).all():
        raise VolumeError(Reason.E_AFFINE, path, "its affine is not finite, or beyond 1000 km")
    lengths = _nib.affines.voxel_sizes(affine)
    if not lengths.all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
        raise VolumeError(Reason.E_AFFINE, path, "its affine is singular: the axes span no volume")
    return affine


def _canonical(
    path: Path, layout: _Layout, stored: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Scaled values in RAS+ order and their affine; slab by slab, so that memory stays low."""
    raw = stored[layout.offset :].view(layout.dtype).reshape(layout.shape, order="F")
    orientation = _nib.orientations.io_orientation(layout.affine)
    axes = [int(axis) for axis in orientation[:, 0]]
    shape = [layout.shape[axes.index(axis)] for axis in range(3)]
    voxels = np.empty(shape, dtype=np.float32)
    flips = tuple(slice(None, None, int(sign)) for sign in orientation[:, 1])
    as_stored = voxels.transpose(axes)[flips]
    ends: list[float] = []
    nonfinite = 0
    step = max(1, _SLAB_VOXELS // (raw.shape[0] * raw.shape[1]))
    for start in range(0, raw.shape[2], step):
        slab = raw[..., start : start + step]
        with np.errstate(over="ignore", invalid="ignore"):
            if (layout.slope, layout.inter) != (1.0, 0.0):
                slab = slab * np.float64(layout.slope) + np.float64(layout.inter)
            ends += [float(slab.min()), float(slab.max())]
            as_stored[..., start : start + step] = slab
        if not math.isfinite(ends[-1] - ends[-2]):
            nonfinite += int(np.count_nonzero(~np.isfinite(raw[..., start : start + step])))
    _check_values(path, ends, nonfinite, raw.size)
    return voxels, layout.affine @ _nib.orientations.inv_ornt_aff(orientation, layout.shape)


def _check_values(path: Path, ends: list[float], nonfinite: int, count: int) -> None:
    if nonfinite:
        raise VolumeError(Reason.E_NONFINITE, path, f"{nonfinite:,} of {count:,} voxels")
    low, high = min(ends), max(ends)
    if not -_FLOAT32_MAX <= low <= high <= _FLOAT32_MAX:
        raise VolumeError(Reason.E_RANGE, path, f"its values reach from {low:g} to {high:g}")
    if np.float32(low) == np.float32(high):
        raise VolumeError(Reason.E_CONSTANT, path, f"every voxel is {low:g}")
