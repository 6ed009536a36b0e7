"""The figures of a classifier, for one or many weightings of its cases at once.

With weights of one these are the plain metrics; with a bootstrap's multiplicities they are the
metrics of every resample. One implementation serves both. Inside, undefined is NaN.
"""

from __future__ import annotations

import numpy as np

from .calibration import weighted_brier, weighted_ece
from .cases import FloatArray, IntArray, ScoredCases, check_scores
from .ranking import weighted_auroc, weighted_average_precision

#: Figures of the pooled cases, in the order in which they are shown.
POOLED = (
    "auroc_pooled",
    "average_precision",
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "brier",
    "ece",
)
#: Figures of each class.
PER_CLASS = ("sensitivity", "specificity", "f1")


def ones(cases: ScoredCases) -> FloatArray:
    """The weights that count every case once, shape (1, N)."""
    return np.ones((1, len(cases)))


def ovr_auroc(cases: ScoredCases, weights: FloatArray) -> FloatArray:
    """AUROC of each resample: of the second class, or the macro one-versus-rest mean.

    Args:
        cases: N cases.
        weights: Multiplicities, shape (R, N).

    Returns:
        Shape (R,), NaN where a class has no case.
    """
    columns = cases.scored_columns
    areas = [weighted_auroc(cases.probabilities[:, k], cases.labels == k, weights) for k in columns]
    mean: FloatArray = np.asarray(areas).mean(axis=0)
    return mean


def ovr_average_precision(cases: ScoredCases, weights: FloatArray) -> FloatArray:
    """Average precision of each resample; classes, shapes and NaN as in `ovr_auroc`."""
    areas = [
        weighted_average_precision(cases.probabilities[:, k], cases.labels == k, weights)
        for k in cases.scored_columns
    ]
    mean: FloatArray = np.asarray(areas).mean(axis=0)
    return mean


def weighted_confusion(cases: ScoredCases, weights: FloatArray) -> FloatArray:
    """Confusion matrices, shape (R, K, K): label in the rows, prediction in the columns."""
    count = len(cases.classes)
    cell = cases.labels * count + cases.predicted
    member = np.eye(count * count)[cell]
    matrices: FloatArray = (weights @ member).reshape(-1, count, count)
    return matrices


def class_metrics(cases: ScoredCases, weights: FloatArray) -> dict[str, FloatArray]:
    """Sensitivity, specificity and F1 of each class against the rest.

    Args:
        cases: N cases.
        weights: Multiplicities, shape (R, N).

    Returns:
        For each name of `PER_CLASS` an array of shape (R, K), in 0..1. Sensitivity and F1 are NaN
        where the class has no case, specificity where all cases have it.
    """
    confusion = weighted_confusion(cases, weights)
    total = confusion.sum(axis=(1, 2))[:, None]
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    actual, named = confusion.sum(axis=2), confusion.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = hits / actual
        specificity = 1.0 - (named - hits) / (total - actual)
        f1 = np.where(actual > 0, 2 * hits / (actual + named), np.nan)
    return {"sensitivity": sensitivity, "specificity": specificity, "f1": f1}


def pooled_metrics(cases: ScoredCases, weights: FloatArray) -> dict[str, FloatArray]:
    """Every figure of `POOLED`, over all cases whatever their fold.

    Args:
        cases: N cases.
        weights: Multiplicities, shape (R, N).

    Returns:
        For each name an array of shape (R,), NaN where a class has no case and the figure needs
        one: AUROC, average precision, balanced accuracy and macro F1.
    """
    of_class = class_metrics(cases, weights)
    right = (cases.predicted == cases.labels).astype(np.float64)
    return {
        "auroc_pooled": ovr_auroc(cases, weights),
        "average_precision": ovr_average_precision(cases, weights),
        "accuracy": weights @ right / weights.sum(axis=1),
        "balanced_accuracy": of_class["sensitivity"].mean(axis=1),
        "f1_macro": of_class["f1"].mean(axis=1),
        "brier": weighted_brier(cases, weights),
        "ece": weighted_ece(cases, weights),
    }


def fold_mean_auroc(cases: ScoredCases, weights: FloatArray) -> FloatArray:
    """Mean of the folds' AUROC; a fold without a case of every class is left out of the mean.

    Args:
        cases: N cases of one or more folds.
        weights: Multiplicities, shape (R, N).

    Returns:
        Shape (R,), NaN where no fold is left.
    """
    areas = []
    for fold in np.unique(cases.folds):
        inside = cases.folds == fold
        areas.append(ovr_auroc(cases.where(inside), weights[:, inside]))
    table = np.asarray(areas)
    known = ~np.isnan(table)
    total = np.where(known, table, 0.0).sum(axis=0)
    mean: FloatArray = np.full_like(total, np.nan)
    np.divide(total, known.sum(axis=0), out=mean, where=known.any(axis=0))
    return mean


def validation_auroc(labels: IntArray, probabilities: FloatArray) -> float | None:
    """AUROC for the training loop: of the second of two classes, or macro one-versus-rest.

    Args:
        labels: Class indices, shape (N,), in 0..K-1.
        probabilities: Shape (N, K), in 0..1, rows that sum to 1.

    Returns:
        The area in 0..1, or None where a class has no case.

    Raises:
        ValueError: A shape or a value is outside that.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.int64)
    check_scores(truth, scores)
    columns = (1,) if scores.shape[1] == 2 else tuple(range(scores.shape[1]))
    one = np.ones((1, len(truth)))
    area = float(np.mean([weighted_auroc(scores[:, k], truth == k, one)[0] for k in columns]))
    return None if np.isnan(area) else area
