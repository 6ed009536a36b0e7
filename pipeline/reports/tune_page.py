"""The page of `volclass tune`: what was tried, what was best, and what its figure is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from pydantic import JsonValue

from ..tune_config import Dimension, as_text
from ..tune_record import Subject, Trial, best_trial
from .page import template_environment
from .redaction import hide_paths
from .tune_plot import Dot, has_numbers, history_plot, slice_plot
from .tune_words import (
    basis,
    counts,
    figure_name,
    headline,
    limits,
    protocol,
    range_text,
    shown,
    shown_parameters,
    value_text,
)
from .wording import MISSING


@dataclass(frozen=True)
class TrialRow:
    """One trial, as text."""

    number: int
    figure: str
    state: str
    reason: str
    parameters: tuple[str, ...]
    epochs: str
    seconds: str
    best: bool


@dataclass(frozen=True)
class Slice:
    """The figure over one parameter."""

    title: str
    detail: str
    svg: Markup


def render_tune_page(subject: Subject, trials: Sequence[Trial], optuna: str) -> str:
    """The page as HTML: one file, no script, nothing from outside; names are escaped.

    Args:
        subject: What is searched.
        trials: All so far; some may be running.
        optuna: Version of the library that chose the parameters.
    """
    best = best_trial(subject, trials)
    return template_environment().get_template("tune.html").render(
        subject=subject,
        best=best,
        figure=shown(best.value if best else None),
        figure_name=figure_name(subject),
        headline=headline(subject, trials),
        basis=basis(subject),
        counts=counts(trials),
        trials=len(trials),
        history=history(subject, trials),
        slices=slices(subject, trials),
        settings=settings(subject, best),
        rows=[_row(subject, trial, best) for trial in trials],
        limits=limits(subject, trials),
        protocol=protocol(subject, optuna),
    )  # fmt: skip


def history(subject: Subject, trials: Sequence[Trial]) -> Markup:
    """The figure of each trial in order, and the same in words."""
    leading: list[float | None] = []
    for count in range(1, len(trials) + 1):
        leader = best_trial(subject, trials[:count])
        leading.append(leader.value if leader else None)
    last = leading[-1] if leading else None
    told = f"{figure_name(subject)} of each trial; the best is {shown(last)}"
    label = figure_name(subject)
    return history_plot(_dots(subject, trials, None), leading, "history", told, label=label)


def slices(subject: Subject, trials: Sequence[Trial]) -> list[Slice]:
    """A picture for each parameter."""
    found = []
    for place, (key, item) in enumerate(subject.space.items()):
        dots = _dots(subject, trials, key)
        label = figure_name(subject)
        name, alt = f"slice{place}", f"{label} over {key}, {len(dots)} trials"
        if item.choices is not None:
            choices = [value_text(value) for value in item.choices]
            ends = (0.0, float(len(choices) - 1))
            svg = slice_plot(dots, name, alt, label=label, log=False, ends=ends, choices=choices)
        else:
            ends = (float(item.low or 0), float(item.high or 0))
            svg = slice_plot(dots, name, alt, label=label, log=item.log, ends=ends)
        found.append(Slice(key, _detail(item), svg))
    return found


def _detail(item: Dimension) -> str:
    """The values of a parameter; choices with the numbers that stand for them, where they do."""
    names = [value_text(value) for value in item.choices or ()]
    if not has_numbers(names):
        return range_text(item)
    return ", ".join(f"{place}: {name}" for place, name in enumerate(names, start=1))


def _dots(subject: Subject, trials: Sequence[Trial], key: str | None) -> list[Dot]:
    """Trials that have a figure; of a pruned one, what it had reached."""
    best = best_trial(subject, trials)
    dots = []
    for trial in trials:
        pruned = trial.state == "pruned"
        y = subject.reached(trial) if pruned else trial.value
        if y is not None:
            x = float(trial.number) if key is None else _place(subject, trial, key)
            leads = best is not None and trial.number == best.number
            dots.append(Dot(x, y, pruned, leads))
    return dots


def _place(subject: Subject, trial: Trial, key: str) -> float:
    value, choices = trial.parameters[key], subject.space[key].choices
    if choices is None:
        assert isinstance(value, (int, float))
        return float(value)
    return float([as_text(choice) for choice in choices].index(as_text(value)))


def settings(subject: Subject, best: Trial | None) -> list[tuple[str, str, str]]:
    """Each searched setting: its best value, and where it was searched."""
    return [(key, _best_value(best, key), range_text(item)) for key, item in subject.space.items()]


def _best_value(best: Trial | None, key: str) -> str:
    value: JsonValue = best.parameters[key] if best else None
    return value_text(value) if best else MISSING


def _row(subject: Subject, trial: Trial, best: Trial | None) -> TrialRow:
    epochs = sum(len(curve.figures) for curve in trial.curves)
    reached = subject.reached(trial) if trial.state == "pruned" else trial.value
    return TrialRow(
        number=trial.number,
        figure=shown(reached),
        state=trial.state,
        reason=hide_paths(trial.reason or ""),
        parameters=shown_parameters(trial.parameters),
        epochs=str(epochs) if epochs else MISSING,
        seconds=f"{trial.seconds:.0f}" if epochs else MISSING,
        best=best is not None and trial.number == best.number,
    )
