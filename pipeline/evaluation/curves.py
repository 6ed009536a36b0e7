"""ROC and precision-recall curves with a 95 % band from resampled patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cases import FloatArray, ScoredCases
from .metrics import ones
from .ranking import precision_on_grid, ranked_weights, roc_on_grid

GRID: FloatArray = np.linspace(0.0, 1.0, 101)
_MOST_POINTS = 400


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve in the unit square and its pointwise band.

    Attributes:
        x: Shape (P,), rising; false positive rate, or recall.
        y: Shape (P,); true positive rate, or precision.
        low: Lower edge of the band on `GRID`, shape (101,).
        high: Upper edge.
    """

    x: FloatArray
    y: FloatArray
    low: FloatArray
    high: FloatArray


def roc_curve(cases: ScoredCases, column: int, weights: FloatArray) -> Curve | None:
    """ROC curve of one class against the rest, all folds pooled.

    Args:
        cases: N cases.
        column: Index of the positive class.
        weights: Multiplicities of bootstrap resamples, shape (R, N).

    Returns:
        The curve, or None where a class is absent.
    """
    scores, positive = cases.probabilities[:, column], cases.labels == column
    if positive.all() or not positive.any():
        return None
    hits, misses = (np.cumsum(part[0]) for part in ranked_weights(scores, positive, ones(cases)))
    x, y = np.r_[0.0, misses / misses[-1]], np.r_[0.0, hits / hits[-1]]
    if len(x) > _MOST_POINTS:
        x, y = GRID, np.interp(GRID, x, y)
    low, high = _band(roc_on_grid(scores, positive, weights, GRID))
    return Curve(x, y, low, high)


def precision_recall_curve(cases: ScoredCases, column: int, weights: FloatArray) -> Curve | None:
    """Precision against recall of one class; arguments and result as in `roc_curve`."""
    scores, positive = cases.probabilities[:, column], cases.labels == column
    if positive.all() or not positive.any():
        return None
    y = precision_on_grid(scores, positive, ones(cases), GRID)[0]
    low, high = _band(precision_on_grid(scores, positive, weights, GRID))
    return Curve(GRID, y, low, high)


def _band(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    if not len(rows):
        nothing = np.full(len(GRID), np.nan)
        return nothing, nothing
    low, high = np.quantile(rows, (0.025, 0.975), axis=0)
    return low, high
