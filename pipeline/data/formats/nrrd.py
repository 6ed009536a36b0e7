"""A NRRD file, attached (`.nrrd`) or with detached voxels (`.nhdr`), becomes a checked volume.

Source: Definition of NRRD File Format, G. Kindlmann, teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..volume import Reason, Volume, VolumeError
from .canonical import Layout, volume_of
from .inflater import Packing
from .magic import misnamed
from .nrrd_axes import affine_of, spatial_axes
from .stored import Place, regular_size, system_errors
from .text_header import HeaderFields, data_file, header_lines

_MAGIC = re.compile(r"NRRD000[1-5]")
_FIELDS = frozenset(
    "dimension type blocksize encoding endian content min max oldmin oldmax datafile lineskip "
    "byteskip number sampleunits space spacedimension spaceunits spaceorigin spacedirections "
    "measurementframe sizes spacings thicknesses axismins axismaxs centers centerings labels "
    "units kinds".split()
)
#: What each name of a type means to numpy; the blanks of the names are left out.
_TYPES = {
    **dict.fromkeys(("signedchar", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsignedchar", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "shortint", "signedshort", "signedshortint"), "i2"),
    **dict.fromkeys(("int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsignedshort", "unsignedshortint", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signedint", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsignedint", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "longlongint", "signedlonglong", "signedlonglongint"), "i8"),
    **dict.fromkeys(("int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsignedlonglong", "unsignedlonglongint"), "u8"),
    **dict.fromkeys(("uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_PACKINGS: dict[str, Packing] = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}


def read_nrrd(path: Path, *, budget: int = 4 << 30) -> Volume:
    """Reads and checks one NRRD volume.

    Args:
        path: The file or the detached header.
        budget: Most bytes that the decoded data, and the voxels, may take.

    Raises:
        VolumeError: The volume is refused.
    """
    with system_errors(path, path):
        regular_size(path, path)
        with path.open("rb") as handle:
            fields = nrrd_fields(path, handle)
            start = handle.tell()
    axes = spatial_axes(path, fields)
    affine, findings = affine_of(path, fields, axes)
    findings += misnamed(path, "NRRD", (".nrrd", ".nhdr"), packed=False)
    dtype = _dtype(fields)
    place = _place(path, fields, start)
    return volume_of(path, Layout(place, axes.shape, dtype, affine, findings=findings), budget)


def nrrd_data_file(path: Path) -> Path | None:
    """The file with the voxels of a detached header, else None.

    Raises:
        VolumeError: The header cannot be understood.
        OSError: The file cannot be read.
    """
    with path.open("rb") as handle:
        fields = nrrd_fields(path, handle)
    return data_file(path, fields["datafile"]) if "datafile" in fields else None


def nrrd_fields(path: Path, handle: BinaryIO) -> HeaderFields:
    """The fields by name without blanks; the handle stands behind the header's empty line.

    Raises:
        VolumeError: A line is no field, a field is stated twice, or the header has no end.
    """
    fields = HeaderFields(path)
    lines = header_lines(path, handle)
    magic = next(lines, "")
    if not _MAGIC.fullmatch(magic.rstrip()):
        reason = f"it begins with {magic[:20]!r}, which is no known version of NRRD"
        raise VolumeError(Reason.E_FORMAT, path, reason)
    for line in lines:
        if not line:
            return fields
        name, colon, text = line.partition(":")
        if line.startswith("#") or text.startswith("="):  # a comment, or a user's own key
            continue
        name = name.lower().replace(" ", "")
        # An unknown field may be a damaged one, without which the axes would be other ones.
        if not colon or name not in _FIELDS:
            raise fields.refusal(f"it has a line that is no field of NRRD: {line[:60]!r}")
        fields.state(name, text.strip(" \t"))
    if "datafile" not in fields:
        raise fields.refusal("the file ends within its header", Reason.E_TRUNCATED)
    return fields


def _dtype(fields: HeaderFields) -> np.dtype[np.generic]:
    name = fields.required("type")
    code = _TYPES.get(name.lower().replace(" ", ""))
    if code is None:
        raise fields.refusal(f"its type is {name[:40]!r}", Reason.E_DTYPE)
    if code.endswith("1"):
        return np.dtype(code)
    order = {"little": "<", "big": ">"}.get(fields.required("endian").lower())
    if order is None:
        raise fields.refusal(f"its endian is {fields['endian'][:40]!r}")
    return np.dtype(order + code)


def _place(path: Path, fields: HeaderFields, start: int) -> Place:
    encoding = fields.required("encoding")
    packing = _PACKINGS.get(encoding.lower())
    if packing is None:
        raise fields.refusal(f"its encoding is {encoding[:40]!r}", Reason.E_ENCODING)
    file = path
    if "datafile" in fields:
        file, start = data_file(path, fields["datafile"]), 0
    (lines,) = fields.parse_integers("line skip", fields.get("lineskip", "0"))[:1]
    (skip,) = fields.parse_integers("byte skip", fields.get("byteskip", "0"))[:1]
    if lines < 0 or skip < -1 or (skip == -1 and packing != "raw"):
        reason = f"its line skip is {lines} and its byte skip {skip}"
        raise fields.refusal(reason, Reason.E_OFFSET)
    if lines:
        start = _after_lines(path, file, start, lines)
    return Place(file, start, packing, skip)


def _after_lines(path: Path, file: Path, start: int, count: int) -> int:
    """Position behind `count` lines of text that stand before the data."""
    with system_errors(path, file):
        regular_size(path, file)
        with file.open("rb") as handle:
            handle.seek(start)
            lines = header_lines(path, handle)
            for _ in range(count):
                if next(lines, None) is None:
                    raise VolumeError(Reason.E_TRUNCATED, path, f"it has no {count} lines to skip")
            return handle.tell()
