"""Of which DICOM series slices are, and of which part of it, by their headers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ..series_part import SeriesPart
from .dicom_header import SliceHeader

#: Beside the UID, for some tools give all scans one.
_OWNER = ("PatientID", "StudyInstanceUID")
#: What stacks of one series may differ in, as slices of one volume may not: hashes, then numbers.
_KIND = ("Modality", "SeriesNumber", "TemporalPositionIdentifier", "TemporalPositionIndex")
_SETTINGS = ("EchoTime", "DiffusionBValue")
_DIGITS = 16
#: Of places and directions; headers have 16 characters.
_DECIMALS = 6


def series_part(slices: Sequence[SliceHeader], pictures: Sequence[str] = ()) -> SeriesPart | None:
    """What is kept of slices beside their voxels; None where their series has no UID.

    Args:
        slices: Of one stack.
        pictures: Hashes of those images that are not of one value, where they were decoded.
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


def picture_hash(stored: bytes) -> str:
    """By which an image of a series is known again.

    Args:
        stored: Its values as they are stored.
    """
    return hashlib.sha256(stored).hexdigest()[:_DIGITS]


def _places(
    slices: Sequence[SliceHeader], directions: Sequence[float]
) -> list[tuple[list[float], int]]:
    """Height, and place along row and column, of each slice that states them, and its number."""
    stated = [item for item in slices if len(item.position) == 3]
    if not (directions and stated):
        return []
    rows, columns = np.split(np.asarray(directions), 2)
    axes = np.stack([np.cross(rows, columns), rows, columns])
    with np.errstate(over="ignore", invalid="ignore"):
        places = np.asarray([item.position for item in stated]) @ axes.T
    rounded = (places.round(_DECIMALS) + 0.0).tolist()
    finite = np.isfinite(places).all(axis=1)
    numbers = (item.number for item in stated)
    return sorted(
        (place, number)
        for place, number, good in zip(rounded, numbers, finite, strict=True)
        if good
    )


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
