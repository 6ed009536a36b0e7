"""The pictures of a search: its history, and the figure over each parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .svg import ACCENT, MUTED, SECOND, drawing, inline_svg

_HISTORY = (4.7, 3.2)  # inches
_SLICE = (4.0, 2.7)
_LETTERS = 30  # of all choices that fit side by side
_MANY = 6
_MARGIN = 0.06  # of the axis beyond the outermost values


@dataclass(frozen=True)
class Dot:
    """A trial that was trained: where it stands, and how it ended."""

    x: float
    y: float
    pruned: bool
    best: bool


def history_plot(dots: Sequence[Dot], leading: Sequence[float | None], name: str, alt: str, *,
                 label: str) -> Markup:  # fmt: skip
    """The figure of each trial in order, and the best one so far as a line.

    Args:
        dots: By number of the trial.
        leading: The best figure after each trial, from trial 0 on; None before the first.
        name: Unique within the page.
        alt: What the drawing shows, for those who cannot see it.
        label: Of the figure.
    """
    with drawing():
        figure = Figure(figsize=_HISTORY)
        axes = figure.subplots()
        known = [(number, value) for number, value in enumerate(leading) if value is not None]
        if known:
            axes.step(*_columns(known), where="post", color=ACCENT, linewidth=1.3, alpha=0.6)
        _scatter(axes, dots)
        axes.set(xlabel="trial", ylabel=label, xlim=(-0.6, max(len(leading), 2) - 0.4))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=False, axis="x")
        _fit(figure, _HISTORY)
        return inline_svg(figure, name, alt)


def slice_plot(
    dots: Sequence[Dot], name: str, alt: str, *, label: str, log: bool,
    ends: tuple[float, float], choices: Sequence[str] = (),
) -> Markup:  # fmt: skip
    """The figure of each trial over one parameter.

    Args:
        dots: Of a choice, `x` is its place among the choices.
        name: Unique within the page.
        alt: What the drawing shows, for those who cannot see it.
        label: Of the figure.
        log: Whether the parameter has a logarithmic scale.
        ends: Lowest and highest value of the parameter.
        choices: Names of the places, where it has choices.
    """
    with drawing():
        figure = Figure(figsize=_SLICE)
        axes = figure.subplots()
        low, high = ends
        if log:
            margin = (high / low) ** _MARGIN
            axes.set(xscale="log", xlim=(low / margin, high * margin))
            # Matplotlib's own labels are formulas, which a page does not set.
            axes.xaxis.set_major_locator(LogLocator(numticks=6))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            margin = (high - low) * _MARGIN
            axes.set_xlim(low - margin, high + margin)
        if choices:
            _name_places(axes, choices)
        _scatter(axes, dots)
        axes.set_ylabel(label)
        _fit(figure, _SLICE)
        return inline_svg(figure, name, alt)


def _scatter(axes: Axes, dots: Sequence[Dot]) -> None:
    groups = (
        ([dot for dot in dots if dot.pruned], "x", MUTED, 4.5),
        ([dot for dot in dots if not (dot.pruned or dot.best)], "o", ACCENT, 4.5),
        ([dot for dot in dots if dot.best], "D", SECOND, 6.0),
    )
    for group, marker, colour, size in groups:
        points = [(dot.x, dot.y) for dot in group]
        axes.plot(*_columns(points), marker, color=colour, markersize=size)


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def has_numbers(choices: Sequence[str]) -> bool:
    """Whether choices are drawn as numbers from 1, since names would run into each other."""
    return len(choices) > _MANY or sum(map(len, choices)) > _LETTERS


def _name_places(axes: Axes, choices: Sequence[str]) -> None:
    numbers = [str(place) for place in range(1, len(choices) + 1)]
    names = numbers if has_numbers(choices) else list(choices)
    axes.set_xticks(range(len(choices)), names)
    axes.set_xlim(-0.5, len(choices) - 0.5)
    axes.grid(visible=False, axis="x")


def _fit(figure: Figure, size: tuple[float, float]) -> None:
    """The same room for labels, in points, whatever the size."""
    width, height = size[0] * 72, size[1] * 72
    figure.subplots_adjust(48 / width, 34 / height, 1 - 10 / width, 1 - 8 / height)
