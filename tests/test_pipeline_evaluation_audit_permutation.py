"""A permutation test of metadata: it finds what tells, and is seldom wrong where nothing does."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation import audit_permutation
from pipeline.evaluation.audit_permutation import shuffled_p
from pipeline.evaluation.baselines import CaseTable, Lesson, TableFold
from pipeline.evaluation.cases import FloatArray, IntArray

FOLDS = 3


def lesson(patients: int, scans: int = 1, classes: int = 2) -> tuple[Lesson, list[TableFold]]:
    who = np.repeat(np.arange(patients), scans)
    labels = who % classes
    part = (who // classes) % FOLDS
    folds = [
        TableFold(number, np.flatnonzero(part != number), np.flatnonzero(part == number))
        for number in range(FOLDS)
    ]
    names = np.array([f"p{number}" for number in who], dtype=np.str_)
    return Lesson(labels.astype(np.int64), names, classes), folds


def p_value(numbers: FloatArray, taught: Lesson, folds: list[TableFold], seed: int = 0) -> float:
    found = shuffled_p(CaseTable(numbers, {}), taught, folds, seed)
    assert found is not None
    return found


def noise(rows: int, seed: int) -> FloatArray:
    return np.random.default_rng([seed, 3]).normal(size=(rows, 4))


def ring(labels: IntArray, numbers: FloatArray) -> FloatArray:
    """One class is near the middle of the others: no straight line tells it."""
    return np.asarray(numbers * np.where(labels == 1, 0.1, 2.0)[:, None])


@pytest.mark.parametrize("classes", [2, 3])
def test_a_column_that_is_the_label_is_found(classes: int) -> None:
    taught, folds = lesson(36, classes=classes)
    numbers = noise(36, 1)
    numbers[:, 0] += 5.0 * taught.labels
    assert p_value(numbers, taught, folds) == 1 / (audit_permutation.SHUFFLINGS + 1)


def test_a_relation_that_is_no_line_is_found() -> None:
    taught, folds = lesson(48)
    assert p_value(ring(taught.labels, noise(48, 2)), taught, folds) < 0.025


def test_noise_is_seldom_called_a_shortcut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_permutation, "SHUFFLINGS", 79)
    taught, folds = lesson(24)
    found = [p_value(noise(24, seed), taught, folds, seed) for seed in range(60)]
    # At a level of 0.05 three of 60 are expected; eight or more come in 1 of 100 repetitions.
    assert sum(value < 0.05 for value in found) < 8
    assert 0.3 < float(np.mean(found)) < 0.7


def test_what_tells_patients_and_not_labels_is_no_shortcut() -> None:
    taught, folds = lesson(18, scans=6)
    own = np.repeat(noise(18, 4), 6, axis=0)
    assert p_value(own, taught, folds) > 0.025


def test_nothing_to_learn_from_is_no_shortcut_and_equal_seeds_give_equal_values() -> None:
    taught, folds = lesson(24)
    assert p_value(np.zeros((24, 2)), taught, folds) == 1.0
    numbers = noise(24, 5)
    assert p_value(numbers, taught, folds, 7) == p_value(numbers, taught, folds, 7)


def test_folds_of_one_class_rank_nothing() -> None:
    taught, folds = lesson(12)
    labels = np.zeros(12, dtype=np.int64)
    assert (
        shuffled_p(CaseTable(noise(12, 6), {}), Lesson(labels, taught.patients, 2), folds, 0)
        is None
    )
