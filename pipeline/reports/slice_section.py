"""Which slices speak: what the page of a run of a 2D network says of its slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from ..evaluation.cases import FloatArray
from .drawings import Drawing
from .run_files import RunFiles
from .slice_plots import STEPS, Course, StripRow, profile_plot, strip_plot
from .slice_words import class_prior, opened, reading_words, seen_words, share_words
from .slices import Axis, SlicedAxis, SliceTable
from .wording import percent

_ENDS: dict[Axis, tuple[str, str]] = {
    "axial": ("bottom", "top"),
    "coronal": ("back", "front"),
    "sagittal": ("left", "right"),
}


@dataclass(frozen=True)
class SliceSection:
    """The section.

    Attributes:
        seen: One sentence that says what is seen.
        reading: How to read the drawings, one sentence or two each.
        drawings: The course over all cases, one an axis.
        equal: Whether every slice weighs the same, so that no weights are shown.
        scale: Steps of the strips' colour: name of the style variable, and opacity.
    """

    seen: str
    reading: tuple[str, ...]
    drawings: tuple[Drawing, ...]
    equal: bool
    scale: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class CaseStrip:
    """The slices of one case: a drawing, and its gist in words."""

    caption: str
    svg: Markup


def slice_section(run: RunFiles) -> SliceSection | None:
    """The section of a run; None where its network does not look at slices."""
    table = run.slices
    if table is None:
        return None
    equal = table.equal
    against = [("second", opacity) for opacity in reversed(STEPS)]
    return SliceSection(
        seen=seen_words(run, table),
        reading=reading_words(run, equal=equal),
        drawings=tuple(_profiles(run, table, equal=equal)),
        equal=equal,
        scale=(*against, *(("accent", opacity) for opacity in STEPS)),
    )


def case_strip(run: RunFiles, row: int, name: str) -> CaseStrip | None:
    """The slices of one case of `run.scored`; None where the network does not look at slices.

    Args:
        run: The run.
        row: Of the case.
        name: Unique within the page.
    """
    table = run.slices
    if table is None:
        return None
    equal, predicted = table.equal, int(run.scored.predicted[row])
    prior, said = float(class_prior(run)[predicted]), table.probabilities[row, :, predicted]
    heights = said if equal else table.weights[row]
    axis, index = table.place(int(heights.argmax()))
    label = run.plan.classes[predicted]
    share = percent(float(said[heights.argmax()]))
    caption = (
        f"{axis.name} slice {index} alone says “{label}” most clearly, with {share}"
        if equal
        else f"heaviest: {axis.name} slice {index} with {share_words(float(heights.max()))} of the "
        f"weight; alone it says “{label}” with {share}"
    )
    rows = [
        StripRow(
            item.name,
            _ENDS[item.name],
            item.length,
            item.indices,
            heights[item.columns],
            _lean(said[item.columns], prior),
            index if item is axis else None,
        )
        for item in table.axes
    ]
    line = prior if equal else 1.0 / len(heights)
    alt = f"Slices of case {run.case_ids[row]}; {caption}"
    return CaseStrip(opened(caption), strip_plot(rows, line, name, alt, ribbon=not equal))


def _lean(said: FloatArray, prior: float) -> FloatArray:
    """Probabilities as -1 (0), 0 (the prior) to 1 (certain), shape unchanged."""
    room = np.where(said >= prior, 1.0 - prior, prior)
    result: FloatArray = (said - prior) / np.maximum(room, 1e-9)
    return result


def _profiles(run: RunFiles, table: SliceTable, *, equal: bool) -> Iterator[Drawing]:
    """One drawing an axis, all on one scale."""
    weights = 100.0 * table.weights
    moved = np.abs(table.probabilities - class_prior(run)).sum(axis=2) / 2
    for axis in table.axes:
        parts = {} if equal else {"weight": _course(weights, axis)}
        far = _course(moved, axis)
        ends, alone = _ENDS[axis.name], len(table.axes) == 1
        told = "; ".join(
            f"largest mean {what} {course.mean.max():.3g} at slice "
            f"{axis.indices[course.mean.argmax()]}"
            for what, course in {**parts, "distance from the prior": far}.items()
        )
        svg = profile_plot(
            (axis.indices + 0.5) / axis.length,
            ends,
            parts.get("weight"),
            100.0 / table.weights.shape[1],
            far,
            f"slices-{axis.name}",
            f"{opened(axis.name)} slices from {ends[0]} to {ends[1]}: {told}",
            compact=not alone,
        )
        share = "" if equal or alone else f", {percent(_part(table, axis))} of the weight"
        yield Drawing(opened(axis.name), f"{_read(axis)}{share}", svg)


def _part(table: SliceTable, axis: SlicedAxis) -> float:
    """The mean weight of all slices of one axis together."""
    return float(table.weights[:, axis.columns].sum(axis=1).mean())


def _read(axis: SlicedAxis) -> str:
    count = len(axis.indices)
    return f"{'all ' if count == axis.length else f'{count} of '}{axis.length} slices"


def _course(values: FloatArray, axis: SlicedAxis) -> Course:
    """Mean and middle half over the cases of (N, S) values, for the slices of one axis."""
    low, high = np.percentile(values, (25, 75), axis=0)
    mean = values.mean(axis=0)
    top = max(float(high.max()), float(mean.max()))
    return Course(mean[axis.columns], low[axis.columns], high[axis.columns], top or 1.0)
