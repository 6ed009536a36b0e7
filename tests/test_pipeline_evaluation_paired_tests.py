"""Each test of two classifiers against a direct computation, or one by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from pipeline.evaluation.cases import FloatArray, ScoredCases, scored_cases
from pipeline.evaluation.metrics import fold_mean_auroc, ones
from pipeline.evaluation.paired_tests import (
    bootstrap_p,
    delong,
    fold_differences,
    held_out_ratio,
    holm,
    mcnemar,
    resampled_t,
)

CLASSES = ("healthy", "tumour")


def two_class(
    labels: Sequence[int], scores: Sequence[float] | FloatArray, folds: int = 1
) -> ScoredCases:
    """Cases of a patient each, dealt to folds class by class."""
    p = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(labels)
    fold_of = np.zeros(len(truth), dtype=np.int64)
    for label in (0, 1):
        fold_of[truth == label] = np.arange((truth == label).sum()) % folds
    patients = [f"p{place:04d}" for place in range(len(truth))]
    return scored_cases(truth, np.stack([1 - p, p], axis=1), patients, fold_of, CLASSES)


def direct_delong(labels: Sequence[int], first: FloatArray, second: FloatArray) -> float:
    """The p-value by comparing every positive with every negative case."""
    truth = np.asarray(labels) == 1
    parts = []
    for scores in (first, second):
        pairs = scores[truth][:, None] - scores[~truth][None, :]
        parts.append((pairs > 0) + 0.5 * (pairs == 0))
    rows = np.stack([part.mean(axis=1) for part in parts])
    columns = np.stack([part.mean(axis=0) for part in parts])
    covariance = np.cov(rows) / rows.shape[1] + np.cov(columns) / columns.shape[1]
    contrast = np.array([1.0, -1.0])
    difference = contrast @ rows.mean(axis=1)
    return float(2 * norm.sf(abs(difference) / np.sqrt(contrast @ covariance @ contrast)))


def test_delong_equals_a_calculation_by_hand() -> None:
    labels = [1, 1, 1, 0, 0, 0]
    first = two_class(labels, [0.9, 0.8, 0.3, 0.5, 0.2, 0.1])
    second = two_class(labels, [0.6, 0.4, 0.7, 0.5, 0.65, 0.1])
    # Placements differ by (1/3, 2/3, -1/3) and (0, 2/3, 0): 2/9 with variance 7/81 + 4/81.
    assert delong(first, second).value == pytest.approx(2 * norm.sf(2 / np.sqrt(11)))


@given(st.integers(0, 10_000), st.integers(4, 40), st.booleans())
@settings(max_examples=40, deadline=None)
def test_delong_equals_the_direct_computation(seed: int, count: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = [0, 0, 1, 1, *rng.integers(0, 2, count)]
    scores = rng.uniform(0, 1, (2, len(labels)))
    scores = np.round(scores, 1) if ties else scores
    found = delong(two_class(labels, scores[0]), two_class(labels, scores[1])).value
    if found is not None and found < 1.0:
        assert found == pytest.approx(direct_delong(labels, scores[0], scores[1]), abs=1e-9)
    flipped = [1 - label for label in labels]
    turned = delong(two_class(flipped, 1 - scores[0]), two_class(flipped, 1 - scores[1])).value
    assert turned == pytest.approx(found, abs=1e-9)


def test_delong_over_folds_is_the_mean_of_independent_tests() -> None:
    rng = np.random.default_rng(0)
    labels = [place % 2 for place in range(80)]
    scores = rng.uniform(0, 1, (2, 80))
    first, second = (two_class(labels, row, folds=4) for row in scores)
    differences, variances = [], []
    for fold in range(4):
        inside = first.folds == fold
        parts = (first.where(inside), second.where(inside))
        areas = [fold_mean_auroc(part, ones(part))[0] for part in parts]
        differences.append(areas[0] - areas[1])
        p = direct_delong(parts[0].labels.tolist(), scores[0][inside], scores[1][inside])
        variances.append((differences[-1] / norm.isf(p / 2)) ** 2)
    expected = 2 * norm.sf(abs(np.mean(differences)) / np.sqrt(np.sum(variances) / 16))
    assert delong(first, second).value == pytest.approx(expected)


def test_delong_is_not_given_where_it_has_no_variance() -> None:
    few = delong(two_class([1, 0, 0], [0.9, 0.1, 0.2]), two_class([1, 0, 0], [0.1, 0.9, 0.2]))
    assert few.value is None
    assert "fewer than two cases" in (few.reason or "")
    labels = [1, 1, 0, 0]
    opposite = delong(
        two_class(labels, [0.9, 0.8, 0.2, 0.1]), two_class(labels, [0.1, 0.2, 0.8, 0.9])
    )
    assert opposite.value is None
    assert "do not spread" in (opposite.reason or "")


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
@settings(max_examples=40, deadline=None)
def test_mcnemar_is_the_binomial_test_of_what_one_alone_gets_right(
    answers: list[tuple[bool, bool]],
) -> None:
    labels = [place % 2 for place in range(len(answers))]
    scores = [
        [
            0.9 if (right[which] == (label == 1)) else 0.1
            for label, right in zip(labels, answers, strict=True)
        ]
        for which in (0, 1)
    ]
    gained = sum(first and not second for first, second in answers)
    lost = sum(second and not first for first, second in answers)
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    found = mcnemar(two_class(labels, scores[0]), two_class(labels, scores[1])).value
    assert found == pytest.approx(expected)


def test_the_resampled_t_equals_a_calculation_by_hand() -> None:
    # se^2 = (1/3 + 1/2) x 0.01, t = 0.2 / 0.0912871 = 2.19089; two degrees of freedom.
    found = resampled_t(np.array([0.1, 0.2, 0.3]), 0.5).value
    assert found == pytest.approx(1 - 2.19089 / np.sqrt(2 + 2.19089**2), abs=1e-5)
    assert resampled_t(np.zeros(5), 0.25).value == 1.0
    assert resampled_t(np.array([0.1]), 0.25).reason == "fewer than two test folds"
    same = resampled_t(np.array([0.1, 0.1 + 1e-16, 0.1]), 0.5)
    assert same.value is None
    assert "same in every fold" in (same.reason or "")


def test_the_ratio_of_test_to_training_cases_is_that_of_cross_validation() -> None:
    assert held_out_ratio(np.repeat(np.arange(5), 7)) == pytest.approx(1 / 4)
    assert held_out_ratio(np.array([0, 0, 0, 1])) == pytest.approx(1.0)
    assert held_out_ratio(np.zeros(6, dtype=np.int64)) == np.inf


def test_a_fold_without_a_class_is_left_out_of_the_differences() -> None:
    first = two_class([0, 1, 0, 1, 0], [0.1, 0.9, 0.2, 0.7, 0.3], folds=3)
    assert len(fold_differences(first, first)) == 2


def test_holm_equals_an_example_by_hand() -> None:
    found = holm([0.01, 0.04, 0.03, 0.005])
    assert found == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.5, None, 0.9, 0.02]) == (1.0, None, 1.0, 0.06)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms())
@settings(max_examples=50, deadline=None)
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(
    values: list[float], random: object
) -> None:
    found = [value for value in holm(values) if value is not None]
    assert len(found) == len(values)
    for value, adjusted in zip(values, found, strict=True):
        assert value <= adjusted <= min(1.0, value * len(values)) + 1e-12
    for (one, first), (other, second) in product(zip(values, found, strict=True), repeat=2):
        assert one > other or first <= second + 1e-12


def test_the_bootstrap_p_follows_the_interval_and_is_never_zero() -> None:
    values = np.linspace(-0.02, 0.98, 1000)
    assert bootstrap_p(values, 100) == pytest.approx(2 * 21 / 1001, abs=0.003)
    assert bootstrap_p(values, 100) == bootstrap_p(-values, 100)
    assert bootstrap_p(np.ones(999), 100) == pytest.approx(2 / 1000)
    assert bootstrap_p(np.zeros(999), 100) == 1.0
    assert bootstrap_p(np.ones(999), 4) == 0.125
    assert bootstrap_p(np.array([0.1, np.nan, np.nan, 0.2]), 100) is None
