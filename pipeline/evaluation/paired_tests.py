"""Tests of two classifiers on the same cases, each under its own assumptions.

The p-value that decides is `bootstrap_p`; it alone allows several cases a patient, any number of
classes and folds of their own models. The others are shown beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .cases import BoolArray, FloatArray, IntArray, ScoredCases
from .metrics import ones, ovr_auroc

#: Differences of folds that spread less than this differ by rounding alone.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PValue:
    """A two-sided p-value, in 0..1, or the reason why there is none."""

    value: float | None
    reason: str | None = None


def bootstrap_p(differences: FloatArray, patients: int) -> float | None:
    """Two-sided p-value of a difference, by inverting its percentile interval.

    Twice the smaller share of resamplings on one side of zero (Efron & Tibshirani 1993, ch. 15),
    the observed sample counted as one of them (Davison & Hinkley 1997, sec. 4.4), so it is never
    0. Nor is it below 2^(1 - patients), the least that a sign test of so many patients can give:
    a handful of patients proves nothing, even if every resampling agrees.

    Args:
        differences: What the resamplings gave, shape (R,); NaN where undefined, which is dropped.
        patients: Number of patients that were resampled.

    Returns:
        In 0..1; None where no more than half of the resamplings are defined.
    """
    known = differences[~np.isnan(differences)]
    if 2 * len(known) <= len(differences):
        return None
    fewer = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return float(min(1.0, max(2 * (fewer + 1) / (len(known) + 1), 2.0 ** (1 - patients))))


def perfect_by_chance(cases: ScoredCases) -> float:
    """How likely answers that know nothing rank all cases perfectly, in every fold.

    The share of a permutation test (Fisher 1935): of all ways to hand the labels to the patients
    of a fold, one is right. Of a patient with cases of several classes the order of his own cases
    counts, too, for a factor of one half at least. Folds without a case of every class rank
    nothing.

    Returns:
        In 0..1; 1 where no fold ranks anything.
    """
    log_ways = 0.0
    for fold in np.unique(cases.folds):
        part = cases.where(cases.folds == fold)
        if len(np.unique(part.labels)) < len(cases.classes):
            continue
        kinds = Counter(
            tuple(np.unique(part.labels[part.patients == who]).tolist())
            for who in np.unique(part.patients)
        )
        mixed = sum(count for kind, count in kinds.items() if len(kind) > 1)
        log_ways += math.lgamma(kinds.total() + 1) + mixed * math.log(2)
        log_ways -= sum(math.lgamma(count + 1) for count in kinds.values())
    return math.exp(-log_ways)


def delong(first: ScoredCases, second: ScoredCases) -> PValue:
    """Two-sided test of the difference in AUROC, mean over folds (DeLong et al. 1988).

    The variance comes from the cases' placement values, which are found by ranking (Sun & Xu
    2014). Test folds share no patient, so the variance of the mean is the sum of the folds'
    variances over their squared number; with one fold this is the published test. A fold without
    a case of every class is left out, as it is from the AUROC.

    Args:
        first: Answers of one classifier to cases of two classes, each of a patient of its own.
        second: Answers of the other to the same cases in the same order.
    """
    from scipy.stats import norm  # slow to import

    parts = [first.folds == fold for fold in np.unique(first.folds)]
    parts = [inside for inside in parts if len(np.unique(first.labels[inside])) == 2]
    counts = [np.bincount(first.labels[inside]).min() for inside in parts]
    if not counts or min(counts) < 2:
        return PValue(None, "a test fold has fewer than two cases of a class")
    found = [_placed_difference(first, second, inside) for inside in parts]
    difference = float(np.mean([item[0] for item in found]))
    variance = float(np.sum([item[1] for item in found])) / len(found) ** 2
    if variance <= 0.0:
        return _without_spread(difference, "the cases' placement values do not spread")
    return PValue(float(2 * norm.sf(abs(difference) / np.sqrt(variance))))


def _placed_difference(
    first: ScoredCases, second: ScoredCases, inside: BoolArray
) -> tuple[float, float]:
    """Difference in AUROC on some of the cases, and its variance."""
    positive = first.labels[inside] == 1
    of_first, of_second = (
        placement_values(cases.probabilities[inside, 1], positive) for cases in (first, second)
    )
    # Differences before variances: equal rankings then give exactly zero.
    above, below = of_first[0] - of_second[0], of_first[1] - of_second[1]
    variance = above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)
    return float(above.mean()), float(variance)


def placement_values(scores: FloatArray, positive: BoolArray) -> tuple[FloatArray, FloatArray]:
    """How each case is placed among those of the other class; ties count one half.

    Args:
        scores: Shape (N,); higher means more likely positive.
        positive: Shape (N,); both values occur.

    Returns:
        For each positive case the share of negative ones below it, and for each negative case
        the share of positive ones above it; either mean is the AUROC.
    """
    from scipy.stats import rankdata  # slow to import

    among_all = rankdata(scores)
    hits, misses = scores[positive], scores[~positive]
    above: FloatArray = (among_all[positive] - rankdata(hits)) / len(misses)
    below: FloatArray = 1.0 - (among_all[~positive] - rankdata(misses)) / len(hits)
    return above, below


def mcnemar(first: ScoredCases, second: ScoredCases) -> PValue:
    """Exact two-sided test of who is right more often (McNemar 1947, as a binomial test).

    Only the cases that one classifier gets right and the other wrong count; under the null
    hypothesis each falls to either side with probability one half.

    Args:
        first: Answers of one classifier, each case of a patient of its own.
        second: Answers of the other to the same cases in the same order.
    """
    from scipy.stats import binom  # slow to import

    right, other = first.predicted == first.labels, second.predicted == second.labels
    gained, lost = int((right & ~other).sum()), int((other & ~right).sum())
    return PValue(float(min(1.0, 2 * binom.cdf(min(gained, lost), gained + lost, 0.5))))


def fold_differences(first: ScoredCases, second: ScoredCases) -> FloatArray:
    """AUROC of one classifier minus that of another in each fold that has every class, (K,)."""
    found = []
    for fold in np.unique(first.folds):
        parts = [cases.where(cases.folds == fold) for cases in (first, second)]
        areas = [float(ovr_auroc(part, ones(part))[0]) for part in parts]
        found.append(areas[0] - areas[1])
    values = np.asarray(found, dtype=np.float64)
    known: FloatArray = values[~np.isnan(values)]
    return known


def held_out_ratio(folds: IntArray) -> float:
    """Test cases for each case outside the test fold, averaged over K-fold cross-validation.

    Infinite with one fold, where no case is outside.
    """
    _, counts = np.unique(folds, return_counts=True)
    outside = float((counts.sum() - counts).mean())
    return float(counts.mean()) / outside if outside else math.inf


def resampled_t(differences: FloatArray, ratio: float) -> PValue:
    """Corrected resampled t test over folds (Nadeau & Bengio 2003).

    Training parts of folds overlap, so their differences are not independent: the variance of
    their mean is taken as (1/K + n_test/n_train) times their sample variance, K - 1 degrees of
    freedom.

    Args:
        differences: One a fold, shape (K,).
        ratio: n_test / n_train.
    """
    from scipy.stats import t  # slow to import

    count = len(differences)
    if count < 2:
        return PValue(None, "fewer than two test folds")
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    if spread < _ROUNDING:
        return _without_spread(mean, "the difference is the same in every fold")
    statistic = mean / (np.sqrt(1 / count + ratio) * spread)
    return PValue(float(2 * t.sf(abs(statistic), count - 1)))


def _without_spread(difference: float, reason: str) -> PValue:
    return PValue(1.0) if abs(difference) < _ROUNDING else PValue(None, reason)


def holm(values: Sequence[float | None]) -> tuple[float | None, ...]:
    """P-values adjusted for their number, step by step (Holm 1979).

    Args:
        values: In 0..1, in any order; None where there is none, which counts as no test.

    Returns:
        In the same order: below a level where the hypothesis is rejected at it, all rejections
        together being wrong in at most that share of repetitions.
    """
    known = sorted((value, place) for place, value in enumerate(values) if value is not None)
    result: list[float | None] = [None] * len(values)
    highest = 0.0
    for step, (value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - step) * value))
        result[place] = highest
    return tuple(result)
