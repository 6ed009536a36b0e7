"""A permutation test of whether a table tells labels: how often it tells shuffled ones as well.

An interval takes the answers of all folds as given, but folds learn from each other's cases, and
with few patients that alone can look like knowledge. Here each shuffling is learnt anew (Ojala and
Garriga 2010, "Permutation Tests for Studying Classifier Performance").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import numpy as np

from .baselines import CodedTable, Lesson, TableFold
from .cases import BoolArray, FloatArray, IntArray

#: With so many shufflings the least p-value is 1 / 400.
SHUFFLINGS = 399

#: Training rows that others are compared with; more of them say little more.
_LANDMARKS = 200
#: Of the squared length of a row; standardised rows have as many as columns.
_PENALTY = 0.1


def shuffled_p(
    table: CodedTable, lesson: Lesson, folds: Sequence[TableFold], seed: int
) -> float | None:
    """One-sided p-value of the out-of-fold AUROC, mean over folds and classes.

    What learns is cheap and finds curved relations and interactions too: ridge regression of the
    classes on the table's columns and on the nearness to training rows. Labels are shuffled within
    each test fold, so that the folds stay stratified: whole patients where a patient has one label,
    and a patient's own cases where he has several.

    Args:
        table: All cases.
        lesson: Their labels and patients.
        folds: Every case is in one test part at most.
        seed: The same seed gives the same value.

    Returns:
        In 0..1, never 0 (Davison and Hinkley 1997, sec. 4.4); None where no fold ranks anything.
    """
    generator = np.random.default_rng(seed)
    rows = [fold.test for fold in folds]
    shuffled = [lesson.labels] + [_shuffled(lesson, rows, generator) for _ in range(SHUFFLINGS)]
    labels = np.stack(shuffled)
    areas = np.stack([_areas(table, lesson.classes, fold, labels) for fold in folds])
    known = ~np.isnan(areas)
    if not known[:, 0].any():
        return None
    counts = known.sum(axis=0)
    means = np.where(counts > 0, np.where(known, areas, 0.0).sum(axis=0) / np.maximum(counts, 1), 0)
    # Ties differ by rounding.
    return float((means >= means[0] - 1e-9).mean())


def _shuffled(
    lesson: Lesson, parts: Sequence[IntArray], generator: np.random.Generator
) -> IntArray:
    found = lesson.labels.copy()
    for part in parts:
        cases: defaultdict[str, list[int]] = defaultdict(list)
        for row in part.tolist():
            cases[str(lesson.patients[row])].append(row)
        pure = [own for own in cases.values() if len(set(lesson.labels[own].tolist())) == 1]
        drawn = generator.permutation(np.array([lesson.labels[own[0]] for own in pure], dtype=int))
        for own, label in zip(pure, drawn.tolist(), strict=True):
            found[own] = label
        for own in cases.values():
            if len(set(lesson.labels[own].tolist())) > 1:
                found[own] = generator.permutation(lesson.labels[own])
    return found


def _areas(table: CodedTable, classes: int, fold: TableFold, labels: IntArray) -> FloatArray:
    """AUROC of each row of labels (P, N) in a fold, macro one-versus-rest; NaN where undefined."""
    training = table.coded(fold.training, fold.training)
    test = table.coded(fold.training, fold.test)
    weights = _ridge(training, test)
    # Of two classes either has the same area.
    judged = range(classes) if classes > 2 else (1,)
    found = [
        _aurocs(
            weights @ _centred(labels[:, fold.training] == label).T, labels[:, fold.test] == label
        )
        for label in judged
    ]
    return cast("FloatArray", np.mean(found, axis=0))


def _centred(own: BoolArray) -> FloatArray:
    return cast("FloatArray", own - own.mean(axis=1, keepdims=True))


def _aurocs(scores: FloatArray, positive: BoolArray) -> FloatArray:
    """Areas (P,) of scores (M, P) for positive cases (P, M), by their ranks (Mann-Whitney)."""
    from scipy.stats import rankdata  # slow to import

    hits = positive.sum(axis=1)
    pairs = hits * (positive.shape[1] - hits)
    above = (rankdata(scores, axis=0).T * positive).sum(axis=1) - hits * (hits + 1) / 2
    return np.where(pairs > 0, above / np.maximum(pairs, 1), np.nan)


def _ridge(training: FloatArray, test: FloatArray) -> FloatArray:
    """What each training row's target counts in each test row's answer, (M, N)."""
    centre, spread = training.mean(axis=0), training.std(axis=0)
    varying = spread > 1e-9 * np.maximum(np.abs(centre), 1.0)
    near, far = (
        (rows[:, varying] - centre[varying]) / spread[varying] for rows in (training, test)
    )
    step = -(-len(near) // _LANDMARKS)
    columns = [
        np.concatenate([rows, _nearness(rows, near[::step])], axis=1) for rows in (near, far)
    ]
    taught, asked = (rows - columns[0].mean(axis=0) for rows in columns)
    penalty = _PENALTY * max(float((taught**2).sum() / max(len(taught), 1)), 1.0)
    inner = taught.T @ taught + penalty * np.eye(taught.shape[1])
    return cast("FloatArray", asked @ np.linalg.solve(inner, taught.T))


def _nearness(rows: FloatArray, landmarks: FloatArray) -> FloatArray:
    """Gaussian of the distance, whose width is that of two rows drawn at random."""
    squares = ((rows[:, None, :] - landmarks[None, :, :]) ** 2).sum(axis=2)
    return cast("FloatArray", np.exp(-squares / max(rows.shape[1], 1)))
