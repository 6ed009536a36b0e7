"""The forest plot: one line a competitor, its figure and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.intervals import Estimate
from .svg import ACCENT, MUTED, SECOND, drawing, inline_svg

Look = Literal["volume", "slices", "other"]

_WIDTH = 4.7  # inches
_ROW, _BELOW, _ABOVE = 24.0, 38.0, 8.0  # points
_NAMES = 138.0  # points left for names
_LONGEST = 21  # letters of a name that fit there
_LOOKS: dict[Look, tuple[str, str]] = {
    "volume": (ACCENT, "o"),
    "slices": (SECOND, "s"),
    "other": (MUTED, "D"),
}


@dataclass(frozen=True)
class Line:
    """One competitor: its name, its figure, and how it is drawn."""

    name: str
    value: Estimate
    look: Look


def forest_plot(
    lines: Sequence[Line], name: str, alt: str, *, label: str, reference: float, bounded: bool
) -> Markup:
    """Figures with their 95 % intervals, the first line on top.

    Args:
        lines: One a competitor.
        name: Unique within the page.
        alt: What the drawing shows, for those who cannot see it.
        label: Of the axis.
        reference: Where a dashed line stands.
        bounded: Whether the figures end at 1.
    """
    with drawing():
        height = _ROW * len(lines) + _BELOW + _ABOVE
        figure = Figure(figsize=(_WIDTH, height / 72))
        axes = figure.subplots()
        low, high = _ends(lines, reference)
        axes.set(
            xlim=(low, min(high, 1.02) if bounded else high),
            ylim=(len(lines) - 0.5, -0.5),
            xlabel=label,
        )
        names = [f"{place + 1}  {_shortened(line.name)}" for place, line in enumerate(lines)]
        axes.set_yticks(range(len(lines)), names)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.locator_params(axis="x", nbins=6)  # more would run into each other
        axes.axvline(reference, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        for place, line in enumerate(lines):
            _draw(axes, place, line)
        width = _WIDTH * 72
        figure.subplots_adjust(_NAMES / width, _BELOW / height, 1 - 10 / width, 1 - _ABOVE / height)
        return inline_svg(figure, name, alt)


def _ends(lines: Sequence[Line], reference: float) -> tuple[float, float]:
    """Twentieths around everything drawn, with room beside the reference."""
    drawn = [
        value
        for line in lines
        for value in (line.value.low, line.value.estimate, line.value.high)
        if value is not None
    ]
    low, high = min(reference - 0.03, *drawn, 1.0), max(reference + 0.03, *drawn, -1.0)
    return math.floor(20 * low) / 20, math.ceil(20 * high) / 20


def _draw(axes: Axes, place: int, line: Line) -> None:
    colour, marker = _LOOKS[line.look]
    value = line.value
    if value.low is not None and value.high is not None:
        axes.hlines(place, value.low, value.high, color=colour, alpha=0.5, linewidth=2.4)
    if value.estimate is not None:
        axes.plot([value.estimate], [place], marker, color=colour, markersize=5.5, clip_on=False)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
