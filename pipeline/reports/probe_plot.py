"""The curve of AUROC over depth, one line a probe, named where it ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.intervals import Estimate
from .svg import ACCENT, MUTED, SECOND, drawing, inline_svg

_SIZE = (4.7, 3.7)  # inches
_TOP = 1.02
_APART = 0.13  # of two names, as a share of the axis
_STYLES = ((ACCENT, "o", -0.09), (SECOND, "s", 0.09))


@dataclass(frozen=True)
class Line:
    """One probe: its name, and its AUROC at each stage and at all stages together."""

    name: str
    values: Sequence[Estimate]


def depth_plot(stages: Sequence[str], lines: Sequence[Line], name: str, alt: str) -> Markup:
    """AUROC with 95 % intervals over the stages; the last value, of all stages, stands apart.

    Args:
        stages: Names of the values in order, the last one for all stages together.
        lines: Two probes.
        name: Unique within the page.
        alt: What the drawing shows, for those who cannot see it.
    """
    with drawing():
        figure = Figure(figsize=_SIZE)
        axes = figure.subplots()
        places = [*range(1, len(stages)), len(stages) + 0.6]
        low = _lower_end(lines)
        axes.set(xlim=(0.6, places[-1] + 0.3), ylim=(low, _TOP), ylabel="AUROC", xlabel="stage")
        axes.set_xticks(places, stages)
        axes.grid(visible=False, axis="x")
        axes.axhline(0.5, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        # Between the last stage and all together no value can lie under the word.
        gap = (places[-1] + len(stages) - 1) / 2
        axes.text(gap, 0.505, "chance", color=MUTED, fontsize=8.5, va="bottom", ha="center")
        for line, (colour, marker, shift) in zip(lines, _STYLES, strict=True):
            _draw(axes, line, [place + shift for place in places], colour, marker)
        _names(axes, lines, places[-1] + 0.4, low)
        width, height = figure.get_size_inches() * 72
        figure.subplots_adjust(40 / width, 36 / height, 1 - 62 / width, 1 - 6 / height)
        axes.yaxis.set_label_coords(-0.125, 0.5)
        return inline_svg(figure, name, alt)


def _lower_end(lines: Sequence[Line]) -> float:
    """A tenth at or below everything drawn, and below the line of chance."""
    drawn = [v for line in lines for e in line.values for v in (e.low, e.estimate) if v is not None]
    return max(-0.02, math.floor(10 * min(0.45, *drawn, 0.45)) / 10)


def _draw(axes: Axes, line: Line, places: Sequence[float], colour: str, marker: str) -> None:
    points = [
        (x, e.estimate) for x, e in zip(places, line.values, strict=True) if e.estimate is not None
    ]
    for x, value in zip(places, line.values, strict=True):
        if value.low is not None and value.high is not None:
            axes.vlines(x, value.low, value.high, color=colour, alpha=0.5, linewidth=2.2)
    depths = [(x, y) for x, y in points if x != places[-1]]
    axes.plot(*_columns(depths), color=colour, linewidth=1.3)
    axes.plot(*_columns(points), marker, color=colour, markersize=5.0, clip_on=False)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _names(axes: Axes, lines: Sequence[Line], x: float, low: float) -> None:
    """The probes' names beside their last values, moved apart where they would touch."""
    gap = _APART * (_TOP - low)
    ends = [line.values[-1].estimate for line in lines]
    first, second = (0.5 if end is None else end for end in ends)
    upper = min(max(first, second), _TOP - gap / 2)
    lower = max(min(first, second, upper - gap), low + gap / 2)
    upper = max(upper, lower + gap)
    heights = (upper, lower) if first >= second else (lower, upper)
    for line, y, (colour, _, _) in zip(lines, heights, _STYLES, strict=True):
        words = line.name.replace(" ", "\n")
        axes.text(x, y, words, color=colour, fontsize=8.5, va="center", linespacing=1.05)
