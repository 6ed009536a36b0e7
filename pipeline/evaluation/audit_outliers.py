"""Volumes unlike the others: in spacing, size, field of view, grey values and orientation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .audit_record import AuditedVolume, Outlier
from .cases import FloatArray

#: Farther from the median than so many standard deviations, as the median absolute deviation
#: estimates them. Iglewicz and Hoaglin 1993 take 3.5; sets of several scanners have long tails.
_DEVIATIONS = 5.0
_MAD = 1.4826
#: Fewer volumes have no usual value.
_LEAST = 5
#: Where more volumes than this share stand out there are several kinds: the tables show them.
_MIXTURE = 0.25
#: An orientation is usual where this share of the volumes has it.
_MAJORITY = 0.6


@dataclass(frozen=True, eq=False)
class _Measure:
    """A positive quantity of N volumes.

    Attributes:
        code: Of its outliers.
        name: In words.
        values: Shape (N,).
        unit: As it stands behind a value.
        factor: Values within this factor of the median are never outliers.
    """

    code: str
    name: str
    values: FloatArray
    unit: str = ""
    factor: float = 2.0


def find_outliers(
    volumes: Sequence[AuditedVolume], found: Sequence[Sequence[tuple[str, str]]]
) -> tuple[Outlier, ...]:
    """All outliers, in the order of the volumes.

    Quantities are compared on a logarithmic scale, for spacings and ranges differ by factors. A
    volume's axes are put in order first: scans along different directions are no outliers.

    Args:
        volumes: N of them.
        found: What fixed rules say of each, as codes and texts; it is not said twice.
    """
    told = [(place, code, text) for place, own in enumerate(found) for code, text in own]
    known = {(place, code) for place, code, _ in told}
    if len(volumes) >= _LEAST:
        kinds = [*map(_unlike, _measures(volumes)), _levels(volumes)]
        more = [item for kind in kinds for item in _few(kind, len(volumes))]
        more += _orientations(volumes)
        told += [item for item in more if item[:2] not in known]
    return tuple(
        Outlier(case_id=volumes[place].case_id, code=code, text=text)
        for place, code, text in sorted(told, key=lambda item: item[:2])
    )


_Found = tuple[int, str, str]


def _measures(volumes: Sequence[AuditedVolume]) -> Iterator[_Measure]:
    spacing = np.sort([item.spacing for item in volumes], axis=1)
    shape = np.sort([item.shape for item in volumes], axis=1).astype(np.float64)
    view = np.sort([item.field_of_view for item in volumes], axis=1)
    ranges = np.array([item.highest - item.lowest for item in volumes])
    for column, name in ((0, "finest"), (2, "coarsest")):
        yield _Measure("W_SPACING_OUTLIER", f"{name} spacing", spacing[:, column], " mm")
    for column, name in ((0, "shortest"), (2, "longest")):
        yield _Measure("W_SHAPE_OUTLIER", f"{name} axis", shape[:, column], " voxels")
    for column, name in ((0, "smallest"), (2, "largest")):
        yield _Measure("W_FIELD_OF_VIEW", f"{name} field of view", view[:, column], " mm")
    yield _Measure("W_INTENSITY_OUTLIER", "range of grey values", ranges, factor=4.0)


def _few(found: Iterator[_Found], volumes: int) -> list[_Found]:
    listed = list(found)
    return listed if len(listed) <= max(1.0, _MIXTURE * volumes) else []


def _unlike(measure: _Measure) -> Iterator[_Found]:
    logs = np.log(measure.values)
    usual = float(np.median(logs))
    spread = _MAD * float(np.median(np.abs(logs - usual)))
    allowed = max(float(np.log(measure.factor)), _DEVIATIONS * spread)
    median = f"{_short(float(np.exp(usual)))}{measure.unit}"
    for place, value in enumerate(measure.values.tolist()):
        if abs(float(logs[place]) - usual) > allowed:
            text = f"{measure.name} {_short(value)}{measure.unit}; the median is {median}"
            yield place, measure.code, text


def _levels(volumes: Sequence[AuditedVolume]) -> Iterator[_Found]:
    """Lowest grey values of another scale: that of CT beside MR, for instance."""
    lowest = np.array([item.lowest for item in volumes])
    usual = float(np.median(lowest))
    spread = _MAD * float(np.median(np.abs(lowest - usual)))
    width = float(np.median([item.highest - item.lowest for item in volumes]))
    for place, value in enumerate(lowest.tolist()):
        if abs(value - usual) > max(0.5 * width, _DEVIATIONS * spread):
            text = f"lowest grey value {_short(value)}; the median is {_short(usual)}"
            yield place, "W_INTENSITY_OUTLIER", text


def _orientations(volumes: Sequence[AuditedVolume]) -> Iterator[_Found]:
    counts = Counter(item.orientation for item in volumes)
    usual, count = counts.most_common(1)[0]
    if count < _MAJORITY * len(volumes):
        return
    for place, item in enumerate(volumes):
        if item.orientation != usual:
            text = f"stored as {item.orientation}; {count} of {len(volumes)} are {usual}"
            yield place, "W_ORIENTATION_OTHER", text


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
