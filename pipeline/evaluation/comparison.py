"""Competitors on the same cases and folds: ranked, and every pair compared on the same patients.

Each pair has differences with paired intervals, the p-value that decides (the patient bootstrap of
the AUROC, adjusted over all pairs), and other tests beside it where their assumptions hold. All
pairs are one family: which competitor is the best is only known after looking at all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..progress import Bar, Display
from .cases import FloatArray, ScoredCases
from .comparison_results import FIGURES, ComparisonEvaluation, Pair, Standing
from .competitors import Competitor
from .intervals import percentile_interval, resamplings
from .metrics import fold_mean_auroc, ones
from .paired_tests import (
    PValue,
    bootstrap_p,
    delong,
    fold_differences,
    held_out_ratio,
    holm,
    mcnemar,
    perfect_by_chance,
    resampled_t,
)
from .results import evaluate

_ROUNDING = 1e-12
RESAMPLES = 2000
#: So many resamplings a pair let a pair stand out however many pairs are adjusted for.
_RESAMPLES_A_PAIR = 500


@dataclass(frozen=True, eq=False)
class _Drawn:
    """AUROC and accuracy of a competitor in every resampling, (R,), and on the cases themselves."""

    auroc: FloatArray
    accuracy: FloatArray
    own_auroc: float
    own_accuracy: float

    def minus(self, other: _Drawn) -> _Drawn:
        """The differences; those that are rounding alone are zero, and take neither side."""
        return _Drawn(
            _without_rounding(self.auroc - other.auroc),
            _without_rounding(self.accuracy - other.accuracy),
            float(_without_rounding(np.array(self.own_auroc - other.own_auroc))),
            float(_without_rounding(np.array(self.own_accuracy - other.own_accuracy))),
        )


def _without_rounding(differences: FloatArray) -> FloatArray:
    return np.where(np.abs(differences) < _ROUNDING, 0.0, differences)


def compare_answers(
    entries: Mapping[str, Competitor],
    display: Display,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ComparisonEvaluation:
    """Ranks competitors and compares every pair.

    Args:
        entries: Two or more by title, with equal cases in equal order (see `same_cases.aligned`).
        display: Shows the progress.
        resamples: Bootstrap resamplings of the figures; of the differences more where there are
            many pairs.
        seed: Of the resamplings.
    """
    count = len(entries) * (len(entries) - 1) // 2
    bar = display.bar("comparing", 2 * len(entries))
    # With the number and seed of a competitor's own report these are the figures of that report.
    standings = _ranked(entries, bar, resamples, seed)
    resamples = max(resamples, _RESAMPLES_A_PAIR * count)
    answers = [entries[item.title].scored for item in standings]
    drawn = []
    for cases in answers:
        drawn.append(_drawn(cases, resamples, seed))
        bar.advance()
    cases = answers[0]
    return ComparisonEvaluation(
        cases=len(cases),
        patients=cases.patient_count,
        classes=cases.classes,
        folds=len(np.unique(cases.folds)),
        resamples=resamples,
        seed=seed,
        standings=standings,
        pairs=_pairs(answers, drawn, f"{resamples} resamplings", seed),
    )


def _ranked(
    entries: Mapping[str, Competitor], bar: Bar, resamples: int, seed: int
) -> tuple[Standing, ...]:
    found = []
    for title, item in entries.items():
        metrics = evaluate(item.scored, resamples=resamples, seed=seed).metrics
        figures = {name: metrics[name] for name in FIGURES}
        chance = perfect_by_chance(item.scored)
        found.append(Standing(title, item.card, figures, chance))
        bar.advance()
    return tuple(sorted(found, key=_place))


def _place(item: Standing) -> tuple[bool, float, str]:
    area = item.auroc.estimate
    # Sums in another order differ by rounding: that must not decide who comes first.
    return area is None, -round(area or 0.0, 12), item.title


def _drawn(cases: ScoredCases, resamples: int, seed: int) -> _Drawn:
    found = [
        (fold_mean_auroc(cases, block), _accuracy(cases, block))
        for block in resamplings(cases, resamples, seed, within_folds=True)
    ]
    return _Drawn(
        np.concatenate([auroc for auroc, _ in found]),
        np.concatenate([accuracy for _, accuracy in found]),
        float(fold_mean_auroc(cases, ones(cases))[0]),
        float(_accuracy(cases, ones(cases))[0]),
    )


def _accuracy(cases: ScoredCases, weights: FloatArray) -> FloatArray:
    right = (cases.predicted == cases.labels).astype(np.float64)
    share: FloatArray = weights @ right / weights.sum(axis=1)
    return share


def _pairs(
    answers: Sequence[ScoredCases], drawn: Sequence[_Drawn], drawing: str, seed: int
) -> tuple[Pair, ...]:
    method = (
        f"paired; 95 % percentile interval of {drawing} of patients with replacement within "
        f"folds, seed {seed}"
    )
    patients = answers[0].patient_count
    places = list(combinations(range(len(answers)), 2))
    found = [drawn[i].minus(drawn[j]) for i, j in places]
    decisive = [bootstrap_p(item.auroc, patients) for item in found]
    return tuple(
        Pair(
            first=i,
            second=j,
            auroc=percentile_interval(
                item.own_auroc,
                item.auroc,
                patients=patients,
                method=f"difference of the mean AUROC over folds, {method}",
                undefined="no test fold has a case of every class",
            ),
            accuracy=percentile_interval(
                item.own_accuracy,
                item.accuracy,
                patients=patients,
                method=f"difference of the accuracy over all cases, {method}",
                undefined="there is no case",
            ),
            p=p,
            p_holm=adjusted,
            accuracy_p=bootstrap_p(item.accuracy, patients),
            tests=_beside(answers[i], answers[j]),
        )
        for (i, j), item, p, adjusted in zip(places, found, decisive, holm(decisive), strict=True)
    )


def _beside(first: ScoredCases, second: ScoredCases) -> dict[str, PValue]:
    """The other tests, each only where its assumptions hold."""
    reason = _not_single(first)
    none = PValue(None, reason)
    return {
        "delong": none if reason else delong(first, second),
        "mcnemar": none if reason else mcnemar(first, second),
        "resampled_t": resampled_t(fold_differences(first, second), held_out_ratio(first.folds)),
    }


def _not_single(cases: ScoredCases) -> str | None:
    if len(cases.classes) > 2:
        return "more than two classes"
    return None if cases.patient_count == len(cases) else "several cases a patient"
