"""A MetaImage file, whole (`.mha`) or with detached voxels (`.mhd`), becomes a checked volume.

Source: MetaIO documentation of ITK, itk.org/Wiki/ITK/MetaIO/Documentation. Where that leaves a
choice, the axes are those that SimpleITK gives.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..volume import Finding, Reason, Volume
from .assumed import assumed_axes
from .canonical import (
    Layout,
    checked_affine,
    checked_spacing,
    frame_finding,
    one_frame,
    several_channels,
    three_axes,
    volume_of,
)
from .magic import misnamed
from .stored import Place, regular_size, system_errors
from .text_header import HeaderFields, data_file, header_lines

_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
ORIGIN = ("Offset", "Position", "Origin")
MATRIX = ("TransformMatrix", "Rotation", "Orientation")
SPACING = ("ElementSpacing", "ElementSize")
_MOST_AXES = 10  # of MetaIO; beyond, ITK writes past the end of its arrays
_LPS = np.array([-1.0, -1.0, 1.0, 1.0])
_SLOPE, _INTER = "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"
_FIELDS = {
    name.lower(): name
    for name in (
        *("ObjectType", "NDims", "DimSize", "ElementType", "ElementNumberOfChannels"),
        *("BinaryData", "CompressedData", "HeaderSize", "DistanceUnits", "ElementDataFile"),
        *(*_ORDER, *ORIGIN, *MATRIX, *SPACING, _SLOPE, _INTER),
    )
}
#: MET_LONG is left out: its width differs between the systems that wrote it.
_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2"},
    **{"MET_INT": "i4", "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}


def read_metaimage(path: Path, *, budget: int = 4 << 30) -> Volume:
    """Reads and checks one MetaImage volume.

    Args:
        path: The file or the detached header.
        budget: Most bytes that the decoded data, and the voxels, may take.

    Raises:
        VolumeError: The volume is refused.
    """
    with system_errors(path, path):
        regular_size(path, path)
        with path.open("rb") as handle:
            fields = metaimage_fields(path, handle)
            start = handle.tell()
    shape, frame, frames = _shape(path, fields)
    dtype = _dtype(fields)
    affine, findings = _affine(path, fields)
    findings += _scaling(fields) + frame_finding(frame, frames)
    findings += misnamed(path, "MetaImage", (".mha", ".mhd"), packed=False)
    place = _place(path, fields, start)
    place = place.of_frame(frame, frames, math.prod(shape) * dtype.itemsize)
    return volume_of(path, Layout(place, shape, dtype, affine, findings=findings), budget)


def metaimage_data_file(path: Path) -> Path | None:
    """The file with the voxels of a detached header, else None.

    Raises:
        VolumeError: The header cannot be understood.
        OSError: The file cannot be read.
    """
    with path.open("rb") as handle:
        name = metaimage_fields(path, handle)["ElementDataFile"]
    return None if name.upper() == "LOCAL" else data_file(path, name)


def metaimage_fields(path: Path, handle: BinaryIO) -> HeaderFields:
    """The fields that matter; the handle stands behind ElementDataFile, which is the last one.

    Raises:
        VolumeError: A field is stated twice, or the header has no end.
    """
    fields = HeaderFields(path)
    for line in header_lines(path, handle):
        name, sign, text = line.partition("=")
        if not sign:
            name, sign, text = line.partition(":")
        known = _FIELDS.get(name.strip().lower())
        if known is not None:
            fields.state(known, text.strip(" \t"))
        if known == "ElementDataFile":
            return fields
    raise fields.refusal("the file ends within its header", Reason.E_TRUNCATED)


def _shape(path: Path, fields: HeaderFields) -> tuple[tuple[int, int, int], int, int]:
    """The sizes of the volume, which frame it is, and of how many."""
    if fields.get("ObjectType", "Image").lower() != "image":
        raise fields.refusal(f"it holds an object of type {fields['ObjectType'][:40]!r}")
    sizes = fields.integers("DimSize")
    if len(sizes) > _MOST_AXES:
        raise fields.refusal(
            f"it has {len(sizes)} dimensions; {_MOST_AXES} is the most", Reason.E_NDIM
        )
    if fields.integers("NDims") != [len(sizes)]:
        raise fields.refusal(f"it has {len(sizes)} sizes and NDims {fields['NDims']!r}")
    text = fields.get("ElementNumberOfChannels", "1")
    channels = fields.parse_integers("ElementNumberOfChannels", text)
    if channels[0] > 1:
        raise several_channels(path, channels[0])
    if channels != [1]:
        raise fields.refusal(f"its ElementNumberOfChannels is {text[:40]!r}")
    kept, frame, frames = one_frame(path, sizes)
    return three_axes(path, kept), frame, frames


def _dtype(fields: HeaderFields) -> np.dtype[np.generic]:
    name = fields.required("ElementType")
    code = _TYPES.get(name.upper())
    if code is None:
        raise fields.refusal(f"its ElementType is {name[:40]!r}", Reason.E_DTYPE)
    stated = fields.first_of(_ORDER)
    big = stated is not None and _truth(fields, stated[0])
    return np.dtype((">" if big else "<") + code)


def _truth(fields: HeaderFields, name: str, default: str = "False") -> bool:
    text = fields.get(name, default)
    if text.lower() not in ("true", "false", "1", "0"):
        raise fields.refusal(f"its {name} is {text[:40]!r}")
    return text.lower() in ("true", "1")


def _affine(path: Path, fields: HeaderFields) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """Index to RAS mm; the file's own axes are LPS."""
    (count,) = fields.integers("NDims")
    unit = fields.get("DistanceUnits", "mm")
    if unit.lower() not in ("mm", "?", ""):
        raise fields.refusal(f"its DistanceUnits is {unit[:20]!r}, not mm", Reason.E_SPACING)
    name, text = fields.first_of(SPACING[:1]) or fields.first_of(SPACING[1:]) or (SPACING[0], "")
    spacing = checked_spacing(path, fields.parse_reals(name, text), name)
    findings: tuple[Finding, ...] = ()
    if stated := fields.first_of(MATRIX):
        # Row after row, each the direction of one axis.
        matrix = np.array(fields.finite(*stated, count * count)).reshape(count, count)[:3, :3].T
    else:
        axes, findings = assumed_axes(path, "it has no TransformMatrix; ITK assumes LPS")
        matrix = _LPS[:3, None] * axes
    affine = np.eye(4)
    with np.errstate(over="ignore"):  # what overflows is refused below
        affine[:3, :3] = matrix * spacing
    if stated := fields.first_of(ORIGIN):
        affine[:3, 3] = fields.finite(*stated, count)[:3]
    return checked_affine(path, _LPS[:, None] * affine), findings


def _scaling(fields: HeaderFields) -> tuple[Finding, ...]:
    """ITK ignores these fields, so the voxels as stored are what all other tools show."""
    for name, neutral in ((_SLOPE, 1.0), (_INTER, 0.0)):
        if name in fields and fields.parse_reals(name, fields[name]) != [neutral]:
            text = f"{name} is {fields[name][:20]}; values are taken as stored, as ITK does"
            return (Finding("W_SLOPE", text),)
    return ()


def _place(path: Path, fields: HeaderFields, start: int) -> Place:
    if not _truth(fields, "BinaryData", "True"):
        raise fields.refusal("its voxels are written as text", Reason.E_ENCODING)
    packed = _truth(fields, "CompressedData")
    name = fields.required("ElementDataFile")
    file = path
    if name.upper() != "LOCAL":
        file, start = data_file(path, name), 0
    (skip,) = fields.parse_integers("HeaderSize", fields.get("HeaderSize", "0"))[:1]
    if skip < -1 or (skip == -1 and packed):
        raise fields.refusal(f"its HeaderSize is {skip}", Reason.E_OFFSET)
    # HeaderSize counts from the start of the file that holds the voxels.
    start = skip if skip > 0 else start
    return Place(file, start, "zlib" if packed else "raw", min(skip, 0))
