"""Probes: equal to plain scikit-learn, tuned by training rows alone, deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.cases import FloatArray, IntArray, TextArray, scored_cases
from pipeline.evaluation.probe_results import auroc_difference
from pipeline.evaluation.probes import (
    CANDIDATES,
    DEFAULTS,
    KINDS,
    LOGISTIC,
    NEIGHBOURS,
    TrainingPart,
    inner_splits,
    one_thread,
    tuned_answer,
)


@dataclass(frozen=True)
class Data:
    """Rows of a training and a test part."""

    train: FloatArray
    labels: IntArray
    patients: TextArray
    test: FloatArray

    def part(self, seed: int = 0) -> TrainingPart:
        """With inner folds."""
        return TrainingPart(self.train, self.labels, inner_splits(self.labels, self.patients, seed))


def make_data(features: int, classes: int = 2, *, cases: int = 60, strength: float = 1.0) -> Data:
    """Two cases a patient; the first columns carry signal, one is constant, scales differ."""
    rng = np.random.default_rng([features, classes, cases])
    labels = np.repeat(np.arange(cases // 2) % classes, 2).astype(np.int64)
    scales = rng.uniform(0.01, 100.0, features)

    def rows(truth: NDArray[np.int64]) -> FloatArray:
        block = rng.normal(0, 1, (len(truth), features))
        block[:, :classes] += strength * np.eye(classes)[truth]
        block[:, -1] = 0.0
        result: FloatArray = block * scales + 3.0
        return result

    patients = np.array([f"p{place // 2}" for place in range(cases)])
    return Data(rows(labels), labels, patients, rows(np.arange(20, dtype=np.int64) % classes))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("features", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_a_probe_equals_a_plain_pipeline(features: int, classes: int) -> None:
    data = make_data(features, classes)
    weights = {"class_weight": "balanced", "solver": "newton-cholesky", "tol": 1e-10}
    for kind in KINDS:
        answer = tuned_answer(kind, data.part(), data.test)
        model = (
            LogisticRegression(C=answer.chosen, max_iter=1000, **weights)
            if kind == LOGISTIC
            else KNeighborsClassifier(int(answer.chosen), weights="distance")
        )
        plain = make_pipeline(StandardScaler(), model).fit(data.train, data.labels)
        expected = plain.predict_proba(data.test)
        assert answer.probabilities == pytest.approx(expected, abs=1e-6)
        assert answer.inner_folds == 3


@pytest.mark.slow
def test_many_unknowns_have_the_same_optimum() -> None:
    data = make_data(1100, 4, cases=600)
    part = TrainingPart(data.train, data.labels, ())
    answer = tuned_answer(LOGISTIC, part, data.test)
    assert min(data.train.shape) * 4 > 2000
    # Weights of the penalised optimum balance its gradient: no solver is needed to check it.
    scaled = StandardScaler().fit(data.train)
    inside = tuned_answer(LOGISTIC, part, data.train).probabilities
    excess = (np.eye(4)[data.labels] - inside) * (len(data.labels) / 4 / 150)
    weights = scaled.transform(data.train).T @ excess * DEFAULTS[LOGISTIC]
    logits = scaled.transform(data.test) @ weights
    spread = np.log(answer.probabilities) - logits
    # What is left is the intercept: one number a class, and one a row that normalises.
    left = spread - spread.mean(axis=1, keepdims=True)
    assert np.abs(left - left.mean(axis=0)).max() < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_learnt_from_test_rows(kind: str) -> None:
    data = make_data(30)
    half = len(data.test) // 2
    wild = data.test.copy()
    wild[half:] = np.random.default_rng(0).normal(1e6, 1e30, wild[half:].shape)
    plain, other = (tuned_answer(kind, data.part(), test) for test in (data.test, wild))
    assert other.chosen == plain.chosen
    assert other.probabilities[:half] == pytest.approx(plain.probabilities[:half], abs=1e-12)
    assert np.isfinite(other.probabilities).all()


@pytest.mark.parametrize("kind", KINDS)
def test_scales_and_offsets_of_features_play_no_part(kind: str) -> None:
    data = make_data(20)
    rng = np.random.default_rng(1)
    order, scale = rng.permutation(20), rng.uniform(0.1, 9.0, 20) * rng.choice([-1.0, 1.0], 20)
    part = data.part()
    moved = TrainingPart(data.train[:, order] * scale - 5.0, data.labels, part.splits)
    plain = tuned_answer(kind, part, data.test)
    other = tuned_answer(kind, moved, data.test[:, order] * scale - 5.0)
    assert other.chosen == plain.chosen
    assert other.probabilities == pytest.approx(plain.probabilities, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_runs_give_equal_bits(kind: str) -> None:
    data = make_data(200, 3)
    with one_thread():
        first, second = (tuned_answer(kind, data.part(), data.test) for _ in range(2))
    assert first.probabilities.tobytes() == second.probabilities.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_of_equally_good_candidates_the_stiffest_is_taken(kind: str) -> None:
    data = make_data(8, strength=60.0)
    limit = 20  # half of the 40 inner training rows
    stiffest = max(k for k in CANDIDATES[kind] if k <= limit) if kind == NEIGHBOURS else 1e-4
    assert tuned_answer(kind, data.part(), data.test).chosen == stiffest


@pytest.mark.parametrize(("holders", "folds"), [((9, 3), 3), ((9, 2), 2), ((9, 1), 0), ((1, 1), 0)])
def test_inner_folds_fit_the_rarest_class(holders: Sequence[int], folds: int) -> None:
    labels = np.repeat([0, 1], [2 * count for count in holders]).astype(np.int64)
    patients = np.array([f"p{place // 2}" for place in range(len(labels))])
    splits = inner_splits(labels, patients, 0)
    assert len(splits) == folds
    for train, test in splits:
        assert not set(patients[train]) & set(patients[test])
        assert set(labels[train]) == set(labels[test]) == {0, 1}


def test_inner_folds_that_lack_a_class_are_left_out() -> None:
    # All cases of both classes but two lie in one patient: it cannot be in two parts.
    labels = np.array([0, 1, 0, 1, 0, 0, 1, 1], dtype=np.int64)
    patients = np.array(["a", "a", "a", "a", "b", "b", "c", "c"])
    for seed in range(10):
        for train, test in inner_splits(labels, patients, seed):
            assert set(labels[train]) == set(labels[test]) == {0, 1}


@pytest.mark.parametrize("kind", KINDS)
def test_without_inner_folds_the_default_is_taken(kind: str) -> None:
    data = make_data(6, cases=8)
    small = TrainingPart(data.train[:4], np.array([0, 0, 1, 1]), ())
    answer = tuned_answer(kind, small, data.test)
    assert answer.chosen == (4 if kind == NEIGHBOURS else 1.0)
    assert answer.inner_folds == 0
    assert answer.probabilities.shape == (20, 2)


def test_a_test_row_at_the_place_of_a_training_row_gets_its_label() -> None:
    data = make_data(6)
    answer = tuned_answer(NEIGHBOURS, data.part(), data.train)
    own = answer.probabilities[np.arange(len(data.labels)), data.labels]
    assert own == pytest.approx(np.ones(len(data.labels)), abs=1e-3)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(120) % 2
    shared = 0.8 * labels + rng.normal(0, 1, 120)
    patients, folds = [f"p{place // 2}" for place in range(120)], np.arange(120) // 2 % 3
    cases = []
    for spoilt in (0.1, 0.5):
        score = 1 / (1 + np.exp(-shared - rng.normal(0, spoilt, 120)))
        both = np.stack([1 - score, score], axis=1)
        cases.append(scored_cases(labels, both, patients, folds, ("a", "b")))
    value = auroc_difference(cases[0], cases[1], resamples=500, seed=1)
    back = auroc_difference(cases[1], cases[0], resamples=500, seed=1)
    assert value.estimate is not None
    assert value.low is not None
    assert value.high is not None
    assert value.low < value.estimate < value.high
    assert value.high - value.low < 0.15
    assert back.estimate == pytest.approx(-value.estimate)
    assert back.low == pytest.approx(-value.high)
    assert auroc_difference(cases[0], cases[0]).estimate == 0.0
    assert auroc_difference(cases[0], cases[0]).low is None
