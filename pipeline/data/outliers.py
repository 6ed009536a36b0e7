"""Volumes that differ from the rest of their set in size, spacing, extent or kind of grey values.

No file shows this alone: it is judged over the accepted volumes of a run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .fingerprint import Extent
from .volume import Finding

#: With fewer volumes a median stands for nothing.
_FEWEST = 5
_SPACING_TIMES = 10.0
#: Matrices of one scanner are 256, 320, 512; the slices of one protocol differ by less as well.
_SHAPE_TIMES = 4.0
_FIELD_MM = 20.0
#: CT numbers: air is -1000 HU, and no value of MR or PET is as low. A set of which all are that
#: low, or none is, has one kind of grey values.
_CT_LOWEST = -500.0
#: Fat is -120 to -50 HU: what starts between the two may be CT without air, and is never judged.
#: MR and PET start at 0, or a little below it where they were resampled.
_OTHER_LOWEST = -30.0


def outliers(extents: Sequence[Extent]) -> list[tuple[Finding, ...]]:
    """What is odd about each volume beside the others; nothing where there are few.

    Args:
        extents: Of all volumes of a set.

    Returns:
        The findings of each, in the same order.
    """
    if len(extents) < _FEWEST:
        return [() for _ in extents]
    spacings = np.array([extent.spacing for extent in extents], dtype=np.float64)
    shapes = np.array([extent.shape for extent in extents], dtype=np.float64)
    found: list[list[Finding]] = [[] for _ in extents]
    for place, text in _beyond(spacings, _SPACING_TIMES, "a voxel size of", " mm"):
        found[place].append(Finding("W_SPACING_OUTLIER", text))
    for place, text in _beyond(shapes, _SHAPE_TIMES, "", " voxels"):
        found[place].append(Finding("W_SHAPE_OUTLIER", text))
    for place, text in _narrow((spacings * shapes).min(axis=1)):
        found[place].append(Finding("W_FIELD_OF_VIEW", text))
    for place, text in _other_modality(np.array([extent.lowest for extent in extents])):
        found[place].append(Finding("W_MODALITY", text))
    return [tuple(findings) for findings in found]


def _beyond(
    numbers: NDArray[np.float64], times: float, what: str, unit: str
) -> list[tuple[int, str]]:
    """Rows of (N, 3) with a number that is `times` the median of its axis, or that part of it."""
    medians = np.median(numbers, axis=0)
    ratios = np.maximum(numbers / medians, medians / numbers)
    found = []
    for place in np.flatnonzero(ratios.max(axis=1) > times).tolist():
        axis = int(ratios[place].argmax())
        text = f"it has {what} {numbers[place, axis]:g}{unit} along {'xyz'[axis]}"
        found.append((place, f"{text}; the median is {medians[axis]:g}".replace("  ", " ")))
    return found


def _narrow(fields: NDArray[np.float64]) -> list[tuple[int, str]]:
    """Volumes that show less than 20 mm along an axis, unless the set is one of small patches."""
    median = float(np.median(fields))
    if median < _FIELD_MM:
        return []
    return [
        (place, f"it shows {fields[place]:.3g} mm only; the median is {median:.3g} mm")
        for place in np.flatnonzero(fields < _FIELD_MM).tolist()
    ]


def _other_modality(lowest: NDArray[np.float64]) -> list[tuple[int, str]]:
    """The volumes of the rarer kind, of those with the values of air in CT and those above fat."""
    ct, other = lowest < _CT_LOWEST, lowest >= _OTHER_LOWEST
    if not (ct.any() and other.any()):
        return []
    if ct.sum() <= other.sum():
        rare, kind = ct, "has values of CT, from"
        rest = f"{int(other.sum())} others have not"
    else:
        rare, kind = other, "has no values of CT, as they start at"
        rest = f"{int(ct.sum())} others have them (or it is CT of other units, or without air)"
    return [
        (place, f"it {kind} {lowest[place]:g}; {rest}") for place in np.flatnonzero(rare).tolist()
    ]
