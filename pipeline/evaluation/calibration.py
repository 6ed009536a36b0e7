"""Calibration: do probabilities mean what they say?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cases import FloatArray, IntArray, ScoredCases

BINS = 15


def confidence_bins(cases: ScoredCases) -> IntArray:
    """Bin of each case, shape (N,), in 0..14: 15 equal widths, each closed on the right.

    The confidence is the probability of the predicted class, for two classes as well, so it is
    never below 1/K.
    """
    edges = np.linspace(0.0, 1.0, BINS + 1)
    bins: IntArray = np.searchsorted(edges, cases.confidence, side="left").astype(np.int64) - 1
    return np.clip(bins, 0, BINS - 1)


def weighted_ece(cases: ScoredCases, weights: FloatArray) -> FloatArray:
    """Expected calibration error of each resample (Naeini et al. 2015; Guo et al. 2017).

    The mean over cases of |accuracy - mean confidence| in the case's bin of confidence.

    Args:
        cases: N cases.
        weights: Multiplicities, shape (R, N).

    Returns:
        Shape (R,), in 0..1; 0 is perfect.
    """
    excess = (cases.predicted == cases.labels) - cases.confidence
    member = np.eye(BINS)[confidence_bins(cases)]
    gaps = np.abs((weights * excess) @ member).sum(axis=1)
    result: FloatArray = gaps / weights.sum(axis=1)
    return result


def weighted_brier(cases: ScoredCases, weights: FloatArray) -> FloatArray:
    """Brier score of each resample (Brier 1950), as `sklearn.metrics.brier_score_loss`.

    Two classes: mean of (p_positive - y)^2, in 0..1. Several classes: mean over cases of the sum
    over classes of (p - y)^2, in 0..2. The binary figure is half of what the second rule gives.

    Args:
        cases: N cases.
        weights: Multiplicities, shape (R, N).

    Returns:
        Shape (R,); 0 is perfect.
    """
    truth = np.eye(len(cases.classes))[cases.labels]
    squares = (cases.probabilities - truth) ** 2
    columns = list(cases.scored_columns)
    result: FloatArray = weights @ squares[:, columns].sum(axis=1) / weights.sum(axis=1)
    return result


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of confidence that holds at least one case.

    Attributes:
        index: Its place among the 15 bins, from 0.
        cases: Number of cases.
        confidence: Their mean confidence.
        accuracy: Share of them predicted rightly.
        low: Lower end of the 95 % interval of the accuracy, resampled by patient.
        high: Upper end.
    """

    index: int
    cases: int
    confidence: float
    accuracy: float
    low: float
    high: float


def reliability_bins(cases: ScoredCases, weights: FloatArray) -> tuple[ReliabilityBin, ...]:
    """Accuracy against confidence, for the bins of `weighted_ece` that hold cases.

    Args:
        cases: N cases.
        weights: Multiplicities of bootstrap resamples, shape (R, N).
    """
    bins, right = confidence_bins(cases), cases.predicted == cases.labels
    result = []
    for index in np.unique(bins):
        inside = bins == index
        drawn = weights[:, inside]
        total = drawn.sum(axis=1)
        accuracy = (drawn @ right[inside].astype(np.float64))[total > 0] / total[total > 0]
        low, high = np.quantile(accuracy, (0.025, 0.975))
        result.append(
            ReliabilityBin(
                index=int(index),
                cases=int(inside.sum()),
                confidence=float(cases.confidence[inside].mean()),
                accuracy=float(right[inside].mean()),
                low=float(low),
                high=float(high),
            )
        )
    return tuple(result)
