"""Of which DICOM series slices are, and of which part of it, by their headers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from ..series_part import SeriesPart
from .dicom_header import SliceHeader

#: Beside the UID, for some tools give all scans one.
_OWNER = ("PatientID", "StudyInstanceUID")
#: What stacks of one series may differ in, as slices of one volume may not: hashes, then numbers.
_KIND = ("Modality", "SeriesNumber", "TemporalPositionIdentifier", "TemporalPositionIndex")
_SETTINGS = ("EchoTime", "DiffusionBValue")
_DIGITS = 16
_STACKS = 100
#: Of places and directions; headers have 16 characters.
_DECIMALS = 6


def series_part(slices: Sequence[SliceHeader]) -> SeriesPart | None:
    """What is kept of a volume's slices; None where their series has no UID.

    Args:
        slices: Of one stack.
    """
    first = slices[0]
    if not first.series:
        return None
    directions = first.orientation if len(first.orientation) == 6 else ()
    places = _places(slices, directions)
    return SeriesPart(
        series=_hash(first.series),
        owner={keyword: _stated(slices, keyword) for keyword in _OWNER},
        kind={keyword: _stated(slices, keyword) for keyword in _KIND},
        settings={keyword: first.settings[keyword] for keyword in _SETTINGS},
        size=(first.columns, first.rows),
        directions=_rounded(directions),
        spacing=_rounded(first.spacing[::-1]),
        corner=places[0][1:] if places else (),
        heights=tuple(height for height, *_ in places),
        numbers=_numbers(slices),
    )


def series_parts(slices: Iterable[SliceHeader]) -> tuple[SeriesPart, ...]:
    """The stacks among slices that make no volume, of however many series.

    Args:
        slices: Of a folder that is refused; some may state no place.
    """
    stacks: list[tuple[SeriesPart, list[SliceHeader]]] = []
    for item in slices:
        single = series_part([item])
        if single is None:
            continue
        for like, members in stacks:
            one_series = like.series == single.series and like.is_of_one_owner(single)
            if one_series and like.is_of_one_stack(single):
                members.append(item)
                break
        else:
            # More are a heap of images, each of which would be held against all.
            stacks += [(single, [item])] if len(stacks) < _STACKS else []
    parts = (series_part(members) for _, members in stacks)
    return tuple(part for part in parts if part is not None)


def _places(
    slices: Sequence[SliceHeader], directions: Sequence[float]
) -> list[tuple[float, float, float]]:
    """Height, and place along row and column, of each slice that states where it lies."""
    stated = [item.position for item in slices if len(item.position) == 3]
    if not (directions and stated):
        return []
    rows, columns = np.split(np.asarray(directions), 2)
    axes = np.stack([np.cross(rows, columns), rows, columns])
    places = np.asarray(stated) @ axes.T
    finite = places[np.isfinite(places).all(axis=1)]
    return sorted((h, r, c) for h, r, c in (finite.round(_DECIMALS) + 0.0).tolist())


def _numbers(slices: Sequence[SliceHeader]) -> tuple[int, ...]:
    numbers = sorted(item.number for item in slices)
    return tuple(numbers) if numbers[0] >= 0 else ()


def _rounded(numbers: Sequence[float]) -> tuple[float, ...]:
    """As they are kept: a number that is none is none of all."""
    finite = all(map(np.isfinite, numbers))
    return tuple(round(number, _DECIMALS) + 0.0 for number in numbers) if finite else ()


def _stated(slices: Sequence[SliceHeader], keyword: str) -> str:
    """The hash of an element that slices share; tools leave some elements empty in some files."""
    told = next((item.scan[keyword] for item in slices if item.scan[keyword]), "")
    # Short ids could be guessed from hashes of their own; nobody guesses the UID.
    return told and _hash(f"{slices[0].series} {told}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
