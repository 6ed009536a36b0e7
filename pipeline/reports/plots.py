"""The drawings of the report: curves, calibration and training, one panel each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..evaluation.calibration import BINS, ReliabilityBin
from ..evaluation.curves import GRID as CURVE_GRID
from ..evaluation.curves import Curve
from .run_tables import Epoch
from .svg import ACCENT, INK, MUTED, SECOND, drawing, inline_svg

# Inches; a page shows a wide panel alone or with one other, a compact one beside others.
_WIDE = (3.9, 3.5)
_COMPACT = (3.2, 2.95)
_TALL = (3.2, 3.2)


def roc_plot(curve: Curve, name: str, alt: str, *, compact: bool = False) -> Markup:
    """ROC curve with its band and the diagonal of chance."""
    with drawing():
        figure = Figure(figsize=_COMPACT if compact else _WIDE)
        axes = _unit_square(figure, "1 - specificity", "sensitivity")
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.text(0.63, 0.58, "chance", color=MUTED, fontsize=8.5, va="top")
        _curve(axes, curve)
        return inline_svg(figure, name, alt)


def precision_recall_plot(
    curve: Curve, share: float, name: str, alt: str, *, compact: bool = False
) -> Markup:
    """Precision-recall curve with its band; `share` of positive cases is the line of chance."""
    with drawing():
        figure = Figure(figsize=_COMPACT if compact else _WIDE)
        axes = _unit_square(figure, "recall (sensitivity)", "precision")
        axes.axhline(share, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        above = share < 0.9
        axes.text(
            0.01,
            share + (0.015 if above else -0.015),
            "chance",
            color=MUTED,
            fontsize=8.5,
            va="bottom" if above else "top",
        )
        _curve(axes, curve, stepped=True)
        return inline_svg(figure, name, alt)


def reliability_plot(bins: Sequence[ReliabilityBin], name: str, alt: str) -> Markup:
    """Accuracy against confidence with intervals, above the number of cases a bin."""
    with drawing():
        figure = Figure(figsize=(3.9, 4.2))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1.0))
        x, y = [item.confidence for item in bins], [item.accuracy for item in bins]
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
        upper.vlines(x, [b.low for b in bins], [b.high for b in bins], color=ACCENT, alpha=0.45)
        upper.plot(x, y, color=ACCENT, marker="o", markersize=4.5, linewidth=1.0)
        upper.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="accuracy")
        centres = [(item.index + 0.5) / BINS for item in bins]
        heights = [item.cases for item in bins]
        lower.bar(centres, heights, width=0.88 / BINS, color=ACCENT, alpha=0.75)
        lower.set(xlabel="confidence (probability of the predicted class)", ylabel="cases")
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        lower.grid(visible=False, axis="x")
        _place(figure, -0.14)
        return inline_svg(figure, name, alt)


def learning_plot(epochs: Sequence[Epoch], name: str, alt: str) -> Markup:
    """Losses and validation AUROC of one fold over its epochs, the best epoch marked."""
    with drawing():
        figure = Figure(figsize=_TALL)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.25, 1.0))
        _line(upper, epochs, [item.train_loss for item in epochs], MUTED)
        _line(upper, epochs, [item.validation_loss for item in epochs], ACCENT)
        _line(lower, epochs, [item.validation_auroc for item in epochs], SECOND)
        upper.set_ylabel("loss")
        upper.set_ylim(bottom=0)
        lower.set(xlabel="epoch", ylabel="AUROC", ylim=(-0.03, 1.03))
        lower.axhline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        lower.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        best = best_epoch(epochs)
        if best is not None:
            for axes in (upper, lower):
                axes.axvline(best, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        _place(figure, -0.17)
        return inline_svg(figure, name, alt)


def best_epoch(epochs: Sequence[Epoch]) -> int | None:
    """The epoch whose weights were kept: the last one marked as best so far."""
    marked = [item.epoch for item in epochs if item.best]
    return marked[-1] if marked else None


def _unit_square(figure: Figure, x: str, y: str) -> Axes:
    axes = figure.subplots()
    axes.set(xlim=(-0.015, 1.0), ylim=(0.0, 1.02), xlabel=x, ylabel=y)
    _place(figure, -0.135)
    return axes


def _place(figure: Figure, label: float) -> None:
    """Fixed margins in points: no text of a run is drawn, so nothing must be measured."""
    width, height = figure.get_size_inches() * 72
    figure.subplots_adjust(40 / width, 36 / height, 1 - 10 / width, 1 - 6 / height, hspace=0.09)
    for axes in figure.axes:
        axes.yaxis.set_label_coords(label, 0.5)


def _curve(axes: Axes, curve: Curve, *, stepped: bool = False) -> None:
    """Draws line and band; `stepped` where a value holds back to the point before it."""
    axes.fill_between(
        CURVE_GRID,
        curve.low,
        curve.high,
        color=ACCENT,
        alpha=0.16,
        linewidth=0,
        step="pre" if stepped else None,
    )
    style: Literal["steps-pre", "default"] = "steps-pre" if stepped else "default"
    axes.plot(curve.x, curve.y, color=ACCENT, clip_on=False, drawstyle=style)


def _line(axes: Axes, epochs: Sequence[Epoch], values: Sequence[float | None], colour: str) -> None:
    known = [(e.epoch, v) for e, v in zip(epochs, values, strict=True) if v is not None]
    marker = "o" if len(known) < 3 else ""
    axes.plot(
        [epoch for epoch, _ in known],
        [value for _, value in known],
        color=colour,
        marker=marker,
        markersize=3.5,
    )
