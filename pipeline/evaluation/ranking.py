"""Ranking metrics for many weightings of the same cases at once.

A bootstrap resample is a row of multiplicities: how often each case was drawn. Sorting is done
once, so thousands of resamples cost a few cumulative sums. Undefined values are NaN here; they
become None where results leave this package.
"""

from __future__ import annotations

import numpy as np

from .cases import BoolArray, FloatArray


def ranked_weights(
    scores: FloatArray, positive: BoolArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Weight of positive and negative cases at each distinct score, highest score first.

    Args:
        scores: Shape (N,); higher means more likely positive.
        positive: Shape (N,).
        weights: Multiplicities, shape (R, N), one row a resample.

    Returns:
        Two arrays of shape (R, G), G the number of distinct scores.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    drawn, hit = weights[:, order], positive[order]
    above = np.add.reduceat(drawn * hit, starts, axis=1)
    return above, np.add.reduceat(drawn * ~hit, starts, axis=1)


def weighted_auroc(scores: FloatArray, positive: BoolArray, weights: FloatArray) -> FloatArray:
    """Area under the ROC curve of each resample; ties count one half (Hanley & McNeil 1982).

    Args:
        scores: Shape (N,).
        positive: Shape (N,).
        weights: Multiplicities, shape (R, N).

    Returns:
        Shape (R,), in 0..1, NaN where a resample has no positive or no negative case.
    """
    hits, misses = ranked_weights(scores, positive, weights)
    higher = np.cumsum(hits, axis=1) - hits / 2
    pairs = hits.sum(axis=1) * misses.sum(axis=1)
    return _ratio((higher * misses).sum(axis=1), pairs)


def weighted_average_precision(
    scores: FloatArray, positive: BoolArray, weights: FloatArray
) -> FloatArray:
    """Average precision of each resample: precision summed over the steps of recall.

    No interpolation, as in scikit-learn; cases of equal score enter together.

    Returns:
        Shape (R,), in 0..1, NaN where a resample has no positive or no negative case.
    """
    hits, misses = ranked_weights(scores, positive, weights)
    found = np.cumsum(hits, axis=1)
    named = found + np.cumsum(misses, axis=1)
    precision = np.divide(found, named, out=np.zeros_like(found), where=named > 0)
    total = hits.sum(axis=1)
    result = _ratio((precision * hits).sum(axis=1), total)
    return np.where(misses.sum(axis=1) > 0, result, np.nan)


def roc_on_grid(
    scores: FloatArray, positive: BoolArray, weights: FloatArray, grid: FloatArray
) -> FloatArray:
    """True positive rate of each resample at given false positive rates.

    Args:
        scores: Shape (N,).
        positive: Shape (N,).
        weights: Multiplicities, shape (R, N).
        grid: False positive rates, shape (P,), rising, in 0..1.

    Returns:
        Shape (R', P), one row for each resample that has both classes (R' <= R).
    """
    hits, misses = ranked_weights(scores, positive, weights)
    both = (hits.sum(axis=1) > 0) & (misses.sum(axis=1) > 0)
    tpr, fpr = _rates(hits[both]), _rates(misses[both])
    rows = [np.interp(grid, x, y) for x, y in zip(fpr, tpr, strict=True)]
    return np.asarray(rows, dtype=np.float64).reshape(-1, len(grid))


def precision_on_grid(
    scores: FloatArray, positive: BoolArray, weights: FloatArray, grid: FloatArray
) -> FloatArray:
    """Precision of each resample at given recalls: at the first threshold that reaches them.

    Args:
        scores: Shape (N,).
        positive: Shape (N,).
        weights: Multiplicities, shape (R, N).
        grid: Recalls, shape (P,), rising, in 0..1; 0 means the first positive case found.

    Returns:
        Shape (R', P), one row for each resample that has both classes (R' <= R).
    """
    hits, misses = ranked_weights(scores, positive, weights)
    both = (hits.sum(axis=1) > 0) & (misses.sum(axis=1) > 0)
    found = np.cumsum(hits[both], axis=1)
    named = found + np.cumsum(misses[both], axis=1)
    rows = []
    for true, all_named in zip(found, named, strict=True):
        # Found cases are whole numbers; rounding of the product must not skip a threshold.
        reached = np.searchsorted(true, grid * true[-1] - 1e-9, side="left")
        first = np.maximum(reached, int(np.argmax(true > 0)))
        rows.append(true[first] / all_named[first])
    return np.asarray(rows, dtype=np.float64).reshape(-1, len(grid))


def _rates(amounts: FloatArray) -> FloatArray:
    cumulative = np.cumsum(amounts, axis=1)
    start = np.zeros((len(amounts), 1))
    return np.concatenate([start, cumulative / cumulative[:, -1:]], axis=1)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    undefined = np.full_like(numerator, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)
