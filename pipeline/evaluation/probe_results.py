"""What the probes of a network's stages found: figures with intervals, stage against stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from ..feature_table import POOLINGS, Origin
from ..progress import Bar, Display
from ..seeds import derived_seed
from .cases import FloatArray, ScoredCases, scored_cases
from .intervals import Estimate, percentile_interval, resamplings
from .metrics import fold_mean_auroc, ones
from .probe_parts import ProbePlan, patients_of, stage_features
from .probes import (
    KINDS,
    LOGISTIC,
    Answer,
    Split,
    TrainingPart,
    inner_splits,
    one_thread,
    tuned_answer,
)
from .results import evaluate

FORMAT = 1
FIGURES = ("auroc", "accuracy", "balanced_accuracy")


@dataclass(frozen=True, eq=False)
class ProbeFigures:
    """One probe on one stage.

    Attributes:
        values: The figures of `FIGURES`.
        difference: AUROC minus that of the last stage; None for the last stage itself.
        chosen: The hyper-parameter of each fold.
        inner_folds: On how many inner folds each was chosen; 0 where the default was taken.
        widened_low: Lower end of the AUROC's interval at a level that holds for all single stages
            together (Bonferroni); None without an interval.
    """

    values: Mapping[str, Estimate]
    difference: Estimate | None
    chosen: tuple[float, ...]
    inner_folds: tuple[int, ...]
    widened_low: float | None = None

    @property
    def auroc(self) -> Estimate:
        """Mean over the folds."""
        return self.values["auroc"]


@dataclass(frozen=True, eq=False)
class StageResult:
    """Both probes on one stage, counted from 1, or on all stages together (None)."""

    stage: int | None
    channels: int
    probes: Mapping[str, ProbeFigures]

    @property
    def name(self) -> str:
        """As on axes and in files."""
        return "all" if self.stage is None else str(self.stage)

    @property
    def features(self) -> int:
        """Pooled features: mean, maximum and standard deviation of each channel."""
        return len(POOLINGS) * self.channels


@dataclass(frozen=True, eq=False)
class ProbeEvaluation:
    """All probes of a network.

    Attributes:
        origin: Where the features come from.
        scheme: `kfold`, `official`, or `probe` where the probe made the folds itself.
        cases: Tested cases.
        patients: Their patients.
        classes: In column order.
        folds: Numbers of the folds.
        trained_on: Whether training features come from a network that was trained on the cases.
        own_models: Whether each fold has a network of its own.
        resamples: Bootstrap resamplings.
        stages: In order of depth, all together last.
        case_ids: (N,) tested cases, in the order of `answers`.
        answers: Out-of-fold probabilities of logistic regression on all stages together: of all
            probes the one that no test result chose. None where figures alone are known.
    """

    origin: Origin
    scheme: str
    cases: int
    patients: int
    classes: tuple[str, ...]
    folds: tuple[int, ...]
    trained_on: bool
    own_models: bool
    resamples: int
    stages: tuple[StageResult, ...]
    case_ids: tuple[str, ...] = ()
    answers: ScoredCases | None = None

    @property
    def depths(self) -> tuple[StageResult, ...]:
        """The single stages in order."""
        return self.stages[:-1]

    def as_json(self) -> dict[str, JsonValue]:
        """The content of `metrics.json`."""
        return {
            "format": FORMAT,
            "kind": "probe",
            "network": self.origin.network,
            "cases": self.cases,
            "patients": self.patients,
            "classes": list(self.classes),
            "folds": len(self.folds),
            "scheme": self.scheme,
            "stages": [_stage_json(item, self.folds) for item in self.stages],
            "origin": self.origin.to_json(),
        }


def _stage_json(item: StageResult, folds: tuple[int, ...]) -> dict[str, JsonValue]:
    result: dict[str, JsonValue] = {
        "stage": "all" if item.stage is None else item.stage,
        "channels": item.channels,
        "features": item.features,
    }
    differences: dict[str, JsonValue] = {}
    for kind, figures in item.probes.items():
        chosen: list[JsonValue] = [
            {"fold": fold, "value": value, "inner_folds": inner}
            for fold, value, inner in zip(folds, figures.chosen, figures.inner_folds, strict=True)
        ]
        values = {name: value.as_json() for name, value in figures.values.items()}
        result[kind] = {**values, "auroc_widened_low": figures.widened_low, "chosen": chosen}
        differences[kind] = figures.difference.as_json() if figures.difference else None
    result["difference_to_last"] = differences
    return result


@dataclass(frozen=True, eq=False)
class _Probed:
    """Out-of-fold answers of one probe on one stage."""

    cases: ScoredCases
    answers: tuple[Answer, ...]


def run_probes(plan: ProbePlan, display: Display, *, resamples: int = 2000) -> ProbeEvaluation:
    """Probes every stage and all together, on the same folds and the same inner folds.

    Args:
        plan: The rows of each fold.
        display: Shows the progress.
        resamples: Bootstrap resamplings of patients.
    """
    origin = plan.table.origin
    stages = (*plan.table.stages, None)
    splits = [_inner(plan, place) for place in range(len(plan.folds))]
    bar = display.bar("probing", len(stages) * len(plan.folds) * len(KINDS))
    with one_thread():
        probed = {stage: _probe_stage(plan, stage, splits, bar) for stage in stages}
    last = probed[plan.table.stages[-1]]
    cases = last[KINDS[0]].cases
    results = tuple(
        StageResult(
            stage,
            sum(origin.channels) if stage is None else origin.channels[stage - 1],
            {
                kind: _figures(item, last[kind], len(plan.table.stages), resamples, origin.seed)
                for kind, item in probed[stage].items()
            },
        )
        for stage in stages
    )
    return ProbeEvaluation(
        origin=origin,
        scheme=plan.scheme,
        cases=len(cases),
        patients=cases.patient_count,
        classes=plan.classes,
        folds=tuple(fold.number for fold in plan.folds),
        trained_on=any(plan.training.seen),
        own_models=plan.has_companion,
        resamples=resamples,
        stages=results,
        case_ids=tuple(plan.table.case_ids[row] for fold in plan.folds for row in fold.test),
        answers=probed[None][LOGISTIC].cases,
    )


def _inner(plan: ProbePlan, place: int) -> tuple[Split, ...]:
    fold = plan.folds[place]
    return inner_splits(
        plan.labels(plan.training, fold.training),
        patients_of(plan.training, fold.training),
        derived_seed(plan.table.origin.seed, "probe", fold.number),
    )


def _probe_stage(
    plan: ProbePlan, stage: int | None, splits: list[tuple[Split, ...]], bar: Bar
) -> dict[str, _Probed]:
    tested = stage_features(plan.table, stage)
    trained = stage_features(plan.training, stage) if plan.has_companion else tested
    result = {}
    for kind in KINDS:
        answers = []
        for fold, inner in zip(plan.folds, splits, strict=True):
            labels = plan.labels(plan.training, fold.training)
            part = TrainingPart(trained[fold.training], labels, inner)
            answers.append(tuned_answer(kind, part, tested[fold.test]))
            bar.advance(note="all stages" if stage is None else f"stage {stage}")
        result[kind] = _Probed(_scored(plan, [item.probabilities for item in answers]), (*answers,))
    return result


def _scored(plan: ProbePlan, probabilities: list[FloatArray]) -> ScoredCases:
    rows = np.concatenate([fold.test for fold in plan.folds])
    return scored_cases(
        plan.labels(plan.table, rows),
        np.concatenate(probabilities),
        patients_of(plan.table, rows),
        np.repeat([fold.number for fold in plan.folds], [len(fold.test) for fold in plan.folds]),
        plan.classes,
    )


def _figures(item: _Probed, last: _Probed, looks: int, resamples: int, seed: int) -> ProbeFigures:
    found = evaluate(item.cases, resamples=resamples, seed=seed)
    difference = None
    if item is not last:
        difference = auroc_difference(item.cases, last.cases, resamples=resamples, seed=seed)
    return ProbeFigures(
        values={name: found.metrics[name] for name in FIGURES},
        difference=difference,
        chosen=tuple(answer.chosen for answer in item.answers),
        inner_folds=tuple(answer.inner_folds for answer in item.answers),
        widened_low=None
        if found.metrics["auroc"].low is None
        else _low_for(item.cases, looks, resamples, seed),
    )


def _low_for(cases: ScoredCases, looks: int, resamples: int, seed: int) -> float:
    """Lower end of the AUROC's interval, so wide that all of `looks` such hold at 95 % together."""
    blocks = resamplings(cases, resamples, seed, within_folds=True)
    values = np.concatenate([fold_mean_auroc(cases, block) for block in blocks])
    return float(np.nanquantile(values, 0.025 / looks))


def auroc_difference(
    first: ScoredCases, second: ScoredCases, *, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Mean AUROC over the folds of one classifier minus that of another on the same cases.

    Paired: both are measured on the same resampled patients, so what makes a patient hard for
    both does not widen the interval.

    Args:
        first: Answers of one classifier.
        second: Answers of the other to the same cases in the same order.
        resamples: Bootstrap resamplings.
        seed: Of the resamplings.
    """
    blocks = resamplings(first, resamples, seed, within_folds=True)
    values = [fold_mean_auroc(first, block) - fold_mean_auroc(second, block) for block in blocks]
    here = fold_mean_auroc(first, ones(first)) - fold_mean_auroc(second, ones(second))
    return percentile_interval(
        float(here[0]),
        np.concatenate(values),
        patients=first.patient_count,
        method="difference of the mean AUROC over folds, paired; 95 % percentile interval of "
        f"{resamples} resamplings of patients with replacement within folds, seed {seed}",
        undefined="no test fold has a case of every class",
    )
