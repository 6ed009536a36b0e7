"""The page of `volclass probe`: which depth of a network carries the signal."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from ..evaluation.intervals import Estimate
from ..evaluation.probe_results import ProbeEvaluation, StageResult
from ..evaluation.probes import KINDS, LOGISTIC
from .page import template_environment
from .probe_plot import Line, depth_plot
from .probe_words import (
    PROBE_NAMES,
    basis,
    caution,
    limits,
    protocol,
    second_opinion,
    stage_title,
    verdict,
)
from .wording import MISSING, interval, number

_SHORT = 12  # digits of a checksum


@dataclass(frozen=True)
class StageRow:
    """One stage and one probe, as text; `bar` as shares of the scale 0..1."""

    name: str
    amount: str
    auroc: tuple[str, str]
    bar: tuple[float, float, float] | None
    difference: tuple[str, str]
    judged: str
    accuracy: tuple[str, str]
    balanced_accuracy: tuple[str, str]


@dataclass(frozen=True)
class ChosenRow:
    """Hyper-parameters of one stage and probe, one a fold."""

    name: str
    values: tuple[str, ...]


def render_probe_page(found: ProbeEvaluation) -> str:
    """The page as HTML: one file, no script, nothing from outside; names are escaped.

    Args:
        found: The figures.
    """
    told = verdict(found)
    best = told.best.probes[LOGISTIC].auroc if told.best else None
    return template_environment().get_template("probe.html").render(
        found=found,
        verdict=told,
        auroc=best,
        best=stage_title(told.best) if told.best else "No stage",
        second_opinion=second_opinion(found),
        caution=caution(found),
        basis=basis(found),
        curve=depth_drawing(found),
        tables=[(PROBE_NAMES[kind], stage_rows(found, kind)) for kind in KINDS],
        limits=limits(found),
        protocol=protocol(found),
        chosen=[(PROBE_NAMES[kind], chosen_rows(found, kind)) for kind in KINDS],
        channels=[(stage_title(item), item.channels, item.features) for item in found.stages],
        origin=origin_rows(found),
    )  # fmt: skip


def depth_drawing(found: ProbeEvaluation) -> Markup:
    """AUROC over depth, and the same in words."""
    lines = [
        Line(PROBE_NAMES[kind], [item.probes[kind].auroc for item in found.stages])
        for kind in KINDS
    ]
    told = "; ".join(
        f"{stage_title(item)}: "
        + ", ".join(f"{PROBE_NAMES[k]} {number(item.probes[k].auroc.estimate)}" for k in KINDS)
        for item in found.stages
    )
    names = [item.name for item in found.stages]
    return depth_plot(names, lines, "depth", f"AUROC over depth; chance is 0.5. {told}")


def stage_rows(found: ProbeEvaluation, kind: str) -> list[StageRow]:
    """The figures of one probe, one row a stage."""
    return [_stage_row(item, kind) for item in found.stages]


def _stage_row(item: StageResult, kind: str) -> StageRow:
    figures = item.probes[kind]
    auroc, bar = figures.auroc, None
    if auroc.estimate is not None and auroc.low is not None and auroc.high is not None:
        bar = (min(auroc.low, 1.0), min(auroc.estimate, 1.0), min(auroc.high, 1.0))
    return StageRow(
        name=stage_title(item),
        amount=f"{item.features} features",
        auroc=_pair(auroc),
        bar=bar,
        difference=_signed(figures.difference),
        judged=_judged(figures.difference),
        accuracy=_pair(figures.values["accuracy"]),
        balanced_accuracy=_pair(figures.values["balanced_accuracy"]),
    )


def _pair(value: Estimate) -> tuple[str, str]:
    return number(value.estimate), interval(value)


def _signed(value: Estimate | None) -> tuple[str, str]:
    if value is None or value.estimate is None:
        return MISSING, MISSING if value else ""
    ends = (value.low, value.high)
    span = " to ".join(f"{end:+.3f}" for end in ends if end is not None)
    return f"{value.estimate:+.3f}", span or "no interval"


def _judged(value: Estimate | None) -> str:
    if value is None:
        return "is the last stage"
    if value.low is None or value.high is None:
        return "cannot be compared"
    if value.low > 0:
        return "better"
    return "worse" if value.high < 0 else "not told apart"


def chosen_rows(found: ProbeEvaluation, kind: str) -> list[ChosenRow]:
    """C or k of each stage and fold; a star where the default was taken."""
    rows = []
    for item in found.stages:
        figures = item.probes[kind]
        pairs = zip(figures.chosen, figures.inner_folds, strict=True)
        values = tuple(f"{value:g}{'' if inner else '*'}" for value, inner in pairs)
        rows.append(ChosenRow(stage_title(item), values))
    return rows


def origin_rows(found: ProbeEvaluation) -> list[tuple[str, str]]:
    """Checksums by which the features can be recognised, shortened."""
    origin = found.origin
    weights = [(f"weights, {name}", value) for name, value in sorted(origin.weights.items())]
    rows = [
        *weights,
        ("preprocessing", origin.preprocessing),
        ("cases", origin.cases),
        ("folds", origin.folds or MISSING),
    ]
    return [*((name, value[:_SHORT]) for name, value in rows), ("seed", str(origin.seed))]
