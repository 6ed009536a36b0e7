"""What is kept of a DICOM series beside its voxels, and how two stacks of one series lie.

Half a series reads like a whole one. That another case has the other half shows when the cases
are held against each other (`pipeline.data.series_checks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: `parts`: neither is whole without the other; `again`: one place twice, whether the same images or
#: e.g. a second time; `apart`: slabs with much between them; `another`: of other echoes, sizes,
#: directions or lines of slices.
Lie = Literal["parts", "again", "apart", "another"]

#: Settings nearer than this part of their size are the same: headers round, scanners jitter.
_JITTER = 1e-3
#: Directions nearer than this are one, in cosines, as headers with two digits state them.
_COSINE = 0.01
#: Slices nearer than this part of their distance lie in one place.
_SAME_PLACE = 0.25
#: Stacks with as many distances between them, or more, are slabs of their own.
_APART = 3.5
#: A stack with fewer slices of another is a part of it; with more, another time of which some are
#: lost.
_MOST = 0.75


@dataclass(frozen=True)
class SeriesPart:
    """Slices that belong to one stack, in hashes that tell nobody's name.

    Attributes:
        series: Of the Series Instance UID.
        owner: Of what says whose it is, by keyword; "" where that is not stated.
        kind: Of what slices of one stack share, by keyword; "" where that is not stated.
        settings: Numbers that slices of one stack share, by keyword; None where one is not stated.
        size: Columns and rows.
        directions: Of a row (3) and of a column (3); empty where they are not stated.
        spacing: Between columns and between rows, in mm.
        corner: Of the first slice's first voxel along the row and along the column, in mm.
        heights: Of the slices along their normal, in mm, ascending.
        numbers: Instance numbers; empty where one is not stated.
    """

    series: str
    owner: Mapping[str, str]
    kind: Mapping[str, str]
    settings: Mapping[str, float | None]
    size: tuple[int, int]
    directions: tuple[float, ...]
    spacing: tuple[float, ...]
    corner: tuple[float, ...]
    heights: tuple[float, ...]
    numbers: tuple[int, ...]

    def is_of_one_owner(self, other: SeriesPart) -> bool:
        """Whether nothing says that they are of several patients or studies."""
        return _agree(self.owner, other.owner)

    def shares_numbers(self, other: SeriesPart) -> bool:
        """Whether an image of each has one instance number, or that is not known.

        Images of one series are numbered through. Scans that merely pass for one begin at one each.
        """
        return not (self._numbers and other._numbers and self._numbers.isdisjoint(other._numbers))

    def is_of_one_stack(self, other: SeriesPart) -> bool:
        """Whether slices of both may belong to one volume, wherever along its normal they lie."""
        return (
            self.size == other.size
            and _agree(self.kind, other.kind)
            and all(_near(number, other.settings[key]) for key, number in self.settings.items())
            and _all_near(self.directions, other.directions, _COSINE)
            and _all_near(self.spacing, other.spacing, _JITTER)
            and _all_near(self.corner, other.corner, min((*self.spacing, 1.0)) / 2)
        )

    def lies(self, other: SeriesPart) -> Lie:
        """How it lies against another stack of the series."""
        if not (self.heights and other.heights and self.is_of_one_stack(other)):
            return "another"
        step = min(self._step, other._step)
        met = _met(self.heights, other.heights, step), _met(other.heights, self.heights, step)
        counts = len(self.heights), len(other.heights)
        if not any(met):
            between = max(self.heights[0] - other.heights[-1], other.heights[0] - self.heights[-1])
            return "apart" if between > _APART * step else "parts"
        if counts[0] > met[0] and counts[1] > met[1]:
            return "parts"
        return "parts" if min(counts) < _MOST * max(counts) else "again"

    @cached_property
    def _numbers(self) -> frozenset[int]:
        return frozenset(self.numbers)

    @cached_property
    def _step(self) -> float:
        """Between slices, in mm; without end where there is one slice."""
        steps = np.diff(self.heights)
        return float(np.median(steps)) if len(steps) else np.inf


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether all is equal that both state: tools leave elements empty in some files."""
    return all(not text or not other[key] or text == other[key] for key, text in one.items())


def _near(one: float | None, other: float | None) -> bool:
    return one is None or other is None or abs(one - other) <= _JITTER * max(abs(one), abs(other))


def _all_near(one: tuple[float, ...], other: tuple[float, ...], most: float) -> bool:
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(abs(a - b) <= most for a, b in pairs)


def _met(heights: tuple[float, ...], others: tuple[float, ...], step: float) -> int:
    """How many of the heights are among the others."""
    places: NDArray[np.float64] = np.asarray(others)
    after = np.searchsorted(places, heights).clip(0, len(places) - 1)
    before = (after - 1).clip(0)
    off = np.minimum(np.abs(places[after] - heights), np.abs(places[before] - heights))
    return int((off <= _SAME_PLACE * step).sum())
