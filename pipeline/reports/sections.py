"""The tables of the page as typed rows of text, ready to be laid out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.intervals import Estimate
from ..evaluation.metrics import POOLED
from ..evaluation.results import Evaluation, pooled_estimates
from .plots import best_epoch
from .run_files import RunFiles
from .wording import MISSING, counted, interval, number

_EXPLAINED = {
    "auroc": ("AUROC, mean over folds", "chance that a case of the class ranks above another"),
    "auroc_pooled": ("AUROC, pooled", "the same over the cases of all folds together"),
    "average_precision": ("Average precision", "area under the precision-recall curve"),
    "accuracy": ("Accuracy", "share of cases predicted rightly"),
    "balanced_accuracy": ("Balanced accuracy", "mean sensitivity of the classes"),
    "f1_macro": ("F1, macro", "harmonic mean of precision and recall, mean of the classes"),
    "brier": ("Brier score", "squared error of the probabilities; 0 is best"),
    "ece": ("Calibration error (ECE)", "mean gap of confidence and accuracy; 0 is best"),
}


@dataclass(frozen=True)
class FigureRow:
    """A figure, its interval as text and as shares of the scale 0..1, and what no model gets."""

    name: str
    meaning: str
    value: str
    interval: str
    bar: tuple[float, float, float] | None
    trivial: str
    chance: float | None
    note: str


@dataclass(frozen=True)
class FoldRow:
    """One test fold."""

    fold: int
    cases: int
    patients: int
    auroc: str
    accuracy: str
    balanced_accuracy: str
    brier: str
    epochs: str
    note: str


@dataclass(frozen=True)
class ClassRow:
    """One class against the rest; each figure as value and interval."""

    name: str
    amount: str
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class BalanceRow:
    """Cases and patients of each class in one fold or in all."""

    name: str
    cells: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True)
class SiteRow:
    """The cases of one site."""

    name: str
    amount: str
    auroc: tuple[str, str]
    accuracy: tuple[str, str]


@dataclass(frozen=True)
class ConfusionRow:
    """The cases of one label: for each prediction their number and share."""

    name: str
    cells: tuple[tuple[int, float], ...]


def figure_rows(run: RunFiles, result: Evaluation) -> list[FigureRow]:
    """The headline and the pooled figures, each beside what answering without a model gets."""
    trivial = _trivial(run)
    return [
        _figure_row(name, result.metrics[name], trivial.get(name)) for name in ("auroc", *POOLED)
    ]


def _trivial(run: RunFiles) -> dict[str, float]:
    """Figures of the best constant answer: most frequent class, class shares as probabilities."""
    count = len(run.plan.classes)
    share = np.bincount(run.scored.labels, minlength=count) / len(run.scored)
    columns = list(run.scored.scored_columns)
    return {
        "auroc": 0.5,
        "auroc_pooled": 0.5,
        "average_precision": float(share[columns].mean()),
        "accuracy": float(share.max()),
        "balanced_accuracy": 1.0 / count,
        "f1_macro": float(2 * share.max() / (1 + share.max()) / count),
        "brier": float((share * (1 - share))[columns].sum()),
    }


def _figure_row(name: str, value: Estimate, trivial: float | None) -> FigureRow:
    title, meaning = _EXPLAINED[name]
    bar = None
    if value.estimate is not None and value.low is not None and value.high is not None:
        bar = (min(value.low, 1.0), min(value.estimate, 1.0), min(value.high, 1.0))
    return FigureRow(
        name=title,
        meaning=meaning,
        value=number(value.estimate),
        interval=interval(value),
        bar=bar,
        trivial=number(trivial),
        chance=trivial,
        note=value.reason or "",
    )


def fold_rows(run: RunFiles, result: Evaluation) -> list[FoldRow]:
    """One row a finished fold."""
    rows = []
    for item in result.folds:
        epochs = run.logs.get(item.fold, ())
        best = best_epoch(epochs)
        value = item.figures
        lacking = ", ".join(f"“{name}”" for name in item.missing)
        rows.append(
            FoldRow(
                fold=item.fold,
                cases=item.cases,
                patients=item.patients,
                auroc=number(value["auroc"]),
                accuracy=number(value["accuracy"]),
                balanced_accuracy=number(value["balanced_accuracy"]),
                brier=number(value["brier"]),
                epochs=f"{best} of {epochs[-1].epoch}" if best is not None else MISSING,
                note=f"no case of {lacking}: not in the mean AUROC" if lacking else "",
            )
        )
    return rows


def class_rows(result: Evaluation) -> list[ClassRow]:
    """Sensitivity, specificity and F1 of each class."""
    return [
        ClassRow(
            item.name,
            f"{counted(item.cases, 'case')}, {counted(item.patients, 'patient')}",
            tuple((number(value.estimate), interval(value)) for value in item.figures.values()),
        )
        for item in result.per_class
    ]


def balance_rows(run: RunFiles) -> list[BalanceRow]:
    """Cases and patients of each class in the test part of every planned fold, and in all."""
    rows = [
        _balance_row(run, f"Fold {index}", fold.test) for index, fold in enumerate(run.plan.folds)
    ]
    return [*rows, _balance_row(run, "All cases of the run", tuple(run.plan.cases))]


def _balance_row(run: RunFiles, name: str, cases: Sequence[str]) -> BalanceRow:
    entries = [run.plan.cases[case] for case in cases]
    cells = []
    for label in run.plan.classes:
        owners = [entry.patient_id for entry in entries if entry.label == label]
        cells.append((len(owners), len(set(owners)), len(owners) / max(1, len(entries))))
    return BalanceRow(name, tuple(cells))


def site_rows(run: RunFiles) -> list[SiteRow]:
    """Pooled figures of each site; empty where the manifest names none."""
    sites = [run.plan.cases[case].site or "" for case in run.case_ids]
    if not any(sites):
        return []
    rows = []
    for site in sorted(set(sites)):
        inside = run.scored.where(np.asarray([name == site for name in sites]))
        found = pooled_estimates(inside, resamples=run.settings.bootstrap, seed=run.seed)
        area, accuracy = found["auroc_pooled"], found["accuracy"]
        patients = counted(inside.patient_count, "patient")
        rows.append(
            SiteRow(
                name=site or "not named",
                amount=f"{counted(len(inside), 'case')}, {patients}",
                auroc=(number(area.estimate), _interval_or_reason(area)),
                accuracy=(number(accuracy.estimate), _interval_or_reason(accuracy)),
            )
        )
    return rows


def _interval_or_reason(value: Estimate) -> str:
    return value.reason or interval(value)


def confusion_rows(result: Evaluation) -> list[ConfusionRow]:
    """Counts and shares of each label's predictions."""
    return [
        ConfusionRow(
            name, tuple((int(count), float(count) / max(1, int(row.sum()))) for count in row)
        )
        for name, row in zip(result.classes, result.confusion, strict=True)
    ]
