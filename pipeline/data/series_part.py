"""What is kept of a DICOM series beside its voxels, and how two stacks of one series lie.

Half a series reads like a whole one. That another case has the other half shows when the cases
are held against each other (`pipeline.data.series_checks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: `parts`: neither is whole without the other; `again`: one place twice, whether the same images or
#: e.g. a second time; `apart`: slabs with much between them; `another`: of other echoes, sizes,
#: directions or lines of slices.
Lie = Literal["parts", "again", "apart", "another"]

#: Settings nearer than this part of their size are the same: headers round, scanners jitter.
_JITTER = 1e-3
#: Directions, as cosines, and spacings, in mm, that differ by less are the same.
_COSINE = 0.01
_SPACING_MM = 1e-3
#: Lines of slices that lie farther aside are others, in mm.
_ASIDE_MM = 0.5
#: The tangent of the 0.1 degrees that a stack may lean, and a little more.
_LEAN = 0.002
#: Slices nearer than this are at one height, in mm; and those nearer than this part of their
#: distance are in one place.
_SAME_MM = 1e-3
_DECIMALS = 3
_SAME_PLACE = 0.1
#: Stacks with more distances than these between them are slabs of their own.
_APART = 3.5
#: A stack with fewer slices of another is a part of it; with more, another time of which some are
#: lost.
_MOST = 0.75


@dataclass(frozen=True)
class SeriesPart:
    """Slices that belong to one stack; what could name somebody is hashed.

    Attributes:
        series: Hash of the Series Instance UID.
        owner: Hashes of what says whose it is, by keyword; "" where that is not stated.
        kind: Hashes of what slices of one stack share, by keyword; "" where that is not stated.
        settings: Numbers that slices of one stack share, by keyword; None where one is not stated.
        size: Columns and rows.
        directions: Of a row (3) and of a column (3); empty where they are not stated.
        spacing: Between columns and between rows, in mm.
        corner: Of the first slice's first voxel along the row and along the column, in mm.
        heights: Of the slices along their normal, in mm, ascending.
        numbers: Instance number of each of them; -1 where it is not stated.
        pictures: Hash of the stored values of each of them that shows something; none where they
            were not decoded. Has no default: what was kept without it is read again.
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
    pictures: tuple[str, ...]

    def is_of_one_owner(self, other: SeriesPart) -> bool:
        """Whether nothing says that they are of several patients or studies."""
        return _agree(self.owner, other.owner)

    def is_of_one_stack(self, other: SeriesPart) -> bool:
        """Whether slices of both may belong to one volume, wherever along its normal they lie."""
        return (
            self.size == other.size
            and _all_near(self.corner, other.corner, self._aside(other))
            and _all_near(self.spacing, other.spacing, _SPACING_MM)
            and _all_near(self.directions, other.directions, _COSINE)
            and _agree(self.kind, other.kind)
            and all(_near(number, other.settings.get(key)) for key, number in self.settings.items())
        )

    def goes_on_in(self, other: SeriesPart) -> bool:
        """Whether the instance numbers of both together rise, or fall, with the heights.

        So do those of one series that was cut. Scans that merely pass for one begin at one each.
        """
        if not (self._numbered and other._numbered):
            return False
        (first, height), (other_first, other_height) = self._first, other._first
        if first == other_first and height != other_height:
            return False
        both = sorted({*self._numbered, *other._numbered})
        steps = {np.sign(after[1] - before[1]) for before, after in pairwise(both)}
        return steps in ({1}, {-1})

    def lies(self, other: SeriesPart) -> Lie:
        """How it lies against another stack of the series."""
        if not (self.heights and other.heights and self.is_of_one_stack(other)):
            return "another"
        if self.heights == other.heights:
            return "again"
        mine, theirs = self.lacking(other), other.lacking(self)
        counts = len(self._places), len(other._places)
        if (mine, theirs) == counts:
            ends = (self.heights[0] - other.heights[-1], other.heights[0] - self.heights[-1])
            return "apart" if max(ends) > _APART * min(self._step, other._step) else "parts"
        if mine and theirs:
            return "parts"
        return "parts" if min(counts) < _MOST * max(counts) else "again"

    def lacking(self, other: SeriesPart) -> int:
        """At how many heights it has slices and the other has none."""
        places, others = self._places, other._places
        after = np.searchsorted(others, places).clip(0, len(others) - 1)
        off = np.minimum(np.abs(others[after] - places), np.abs(others[after - 1] - places))
        return int((off > _SAME_PLACE * min(self._step, other._step)).sum())

    def with_slices(self, others: Sequence[SeriesPart]) -> SeriesPart:
        """The stack that slices of others make with its own."""
        stacks = (self, *others)
        pairs = sorted(pair for s in stacks for pair in zip(s.heights, s.numbers, strict=True))
        heights, numbers = zip(*pairs, strict=True)
        pictures = tuple(picture for stack in stacks for picture in stack.pictures)
        return replace(self, heights=heights, numbers=numbers, pictures=pictures)

    def _aside(self, other: SeriesPart) -> float:
        """How far corners of one stack may lie beside each other: stacks may lean a little."""
        if not (self.heights and other.heights):
            return _ASIDE_MM
        return _ASIDE_MM + _LEAN * abs(self.heights[0] - other.heights[0])

    @cached_property
    def _places(self) -> NDArray[np.float64]:
        """Different heights."""
        heights = np.asarray(self.heights)
        return heights[np.diff(heights, prepend=-np.inf) > _SAME_MM]

    @cached_property
    def _step(self) -> float:
        """Between slices, in mm; without end where there is one slice."""
        steps = np.diff(self._places)
        return float(np.median(steps)) if len(steps) else np.inf

    @cached_property
    def _numbered(self) -> list[tuple[float, int]]:
        pairs = zip(self.heights, self.numbers, strict=True)
        # Two exports of one image may round its height in two ways.
        return [(round(height, _DECIMALS), number) for height, number in pairs if number >= 0]

    @cached_property
    def _first(self) -> tuple[int, float]:
        """The lowest number, and the height of its slice."""
        return min((number, height) for height, number in self._numbered)


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether all is equal that both state: tools leave elements empty in some files."""
    told = ((text, other.get(key)) for key, text in one.items())
    return all(not text or not stated or text == stated for text, stated in told)


def _near(one: float | None, other: float | None) -> bool:
    return one is None or other is None or abs(one - other) <= _JITTER * max(abs(one), abs(other))


def _all_near(one: Sequence[float], other: Sequence[float], most: float) -> bool:
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(abs(a - b) <= most for a, b in pairs)
