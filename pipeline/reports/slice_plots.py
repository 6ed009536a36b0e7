"""The drawings of slices: profiles along an axis over all cases, and the strip of one case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from ..evaluation.cases import FloatArray, IntArray
from .svg import ACCENT, INK, MUTED, SECOND, drawing, inline_svg

#: Steps of the colour on each side of the prior, as opacity from near it to certain.
STEPS = (0.25, 0.45, 0.65, 0.85, 1.0)

_POINTS = 72  # an inch
_WIDE = 4.3  # inches
_COMPACT = 3.2
_PANEL = 1.45
_HEADROOM = 1.06
_STRIP = 3.2
_ROW = 46  # points: bars and ribbon of one axis
_LOW_ROW = 34  # where there are several axes
_WIDEST = 0.06  # half a bar, as a share of the axis
_FOOT = 15  # points: the words under them
_MARK = 13  # points: the index above the highest bar


@dataclass(frozen=True, eq=False)
class Course:
    """A figure of each slice along an axis, each (S,), and the top of the scale of all axes."""

    mean: FloatArray
    low: FloatArray
    high: FloatArray
    top: float


@dataclass(frozen=True, eq=False)
class StripRow:
    """The slices of one case along one axis.

    Attributes:
        name: Of the axis.
        ends: What lies at its first and at its last slice.
        length: Slices that the volume has.
        indices: Shape (S,): those that were read.
        heights: Shape (S,), at least 0.
        lean: Shape (S,), in -1..1: colour, from against the prediction to for it.
        marked: Index of the slice to be named, if it is one of these.
    """

    name: str
    ends: tuple[str, str]
    length: int
    indices: IntArray
    heights: FloatArray
    lean: FloatArray
    marked: int | None


def profile_plot(
    at: FloatArray,
    ends: tuple[str, str],
    weight: Course | None,
    even: float,
    distance: Course,
    name: str,
    alt: str,
    *,
    compact: bool,
) -> Markup:
    """Weight of the slices along an axis, above how far their own answers are from the prior.

    Args:
        at: Shape (S,), in 0..1: relative positions of the slices, rising.
        ends: What lies at 0 and at 1.
        weight: In percent; None where all weights are equal, and nothing is drawn of them.
        even: The weight of each slice if all weighed the same, in percent.
        distance: Of each slice's probabilities from the prior, in 0..1.
        name: Unique within the page.
        alt: What the drawing shows, for those who cannot see it.
        compact: Whether it stands beside others.
    """
    panels = 1 if weight is None else 2
    width, height = _COMPACT if compact else _WIDE, _PANEL * panels + 0.35
    with drawing():
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0]
        if weight is not None:
            grid[0].axhline(even, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
            _course(grid[0], at, weight, ACCENT)
            grid[0].set_ylabel("weight, %")
        _course(grid[-1], at, distance, SECOND)
        grid[-1].set(ylabel="|p - prior|", xlim=(0, 1))
        grid[-1].set_xticks((0, 0.5, 1), (ends[0], "middle", ends[1]))
        wide, high = width * _POINTS, height * _POINTS
        figure.subplots_adjust(44 / wide, 22 / high, 1 - 20 / wide, 1 - 7 / high, hspace=0.14)
        for axes in grid:
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_label_coords(-33 / (wide - 64), 0.5)
        return inline_svg(figure, name, alt)


def _course(axes: Axes, at: FloatArray, course: Course, colour: str) -> None:
    axes.fill_between(at, course.low, course.high, color=colour, alpha=0.16, linewidth=0)
    marker = "o" if len(at) <= 40 else ""
    axes.plot(at, course.mean, color=colour, marker=marker, markersize=2.8, clip_on=False)
    axes.set_ylim(0, _HEADROOM * course.top)


def strip_plot(
    rows: Sequence[StripRow], line: float, name: str, alt: str, *, ribbon: bool
) -> Markup:
    """The slices of a case as coloured bars, one row an axis, on one scale.

    Args:
        rows: The axes.
        line: Height of the dashed line.
        name: Unique within the page.
        alt: What the drawing shows, for those who cannot see it.
        ribbon: Whether the colours are repeated under the bars, where low ones are to be seen too.
    """
    top = max(line, *(float(row.heights.max()) for row in rows))
    bars = _ROW if len(rows) == 1 else _LOW_ROW
    height = len(rows) * (_MARK + bars + _FOOT)
    with drawing():
        figure = Figure(figsize=(_STRIP, height / _POINTS))
        for number, row in enumerate(rows):
            bottom = _FOOT + (len(rows) - 1 - number) * (_MARK + bars + _FOOT)
            axes = figure.add_axes((0.012, bottom / height, 0.976, bars / height))
            _row(axes, row, line, top, ribbon=ribbon)
        return inline_svg(figure, name, alt)


def _row(axes: Axes, row: StripRow, line: float, top: float, *, ribbon: bool) -> None:
    low = -0.3 * top if ribbon else 0.0
    axes.set(xlim=(-0.5, row.length - 0.5), ylim=(low, top))
    axes.set_axis_off()
    gaps = np.diff(row.indices)
    half = max(0.43, min(0.43 * float(gaps.min(initial=row.length)), _WIDEST * row.length))
    for lean in np.unique(steps(row.lean)).tolist():
        chosen = steps(row.lean) == lean
        spans = [
            (max(-0.5, i - half), min(row.length - 0.5, i + half)) for i in row.indices[chosen]
        ]
        boxes = [(*span, 0.0, high) for span, high in zip(spans, row.heights[chosen], strict=True)]
        boxes += [(*span, low, 0.5 * low) for span in spans if ribbon]
        colour = ACCENT if lean > 0 else SECOND
        axes.add_patch(
            PathPatch(_boxes(boxes), facecolor=colour, alpha=STEPS[abs(lean) - 1], linewidth=0)
        )
    axes.axhline(line, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.axhline(0.0, color=MUTED, linewidth=0.8)
    _words(axes, row)


def _words(axes: Axes, row: StripRow) -> None:
    last = row.length - 1
    for x, side, text in (
        (0.0, "left", f"0 {row.ends[0]}"),
        (0.5, "center", f"{row.name} slices"),
        (1.0, "right", f"{row.ends[1]} {last}"),
    ):
        axes.text(x, -0.07, text, color=MUTED, fontsize=8.0, va="top", ha=side,
                  transform=axes.transAxes)  # fmt: skip
    if row.marked is None:
        return
    high = float(row.heights[row.indices == row.marked][0])
    share = (row.marked + 0.5) / row.length
    side = "left" if share < 0.1 else "right" if share > 0.9 else "center"
    x = -0.5 if side == "left" else last + 0.5 if side == "right" else row.marked
    axes.annotate(f"slice {row.marked}", (x, high), (0, 2), textcoords="offset points",
                  color=INK, fontsize=8.5, ha=side, va="bottom")  # fmt: skip


def steps(lean: FloatArray) -> IntArray:
    """Steps of colour, shape (S,): -5..-1 against and 1..5 for the prediction."""
    size = 1 + np.minimum(len(STEPS) - 1, np.floor(np.abs(lean) * len(STEPS)))
    result: IntArray = np.where(lean >= 0, size, -size).astype(np.int64)
    return result


def _boxes(boxes: Iterable[tuple[float, float, float, float]]) -> Path:
    """One path of many boxes (left, right, lower, upper): a colour needs one element only."""
    paths = [
        Path([(a, low), (b, low), (b, high), (a, high), (a, low)], closed=True)
        for a, b, low, high in boxes
    ]
    return Path.make_compound_path(*paths)
