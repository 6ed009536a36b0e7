"""Of which DICOM series slices are, and of which part of it, by their headers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..series_part import SeriesPart
from .dicom_header import FARTHEST_MM, SliceHeader

#: Beside the UID, for some tools give all scans one.
_OWNER = ("PatientID", "StudyInstanceUID")
#: What stacks of one series may differ in, as slices of one volume may not: hashes, then numbers.
_KIND = ("Modality", "SeriesNumber", "TemporalPositionIdentifier", "TemporalPositionIndex")
_SETTINGS = ("EchoTime", "DiffusionBValue")
_DIGITS = 16
#: Voxels that are looked at, and how many values there must be among them.
_LOOKED_AT, _VALUES = 4096, 16
#: Of places and directions; headers have 16 characters.
_DECIMALS = 6


def series_part(slices: Sequence[SliceHeader], pictures: Sequence[str] = ()) -> SeriesPart | None:
    """What is kept of slices beside their voxels; None where their series has no UID.

    Args:
        slices: Of one stack.
        pictures: What `picture_hash` gives of the images, where they were decoded.
    """
    first = slices[0]
    if not first.series:
        return None
    directions = _rounded(first.orientation if len(first.orientation) == 6 else ())
    places = _places(slices, directions)
    return SeriesPart(
        series=_hash(first.series),
        owner={keyword: _stated(slices, keyword) for keyword in _OWNER},
        kind={keyword: _stated(slices, keyword) for keyword in _KIND},
        settings={keyword: first.settings[keyword] for keyword in _SETTINGS},
        size=(first.columns, first.rows),
        directions=directions,
        spacing=_rounded(first.spacing[::-1]),
        corner=tuple(places[0][0][1:]) if places else (),
        heights=tuple(place[0] for place, _ in places),
        numbers=tuple(number for _, number in places),
        pictures=tuple(pictures),
    )


def picture_hash(stored: NDArray[np.generic]) -> str | None:
    """By which an image of a series is known again; None if it shows too little for that.

    Air in a circle of padding, or an outline, may be the same in scans of two patients.

    Args:
        stored: Its values as they are stored.
    """
    some = stored.ravel(order="K")[:: max(1, stored.size // _LOOKED_AT)]
    if len(np.unique(some)) < _VALUES:
        return None
    return hashlib.sha256(stored.tobytes(order="A")).hexdigest()[:_DIGITS]


def _places(
    slices: Sequence[SliceHeader], directions: Sequence[float]
) -> list[tuple[list[float], int]]:
    """Height, and place along row and column, of each slice that states them, and its number."""
    stated = [item for item in slices if len(item.position) == 3]
    if not (directions and stated):
        return []
    rows, columns = np.split(np.asarray(directions), 2)
    axes = np.stack([np.cross(rows, columns), rows, columns])
    near = [item for item in stated if all(abs(part) <= FARTHEST_MM for part in item.position)]
    if not near:
        return []
    places = np.asarray([item.position for item in near]) @ axes.T
    rounded = (places.round(_DECIMALS) + 0.0).tolist()
    return sorted(zip(rounded, (item.number for item in near), strict=True))


def _rounded(numbers: Sequence[float]) -> tuple[float, ...]:
    """As they are kept: none, where one is no number."""
    finite = all(map(np.isfinite, numbers))
    return tuple(round(number, _DECIMALS) + 0.0 for number in numbers) if finite else ()


def _stated(slices: Sequence[SliceHeader], keyword: str) -> str:
    """The hash of an element that slices share; tools leave some elements empty in some files."""
    told = next((item.scan[keyword] for item in slices if item.scan[keyword]), "")
    # A short id is guessed from a hash of its own; from this one only by who knows the UID.
    return told and _hash(f"{slices[0].series} {told}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
