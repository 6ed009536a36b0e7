"""What a search found, in plain English: the best trial, what its figure is not, and the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from ..tune_config import Dimension, as_text
from ..tune_record import Subject, Trial, best_trial
from .redaction import hide_paths
from .wording import counted, number

_DIGITS = 4


def figure_name(subject: Subject) -> str:
    """What trials are compared by."""
    return "validation AUROC" if subject.monitor == "auroc" else "validation loss"


def shown(figure: float | None) -> str:
    """A figure of a trial."""
    return number(figure, 3)


def value_text(value: JsonValue) -> str:
    """A setting as a reader meets it; a fraction with few digits, a path without its folders."""
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    return hide_paths(value) if isinstance(value, str) else as_text(value)


def shown_parameters(parameters: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """The parameters of a trial, one text each."""
    return tuple(f"{key}={value_text(value)}" for key, value in parameters.items())


def range_text(item: Dimension) -> str:
    """The values of a parameter in words."""
    if item.choices is not None:
        return f"one of {', '.join(value_text(value) for value in item.choices)}"
    ends = f"{value_text(item.low)} to {value_text(item.high)}"
    if item.step is not None:
        return f"{ends} in steps of {value_text(item.step)}"
    return f"{ends}, on a logarithmic scale" if item.log else ends


def counts(trials: Sequence[Trial]) -> dict[str, int]:
    """How many trials ended how."""
    return {
        state: sum(trial.state == state for trial in trials)
        for state in ("complete", "pruned", "failed", "running")
    }


def headline(subject: Subject, trials: Sequence[Trial]) -> str:
    """The result in a sentence or two."""
    best = best_trial(subject, trials)
    found = counts(trials)
    if best is None:
        return "No trial is complete yet, so there are no best settings."
    return (
        f"Trial {best.number} has the best {figure_name(subject)} of "
        f"{counted(found['complete'], 'complete trial')}: {shown(best.value)}, "
        f"{basis(subject)}."
    )


def basis(subject: Subject) -> str:
    """What a figure was measured on."""
    cases = sum(item.validation for item in subject.folds)
    patients = sum(item.patients for item in subject.folds)
    where = f"{counted(cases, 'validation case')} of {counted(patients, 'patient')}"
    seeds = subject.settings.get("train.seeds", 1)
    networks = len(subject.folds) * (seeds if isinstance(seeds, int) else 1)
    return f"on {where}" if networks == 1 else f"mean of {networks} networks, on {where}"


def optimism(subject: Subject, trials: Sequence[Trial]) -> str:
    """Why the best figure is too good."""
    looks = sum(trial.state in ("complete", "pruned") for trial in trials)
    return (
        f"the best of {counted(looks, 'trial')} was chosen because its {figure_name(subject)} is "
        "the best, on the cases that also chose its epoch, so that figure is too good; no "
        "trial was given a test case"
    )


def _counted(subject: Subject) -> str:
    return "last" if subject.keep == "last" else "best"


def honest(subject: Subject) -> str:
    """How to come to a figure that can be believed."""
    nested = (
        "An honest figure for the search itself needs nested use: search anew within each fold, "
        "on its training part alone, and test what each search found on that fold's test part."
    )
    if subject.scheme == "official":
        return (
            "The test part of the official split took no part. Train best.yaml once: its test "
            f"figure is honest, as long as you search no further after seeing it. {nested}"
        )
    if not subject.untouched:
        return (
            "With these folds every case taught or judged the trials, so even a full "
            f"cross-validation of best.yaml is flattered by the search. {nested}"
        )
    names = ", ".join(str(fold) for fold in subject.untouched)
    options = " or ".join(f"--fold {fold}" for fold in subject.untouched)
    return (
        f"No patient of the test part of fold {names} took part, so best.yaml trained with "
        f"{options} has an honest test figure there. The test parts of all other folds hold cases "
        "that taught or judged the trials, so a full cross-validation of best.yaml is flattered "
        f"by the search. {nested}"
    )


def limits(subject: Subject, trials: Sequence[Trial]) -> list[str]:
    """The limits of this evidence, the gravest first."""
    found = counts(trials)
    sentences = [
        f"How well the best settings do on new cases: {optimism(subject, trials)}.",
        honest(subject),
        "Whether close trials differ: each network was trained with one choice of weights and "
        "order, and another seed moves its figure. train.seeds above 1 makes trials dearer and "
        "steadier.",
        "What one setting does by itself: in each picture of a parameter all the others vary too"
        + (
            "."
            if subject.sampler == "grid"
            else ", and the search looked more often where it liked what it saw."
        ),
        "Settings outside the space, and combinations that were not tried.",
    ]
    if found["pruned"]:
        sentences.append(
            f"What {counted(found['pruned'], 'pruned trial')} would have come to: slow starters "
            "may have caught up."
        )
    return [
        *sentences,
        "Whether it is safe to act on. This is research software: not for clinical use.",
    ]


def protocol(subject: Subject, optuna: str) -> list[tuple[str, str]]:
    """How it was done, as rows of a table."""
    folds = "; ".join(
        f"fold {item.fold}: {item.train} training and {item.validation} validation cases"
        for item in subject.folds
    )
    stopping = (
        "none: every trial is trained to its end"
        if subject.pruner == "none"
        else f"after {counted(subject.startup, 'complete trial')} and epoch {subject.spared}, a "
        f"network whose {_counted(subject)} figure so far is behind the median of earlier complete "
        "trials, on the same fold at the same epoch"
    )
    return [
        (
            "Figure of a trial",
            f"the {_counted(subject)} {figure_name(subject)} over its epochs, mean over its "
            "networks; " + ("higher" if subject.sign > 0 else "lower") + " is better",
        ),
        ("Cases", f"{folds}; {subject.fold_count - len(subject.folds)} folds are left out"),
        ("Test parts", "in no trial's hands: it is given training and validation cases alone"),
        (
            "Search",
            "all combinations of the choices, in their order"
            if subject.sampler == "grid"
            else f"tree-structured Parzen estimator (Bergstra et al. 2011), Optuna {optuna}; the "
            f"first {counted(subject.startup, 'trial')} at random; seed {subject.seed}",
        ),
        ("Stopped early", stopping),
        ("Same settings again", "take the figures of the earlier trial; training would repeat it"),
    ]
