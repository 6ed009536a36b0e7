"""Calibration figures against an independent computation by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.calibration import reliability_bins, weighted_ece
from pipeline.evaluation.cases import ScoredCases, scored_cases
from pipeline.evaluation.metrics import ones


def ece_by_hand(cases: ScoredCases, bins: int = 15) -> float:
    """The definition of Guo et al. 2017 in plain loops."""
    total = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = [
            (max(row), int(np.argmax(row)) == label)
            for row, label in zip(cases.probabilities.tolist(), cases.labels, strict=True)
            if low < max(row) <= high
        ]
        if inside:
            confidence = sum(top for top, _ in inside) / len(inside)
            accuracy = sum(right for _, right in inside) / len(inside)
            total += len(inside) / len(cases) * abs(accuracy - confidence)
    return total


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 10), size=st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_ece_equals_its_definition(seed: int, classes: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.full(classes, 0.4), size)
    labels = rng.integers(0, classes, size)
    names = [str(index) for index in range(classes)]
    cases = scored_cases(labels, scores, ["p"] * size, [0] * size, names)
    ours = float(weighted_ece(cases, ones(cases))[0])
    assert ours == pytest.approx(ece_by_hand(cases), abs=1e-12)


def test_ece_of_certain_and_right_is_zero_and_of_certain_and_wrong_is_one() -> None:
    scores = [[1.0, 0.0], [0.0, 1.0]]
    right = scored_cases([0, 1], scores, ["a", "b"], [0, 0], "xy")
    wrong = scored_cases([1, 0], scores, ["a", "b"], [0, 0], "xy")
    assert float(weighted_ece(right, ones(right))[0]) == 0.0
    assert float(weighted_ece(wrong, ones(wrong))[0]) == 1.0


def test_reliability_bins_count_every_case_and_hold_their_accuracy() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(200)
    labels = (rng.random(200) < positive).astype(np.int64)
    scores = np.stack([1.0 - positive, positive], axis=1)
    patients = [f"p{index // 2}" for index in range(200)]
    cases = scored_cases(labels, scores.tolist(), patients, [0] * 200, "xy")
    bins = reliability_bins(cases, np.ones((3, 200)))
    assert sum(item.cases for item in bins) == 200
    gap = sum(item.cases * abs(item.accuracy - item.confidence) for item in bins) / 200
    assert gap == pytest.approx(ece_by_hand(cases), abs=1e-12)
    assert all(item.low == pytest.approx(item.accuracy) == item.high for item in bins)
