"""Of which DICOM series a volume is, and of which part of it: in hashes that tell nobody's name.

Half a series reads like a whole one. That another case has the other half shows when the cases
are held against each other (`pipeline.data.series_checks`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from .dicom_header import SliceHeader, Stack

#: Beside the UID, for some tools give all scans one.
_SCAN = ("PatientID", "StudyInstanceUID")
#: What stacks of one series may differ in, as slices of one volume may not: hashes, then numbers.
_KIND = ("Modality", "SeriesNumber", "TemporalPositionIdentifier", "TemporalPositionIndex")
_SETTINGS = ("EchoTime", "DiffusionBValue")
_DIGITS = 16


def series_mark(stack: Stack) -> str:
    """Three hashes, `scan-kind-places`, or nothing where a series has no UID.

    Volumes of one scan are of one series. Those of one kind, too, belong to one stack: they have no
    other echo, time, size or direction. Where they lie in other places, none of them is whole.

    Args:
        stack: All slices of the volume.
    """
    if not stack.slices[0].series:
        return ""
    places = _hash([stack.shape, (np.round(stack.affine, 2) + 0.0).tolist()])
    return f"{scan_and_kind(stack.slices)}-{places}"


def scan_and_kind(slices: Sequence[SliceHeader]) -> str:
    """The first two hashes of the mark.

    Args:
        slices: Of one stack of a series that has a UID.
    """
    first = slices[0]
    scan = _hash([first.series, *(_stated(slices, keyword) for keyword in _SCAN)])
    directions = np.abs(first.orientation)
    plane = [int(part.argmax()) for part in np.split(directions, 2)] if len(directions) == 6 else []
    stated = [_stated(slices, keyword) for keyword in _KIND]
    settings = [first.settings[keyword] for keyword in _SETTINGS]
    # Headers round, and scanners jitter.
    rounded = [None if value is None else f"{value:.3g}" for value in settings]
    return f"{scan}-{_hash([first.size, plane, stated, rounded])}"


def _stated(slices: Sequence[SliceHeader], keyword: str) -> str:
    """The hash of an element that slices share; tools leave some elements empty in some files."""
    return next((item.scan[keyword] for item in slices if item.scan[keyword]), "")


def _hash(parts: Sequence[object]) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:_DIGITS]
