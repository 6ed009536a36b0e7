"""Which axes of a NRRD image lie in space, and where: its sizes, directions, space and units.

Source: Definition of NRRD File Format, G. Kindlmann, teem.sourceforge.net/nrrd/format.html,
sections 4 (space and orientation) and 6 (per-axis fields).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..volume import Finding, Reason, VolumeError
from .assumed import assumed
from .canonical import checked_affine, checked_spacing, several_channels, three_axes
from .rules import rules_in_force
from .text_header import HeaderFields

#: Signs that turn the first two axes of a space of the patient into those of RAS.
_SPACES = {
    **dict.fromkeys(("rightanteriorsuperior", "ras", "rightanteriorsuperiortime", "rast"), (1, 1)),
    **dict.fromkeys(("leftanteriorsuperior", "las", "leftanteriorsuperiortime", "last"), (-1, 1)),
    **dict.fromkeys(
        ("leftposteriorsuperior", "lps", "leftposteriorsuperiortime", "lpst"), (-1, -1)
    ),
}
#: The spaces that a user may name, as a header does.
SPACE_NAMES = {
    "ras": "right-anterior-superior",
    "las": "left-anterior-superior",
    "lps": "left-posterior-superior",
}
VECTOR = re.compile(r"none|\(([^()]*)\)")
_MOST_AXES = 16  # of teem, which reads NRRD for ITK
_SPATIAL_KINDS = ("domain", "space", "???", "none")
_MM = ("", "mm", "millimeter", "millimeters", "millimetre", "millimetres", "???")


@dataclass(frozen=True, slots=True)
class Axes:
    """The three axes of an image that lie in space; all others have length 1.

    Attributes:
        shape: Their sizes, the fastest first.
        chosen: Their places among all axes of the file.
        directions: For every axis of the file the vector of a step along it, None where it is not
            in space; or None if the header states no directions.
    """

    shape: tuple[int, int, int]
    chosen: tuple[int, ...]
    directions: tuple[tuple[float, ...] | None, ...] | None


def spatial_axes(path: Path, fields: HeaderFields) -> Axes:
    """The three axes in space.

    Raises:
        VolumeError: There are not three, an axis is empty, or a voxel has several values.
    """
    sizes = fields.integers("sizes")
    if fields.integers("dimension") != [len(sizes)]:
        raise fields.refusal(f"it has {len(sizes)} sizes and dimension {fields['dimension']!r}")
    if len(sizes) > _MOST_AXES:
        raise fields.refusal(
            f"it has {len(sizes)} dimensions; {_MOST_AXES} is the most", Reason.E_NDIM
        )
    directions = _directions(fields, len(sizes))
    kinds = fields["kinds"].lower().split() if "kinds" in fields else ["domain"] * len(sizes)
    if len(kinds) != len(sizes):
        raise fields.refusal(f"it has {len(sizes)} sizes and {len(kinds)} kinds")
    if directions is not None:
        spatial = [direction is not None for direction in directions]
    else:
        spatial = [kind in _SPATIAL_KINDS for kind in kinds]
    for size, kind, lies in zip(sizes, kinds, spatial, strict=True):
        if not lies and size > 1:
            if kind == "time":
                raise VolumeError(Reason.E_NDIM, path, f"it has {size} frames")
            raise several_channels(path, size)
    chosen = [axis for axis, lies in enumerate(spatial) if lies or sizes[axis] != 1]
    shape = three_axes(path, [sizes[axis] for axis in chosen])
    return Axes(shape, tuple(chosen[:3]), directions)


def _directions(fields: HeaderFields, count: int) -> tuple[tuple[float, ...] | None, ...] | None:
    """For each axis the vector of a step along it, or None where it is not in space."""
    if "spacedirections" not in fields:
        return None
    text = fields["spacedirections"]
    if VECTOR.sub("", text).strip():
        raise fields.refusal(f"its space directions are {text[:60]!r}")
    found = [vector(fields, match) for match in VECTOR.finditer(text)]
    if len(found) != count:
        raise fields.refusal(f"it has {count} sizes and {len(found)} space directions")
    return tuple(found)


def vector(fields: HeaderFields, match: re.Match[str]) -> tuple[float, ...] | None:
    """The numbers of a match of `VECTOR`, or None for an axis that is not in space."""
    if match[0] == "none":
        return None
    return tuple(fields.parse_reals("space direction or origin", match[1], ","))


def affine_of(
    path: Path, fields: HeaderFields, axes: Axes
) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """Index to RAS mm (4, 4), and what is doubtful about it.

    Raises:
        VolumeError: The space does not say which side is left, the unit is not mm, or the axes span
            no volume.
    """
    _check_units(fields)
    affine = np.eye(4)
    if axes.directions is not None:
        affine[:3, :3] = np.array([_in_mm(fields, axes.directions[k]) for k in axes.chosen]).T
    else:
        spacings = fields.parse_reals("spacings", fields.get("spacings", ""))
        chosen = [spacings[axis] for axis in axes.chosen if axis < len(spacings)]
        affine[:3, :3] = np.diag(checked_spacing(path, chosen, "spacings"))
    affine[:3, 3] = _in_mm(fields, _origin(fields))
    space, findings = space_of(fields, stated=axes.directions is not None)
    signs = np.array([*_SPACES[space], 1, 1])
    return checked_affine(path, signs[:, None] * affine), findings


def space_of(fields: HeaderFields, stated: bool) -> tuple[str, tuple[Finding, ...]]:
    """The space of the patient that the vectors of a header are in, a key of `_SPACES`.

    Args:
        fields: The header.
        stated: Whether it has space directions; without them its axes lie along the space's.

    Raises:
        VolumeError: The space does not say which side is left; or there is none, or no direction,
            and the rules in force name no space to assume.
    """
    space = re.sub(r"[-_ ]", "", fields.get("space", "").lower())
    if space and space not in _SPACES:
        reason = f"its space is {fields['space'][:40]!r}, which does not say which side is left"
        raise fields.refusal(reason, Reason.E_AFFINE)
    if space and stated:
        return space, ()
    letters = (rules_in_force().orientation or "").lower()
    same = not space or _SPACES[space] == _SPACES.get(letters)
    if letters not in _SPACES or not same:
        lacks = "space directions" if space else "space; ITK assumes LPS"
        reason = f"it states no {lacks}; a NRRD file takes RAS, LAS or LPS here"
        if space:
            reason += f", as its space is {fields['space'][:40]!r}"
        raise fields.refusal(reason, Reason.E_ORIENT_MISSING)
    return letters, (assumed(letters.upper()),)


def _origin(fields: HeaderFields) -> tuple[float, ...] | None:
    text = fields.get("spaceorigin", "(0,0,0)")
    match = VECTOR.fullmatch(text)
    if match is None:
        raise fields.refusal(f"its space origin is {text[:60]!r}")
    return vector(fields, match)


def _in_mm(fields: HeaderFields, vector: tuple[float, ...] | None) -> tuple[float, ...]:
    """The three spatial numbers of a vector; a fourth one is the time of a series."""
    if vector is None or len(vector) not in (3, 4):
        raise fields.refusal(f"it has a vector {vector}; 3 numbers are expected")
    return vector[:3]


def _check_units(fields: HeaderFields) -> None:
    for name in ("spaceunits", "units"):
        text = fields.get(name, "")
        words = re.findall(r'"([^"]*)"', text) or text.split()
        other = [word for word in words if word.strip().lower() not in _MM]
        if other and (name == "spaceunits" or "spacedirections" not in fields):
            raise fields.refusal(f"its unit is {other[0][:20]!r}, not mm", Reason.E_SPACING)
