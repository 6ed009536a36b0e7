"""A header of our own for ITK: of the user's only the fields that decide the geometry, rewritten.

ITK's readers (MetaIO, teem) copy texts of a header into arrays of fixed length: a long unit, or
more axes than they know, corrupts the memory of the process. So ITK is shown numbers and words
that were understood here, in the order of the user's header, and never its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from .assumed import axes_of
from .metaimage import MATRIX, ORIGIN, SPACING, metaimage_fields
from .nrrd import nrrd_fields
from .nrrd_axes import SPACE_NAMES, VECTOR, space_of, spatial_axes, vector
from .rules import rules_in_force
from .stored import system_errors
from .text_header import HeaderFields

#: Below the shortest array for a line in either reader; four axes with all digits take 400.
_MOST_CHARACTERS = 900
_WORD = re.compile(r"[A-Za-z0-9?*_-]{1,40}")


def metaimage_for_itk(path: Path) -> bytes:
    """The header of a MetaImage file that was accepted, for ITK.

    Raises:
        VolumeError: A field cannot be understood, or the file cannot be read again.
    """
    with system_errors(path, path), path.open("rb") as handle:
        fields = metaimage_fields(path, handle)
    (count,) = fields.integers("NDims")
    lines = ["ObjectType = Image"]
    for name, text in fields.items():
        if name in ("NDims", "DimSize"):
            lines.append(_line(fields, f"{name} = ", fields.integers(name)))
        elif name in (*MATRIX, *ORIGIN, *SPACING):
            numbers = count * count if name in MATRIX else count
            lines.append(_line(fields, f"{name} = ", fields.finite(name, text, numbers)))
    letters = rules_in_force().orientation
    if letters is not None and fields.first_of(MATRIX) is None:
        matrix = np.eye(count)
        matrix[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ axes_of(letters)
        lines.append(_line(fields, "TransformMatrix = ", matrix.T.ravel().tolist()))
    # The voxels' type and place change nothing of what is asked here.
    lines += ["ElementType = MET_UCHAR", "ElementDataFile = LOCAL", ""]
    return "\n".join(lines).encode("ascii")


def nrrd_for_itk(path: Path) -> bytes:
    """The header of a NRRD file that was accepted, for ITK.

    Raises:
        VolumeError: A field cannot be understood, or the file cannot be read again.
    """
    with system_errors(path, path), path.open("rb") as handle:
        fields = nrrd_fields(path, handle)
    first, last = _assumed_space(path, fields)
    # What is assumed takes the place of what says less.
    left_out = ({"spacedimension"} if first else set()) | ({"spacings"} if last else set())
    stated = [(name, *_NRRD[name]) for name in fields if name in _NRRD and name not in left_out]
    lines = [_line(fields, f"{title}: ", items(fields, name)) for name, title, items in stated]
    header = ["NRRD0005", "type: uchar", *first, *lines, *last, "encoding: raw", "", ""]
    return "\n".join(header).encode("ascii")


def _assumed_space(path: Path, fields: HeaderFields) -> tuple[list[str], list[str]]:
    """The lines of the space and of the directions where the header lacks them.

    The space must stand before all that depends on it, the directions behind the dimension.
    """
    directed = "spacedirections" in fields
    space, assumed = space_of(fields, stated=directed)
    if not assumed:
        return [], []
    # A file of ITK with a fourth axis has vectors of four numbers, and names no space.
    time = "-time" if fields.get("spacedimension") == "4" else ""
    first = [] if "space" in fields else [f"space: {SPACE_NAMES[space]}{time}"]
    if directed:
        return first, []
    axes = spatial_axes(path, fields)
    spacings = _reals(fields, "spacings")
    vectors = ["none"] * len(spacings)
    for place, axis in enumerate(axes.chosen):
        numbers = [0.0, 0.0, 0.0]
        numbers[place] = spacings[axis]
        vectors[axis] = f"({','.join(map(str, numbers))})"
    return first, [_line(fields, "space directions: ", vectors)]


def _line(fields: HeaderFields, start: str, items: Iterable[object]) -> str:
    line = start + " ".join(map(str, items))
    if len(line) > _MOST_CHARACTERS:
        reason = f"it has a line that is longer than any real one: {line[:60]!r}"
        raise fields.refusal(reason)
    return line


def _reals(fields: HeaderFields, name: str) -> list[float]:
    return fields.parse_reals(name, fields[name])


def _words(fields: HeaderFields, name: str) -> list[str]:
    words = fields[name].split()
    if not all(_WORD.fullmatch(word) for word in words):
        raise fields.refusal(f"its {name} field is {fields[name][:60]!r}")
    return words


def _vectors(fields: HeaderFields, name: str) -> list[str]:
    """Vectors in brackets; what stands between them was refused before."""
    found = [vector(fields, match) for match in VECTOR.finditer(fields[name])]
    return ["none" if item is None else f"({','.join(map(str, item))})" for item in found]


#: The fields of NRRD that tell ITK where the axes lie: how they are written, and their items.
_NRRD: dict[str, tuple[str, Callable[[HeaderFields, str], Iterable[object]]]] = {
    "dimension": ("dimension", HeaderFields.integers),
    "space": ("space", _words),
    "spacedimension": ("space dimension", HeaderFields.integers),
    "sizes": ("sizes", HeaderFields.integers),
    "spacings": ("spacings", _reals),
    "axismins": ("axis mins", _reals),
    "axismaxs": ("axis maxs", _reals),
    "centers": ("centers", _words),
    "centerings": ("centerings", _words),
    "kinds": ("kinds", _words),
    "spacedirections": ("space directions", _vectors),
    "spaceorigin": ("space origin", _vectors),
}
