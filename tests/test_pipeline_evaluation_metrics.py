"""Every figure equals scikit-learn's, on plain, tied and resampled cases of 2 to 10 classes."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipeline.evaluation.cases import FloatArray, IntArray, ScoredCases, scored_cases
from pipeline.evaluation.metrics import (
    class_metrics,
    fold_mean_auroc,
    ones,
    pooled_metrics,
    validation_auroc,
    weighted_confusion,
)
from pipeline.evaluation.ranking import precision_on_grid, roc_on_grid

EXACT = 1e-12


def make_cases(seed: int, classes: int, *, size: int = 120, digits: int = 6) -> ScoredCases:
    """Random cases of which every class has some; few digits give ties."""
    rng = np.random.default_rng(seed)
    labels = np.r_[np.arange(classes), rng.integers(0, classes, size - classes)]
    raw = rng.random((size, classes)) + 0.7 * np.eye(classes)[labels]
    steps = 10**digits
    whole = np.floor(raw / raw.sum(axis=1, keepdims=True) * steps)
    whole[:, -1] = steps - whole[:, :-1].sum(axis=1)
    names = [f"class {index}" for index in range(classes)]
    patients = [f"p{index // 3}" for index in range(size)]
    return scored_cases(labels, whole / steps, patients, np.arange(size) % 3, names)


def sklearn_figures(labels: IntArray, scores: FloatArray) -> dict[str, float]:
    """The same figures by scikit-learn."""
    classes = scores.shape[1]
    truth = np.eye(classes, dtype=np.int64)[labels]
    named = scores.argmax(axis=1)
    if classes == 2:
        area = sk.roc_auc_score(labels, scores[:, 1])
        precision = sk.average_precision_score(labels, scores[:, 1])
        brier = sk.brier_score_loss(labels, scores[:, 1])
    else:
        area = sk.roc_auc_score(truth, scores, average="macro")
        precision = sk.average_precision_score(truth, scores, average="macro")
        brier = sk.brier_score_loss(labels, scores, labels=np.arange(classes))
    return {
        "auroc_pooled": float(area),
        "average_precision": float(precision),
        "accuracy": float(sk.accuracy_score(labels, named)),
        "balanced_accuracy": float(sk.balanced_accuracy_score(labels, named)),
        "f1_macro": float(sk.f1_score(labels, named, average="macro", labels=np.arange(classes))),
        "brier": float(brier),
    }


@pytest.mark.parametrize("classes", range(2, 11))
@pytest.mark.parametrize("digits", [1, 2, 6])
def test_pooled_figures_equal_scikit_learn(classes: int, digits: int) -> None:
    cases = make_cases(classes, classes, digits=digits)
    ours = pooled_metrics(cases, ones(cases))
    for name, value in sklearn_figures(cases.labels, cases.probabilities).items():
        assert float(ours[name][0]) == pytest.approx(value, abs=EXACT), name


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 10), digits=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_figures_equal_scikit_learn_for_any_cases(seed: int, classes: int, digits: int) -> None:
    cases = make_cases(seed, classes, size=classes + 20, digits=digits)
    ours = pooled_metrics(cases, ones(cases))
    for name, value in sklearn_figures(cases.labels, cases.probabilities).items():
        assert float(ours[name][0]) == pytest.approx(value, abs=EXACT), name


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_multiplicity_is_the_same_as_repeating_the_case(classes: int) -> None:
    cases = make_cases(1, classes, digits=2)
    drawn = np.random.default_rng(2).integers(0, 4, (5, len(cases)))
    drawn[:, :classes] = 1
    ours = pooled_metrics(cases, drawn.astype(np.float64))
    for row, counts in enumerate(drawn):
        chosen = np.repeat(np.arange(len(cases)), counts)
        theirs = sklearn_figures(cases.labels[chosen], cases.probabilities[chosen])
        for name, value in theirs.items():
            assert float(ours[name][row]) == pytest.approx(value, abs=EXACT), name


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_class_figures_equal_scikit_learn(classes: int) -> None:
    cases = make_cases(3, classes)
    ours = class_metrics(cases, ones(cases))
    for index in range(classes):
        truth, named = cases.labels == index, cases.predicted == index
        recall = sk.recall_score(truth, named)
        specificity = sk.recall_score(~truth, ~named)
        f1 = sk.f1_score(truth, named)
        assert float(ours["sensitivity"][0, index]) == pytest.approx(recall, abs=EXACT)
        assert float(ours["specificity"][0, index]) == pytest.approx(specificity, abs=EXACT)
        assert float(ours["f1"][0, index]) == pytest.approx(f1, abs=EXACT)
    expected = cast("IntArray", sk.confusion_matrix(cases.labels, cases.predicted))
    assert np.array_equal(weighted_confusion(cases, ones(cases))[0], expected)


@given(seed=st.integers(0, 10_000), power=st.floats(0.2, 5.0))
@settings(max_examples=30, deadline=None)
def test_auroc_knows_only_the_order_of_the_scores(seed: int, power: float) -> None:
    cases = make_cases(seed, 2, size=40, digits=3)
    bent = cases.probabilities[:, 1] ** power
    moved = np.stack([1.0 - bent, bent], axis=1)
    assert validation_auroc(cases.labels, moved) == pytest.approx(
        validation_auroc(cases.labels, cases.probabilities), abs=EXACT
    )


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_swapped_classes_give_the_same_auroc_and_opposite_scores_one_minus_it(seed: int) -> None:
    cases = make_cases(seed, 2, size=40, digits=2)
    area = validation_auroc(cases.labels, cases.probabilities)
    assert area is not None
    assert validation_auroc(1 - cases.labels, cases.probabilities[:, ::-1]) == pytest.approx(area)
    assert validation_auroc(1 - cases.labels, cases.probabilities) == pytest.approx(1.0 - area)


def test_equal_scores_are_chance() -> None:
    assert validation_auroc(np.array([0, 1, 1]), np.full((3, 2), 0.5)) == 0.5


def test_an_absent_class_leaves_figures_undefined_not_wrong() -> None:
    assert validation_auroc(np.array([1, 1]), np.full((2, 2), 0.5)) is None
    cases = scored_cases([0, 1], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], ["a", "b"], [0, 0], "xyz")
    figures = pooled_metrics(cases, ones(cases))
    undefined = {name for name, value in figures.items() if np.isnan(value[0])}
    assert undefined == {"auroc_pooled", "average_precision", "balanced_accuracy", "f1_macro"}
    assert cases.missing() == ("z",)


def test_the_mean_over_folds_leaves_out_a_fold_without_a_class() -> None:
    cases = make_cases(5, 2, size=60)
    labels = np.where(cases.folds == 1, 0, cases.labels)
    changed = ScoredCases(labels, cases.probabilities, cases.patients, cases.folds, cases.classes)
    areas = [
        float(sk.roc_auc_score(labels[cases.folds == f], cases.probabilities[cases.folds == f, 1]))
        for f in (0, 2)
    ]
    assert float(fold_mean_auroc(changed, ones(changed))[0]) == pytest.approx(np.mean(areas))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [[0.5, 0.5]], "2,"),
        ([2], [[0.5, 0.5]], "outside 0..1"),
        ([0], [[np.nan, 0.5]], "outside 0..1"),
        ([0], [[0.9, 0.9]], "do not sum"),
        ([0], [[1.0]], "K >= 2"),
    ],
)
def test_impossible_scores_are_refused(
    labels: list[int], scores: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        validation_auroc(np.asarray(labels), np.asarray(scores))


def test_curves_on_a_grid_follow_scikit_learn() -> None:
    cases = make_cases(8, 2, digits=2)
    scores, positive = cases.probabilities[:, 1], cases.labels == 1
    grid = np.linspace(0.0, 1.0, 51)
    fpr, tpr, _ = sk.roc_curve(positive, scores, drop_intermediate=False)
    ours = roc_on_grid(scores, positive, ones(cases), grid)[0]
    assert ours == pytest.approx(np.interp(grid, fpr, tpr), abs=EXACT)
    precision, recall, _ = sk.precision_recall_curve(positive, scores)
    ours = precision_on_grid(scores, positive, ones(cases), grid)[0]
    for wanted, found in zip(grid[1:], ours[1:], strict=True):
        reached = np.flatnonzero(recall >= wanted - 1e-9)[-1]
        assert found == pytest.approx(float(precision[reached]), abs=EXACT)
