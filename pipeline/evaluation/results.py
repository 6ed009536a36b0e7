"""The evaluation of a run: every figure with its interval, and its form as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from .cases import FloatArray, IntArray, ScoredCases
from .intervals import Estimate, percentile_interval, resamplings
from .metrics import (
    PER_CLASS,
    POOLED,
    class_metrics,
    fold_mean_auroc,
    ones,
    pooled_metrics,
    weighted_confusion,
)

FORMAT = 1


@dataclass(frozen=True)
class ClassResult:
    """Figures of one class against the rest; `cases` and `patients` carry its label."""

    name: str
    cases: int
    patients: int
    figures: Mapping[str, Estimate]


@dataclass(frozen=True)
class FoldResult:
    """Figures of one test fold, without intervals: folds are too small for them.

    Attributes:
        fold: Its number.
        cases: Test cases.
        patients: Their patients.
        figures: AUROC, accuracy, balanced accuracy and Brier score; None where undefined.
        missing: Classes without a test case; then the fold is left out of the mean AUROC.
    """

    fold: int
    cases: int
    patients: int
    figures: Mapping[str, float | None]
    missing: tuple[str, ...]

    def as_json(self) -> dict[str, JsonValue]:
        """An entry of `folds` in `metrics.json`."""
        return {
            "fold": self.fold,
            "cases": self.cases,
            "patients": self.patients,
            **self.figures,
            "missing_classes": list(self.missing),
        }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is known about a classifier from its out-of-fold predictions.

    Attributes:
        cases: Number of cases.
        patients: Number of patients.
        classes: Class names in column order.
        metrics: The headline `auroc` (mean over folds) and the pooled figures.
        per_class: One entry a class.
        folds: One entry a fold.
        confusion: Counts, shape (K, K): label in the rows, prediction in the columns.
    """

    cases: int
    patients: int
    classes: tuple[str, ...]
    metrics: Mapping[str, Estimate]
    per_class: tuple[ClassResult, ...]
    folds: tuple[FoldResult, ...]
    confusion: IntArray

    def as_json(self) -> dict[str, JsonValue]:
        """The content of `metrics.json`."""
        return {
            "format": FORMAT,
            "cases": self.cases,
            "patients": self.patients,
            "classes": list(self.classes),
            "metrics": {name: value.as_json() for name, value in self.metrics.items()},
            "per_class": {
                item.name: {
                    "cases": item.cases,
                    "patients": item.patients,
                    **{name: value.as_json() for name, value in item.figures.items()},
                }
                for item in self.per_class
            },
            "confusion": self.confusion.tolist(),
            "folds": [item.as_json() for item in self.folds],
            "comparisons": [],
        }


def evaluate(cases: ScoredCases, *, resamples: int = 2000, seed: int = 0) -> Evaluation:
    """Computes all figures and their 95 % intervals.

    The headline `auroc` is the mean over folds, its patients resampled within folds; all other
    figures pool the cases of all folds, their patients resampled over the whole run.

    Args:
        cases: Out-of-fold predictions, one a case.
        resamples: Bootstrap resamplings.
        seed: Seed of the resamplings.
    """
    scalars = pooled_estimates(cases, resamples=resamples, seed=seed)
    return Evaluation(
        cases=len(cases),
        patients=cases.patient_count,
        classes=cases.classes,
        metrics={"auroc": _headline(cases, resamples, seed), **scalars},
        per_class=_class_results(cases, resamples, seed),
        folds=tuple(_fold_result(cases, int(fold)) for fold in np.unique(cases.folds)),
        confusion=weighted_confusion(cases, ones(cases))[0].astype(np.int64),
    )


def pooled_estimates(
    cases: ScoredCases, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Estimate]:
    """The figures of `POOLED` with intervals, for a whole run or for a subgroup of it."""
    blocks = [pooled_metrics(cases, block) for block in resamplings(cases, resamples, seed)]
    here, lacking = pooled_metrics(cases, ones(cases)), _no_case_of(cases.missing())
    result = {}
    for name in POOLED:
        result[name] = percentile_interval(
            float(here[name][0]),
            np.concatenate([block[name] for block in blocks]),
            patients=cases.patient_count,
            method=_pooled_method(name, cases, resamples, seed),
            undefined=lacking,
        )
    return result


def _pooled_method(name: str, cases: ScoredCases, resamples: int, seed: int) -> str:
    kind = "all cases pooled"
    if name in ("auroc_pooled", "average_precision"):
        two = len(cases.classes) == 2
        kind += f", positive class {cases.classes[1]!r}" if two else ", macro one-versus-rest"
    if name == "ece":
        kind += ", 15 equal-width bins of the top-class confidence"
    if name == "brier":
        kind += ", on p of the second class" if len(cases.classes) == 2 else ", sum over classes"
    return f"{kind}; {_drawn(resamples, seed)}"


def _drawn(resamples: int, seed: int, within: str = "") -> str:
    draws = f"{resamples} resamplings of patients with replacement{within}, seed {seed}"
    return f"95 % percentile interval of {draws}"


def _headline(cases: ScoredCases, resamples: int, seed: int) -> Estimate:
    folds = np.unique(cases.folds)
    left_out = [f for f in folds if cases.where(cases.folds == f).missing()]
    blocks = resamplings(cases, resamples, seed, within_folds=True)
    values = np.concatenate([fold_mean_auroc(cases, block) for block in blocks])
    kind = f"mean over {len(folds) - len(left_out)} folds" if len(folds) > 1 else "one test set"
    if len(cases.classes) > 2:
        kind += ", macro one-versus-rest"
    if left_out:
        names = ", ".join(str(f) for f in left_out)
        kind += f"; left out for want of a class: fold {names}"
    kind += f"; {_drawn(resamples, seed, ' within folds')}"
    if len(folds) > 1:
        kind += "; a fold that misses a class in a resampling is left out of its mean"
    return percentile_interval(
        float(fold_mean_auroc(cases, ones(cases))[0]),
        values,
        patients=cases.patient_count,
        method=kind,
        undefined="no test fold has a case of every class",
    )


def _class_results(cases: ScoredCases, resamples: int, seed: int) -> tuple[ClassResult, ...]:
    blocks = [class_metrics(cases, block) for block in resamplings(cases, resamples, seed)]
    here = class_metrics(cases, ones(cases))
    drawn: dict[str, FloatArray] = {
        name: np.concatenate([block[name] for block in blocks]) for name in PER_CLASS
    }
    result = []
    for index, name in enumerate(cases.classes):
        inside = cases.labels == index
        lacking = "all cases have this class" if inside.all() else _no_case_of((name,))
        figures = {
            figure: percentile_interval(
                float(here[figure][0, index]),
                drawn[figure][:, index],
                patients=cases.patient_count,
                method=f"all cases pooled, class against rest; {_drawn(resamples, seed)}",
                undefined=lacking,
            )
            for figure in PER_CLASS
        }
        patients = len(np.unique(cases.patients[inside]))
        result.append(ClassResult(name, int(inside.sum()), patients, figures))
    return tuple(result)


def _fold_result(cases: ScoredCases, fold: int) -> FoldResult:
    inside = cases.where(cases.folds == fold)
    values = pooled_metrics(inside, ones(inside))
    names = {"auroc": "auroc_pooled"}
    figures = {}
    for name in ("auroc", "accuracy", "balanced_accuracy", "brier"):
        value = float(values[names.get(name, name)][0])
        figures[name] = None if np.isnan(value) else value
    return FoldResult(fold, len(inside), inside.patient_count, figures, inside.missing())


def _no_case_of(names: tuple[str, ...]) -> str:
    return f"no case of {', '.join(repr(name) for name in names)}"
