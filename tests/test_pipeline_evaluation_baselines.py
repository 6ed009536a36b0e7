"""Classifiers on tables: they find what is there, and learn nothing from the rows they answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import baselines
from pipeline.evaluation.baselines import (
    FREQUENCIES,
    CaseTable,
    Learner,
    Lesson,
    TableFold,
    frequencies,
    table_answer,
)
from pipeline.evaluation.cases import FloatArray, IntArray
from pipeline.evaluation.metrics import validation_auroc

BOTH: tuple[Learner, ...] = ("logistic_regression", "random_forest")
ALL: tuple[Learner, ...] = (*BOTH, "extra_trees")
CASES, TEST = 120, 40


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for what is tested, and quick."""
    monkeypatch.setattr(baselines, "_TREES", 20)
    monkeypatch.setattr(baselines, "_RANDOM_TREES", 20)


def make_lesson(classes: int = 2) -> Lesson:
    """Two cases a patient; the patients take turns in their class."""
    labels = np.repeat(np.arange(CASES // 2) % classes, 2).astype(np.int64)
    patients = np.array([f"p{place // 2}" for place in range(CASES)])
    return Lesson(labels, patients, classes)


def make_fold() -> TableFold:
    rows = np.arange(CASES, dtype=np.int64)
    return TableFold(0, rows[TEST:], rows[:TEST])


def noise(columns: int = 4) -> FloatArray:
    return np.random.default_rng(columns).normal(0, 1, (CASES, columns))


def area(table: CaseTable, lesson: Lesson, learners: tuple[Learner, ...] = BOTH) -> float:
    fold = make_fold()
    answer = table_answer(table, lesson, fold, learners, 0)
    assert answer.probabilities.sum(axis=1) == pytest.approx(np.ones(TEST))
    found = validation_auroc(lesson.labels[fold.test], answer.probabilities)
    assert found is not None
    return found


def test_frequencies_are_those_of_the_training_rows_for_every_case() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2, 2, 2], dtype=np.int64)
    lesson = Lesson(labels, np.array(list("abcdefgh")), 3)
    fold = TableFold(0, np.arange(4, dtype=np.int64), np.arange(4, 8, dtype=np.int64))
    answer = frequencies(lesson, fold)
    assert answer.probabilities.tolist() == [[0.75, 0.25, 0.0]] * 4
    assert answer.learner == FREQUENCIES


@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_signal_is_found_by_the_simpler_learner(classes: int) -> None:
    lesson = make_lesson(classes)
    numbers = noise()
    numbers[:, :classes] += 3.0 * np.eye(classes)[lesson.labels]
    table = CaseTable(numbers, {})
    assert area(table, lesson) > 0.95
    strong = CaseTable(numbers + 50.0 * np.eye(4)[lesson.labels], {})
    assert table_answer(strong, lesson, make_fold(), BOTH, 0).learner == "logistic_regression"


@pytest.mark.parametrize("forest", ["random_forest", "extra_trees"])
def test_a_signal_between_two_others_is_found_by_a_forest(forest: Learner) -> None:
    lesson = make_lesson()
    learners: tuple[Learner, ...] = ("logistic_regression", forest)
    numbers = noise(1)
    # One class has a value in the middle, the other one on both sides of it.
    numbers[:, 0] = np.where(lesson.labels == 1, 0.0, np.sign(numbers[:, 0])) + 0.1 * numbers[:, 0]
    table = CaseTable(numbers, {})
    assert table_answer(table, lesson, make_fold(), learners, 0).learner == forest
    assert area(table, lesson, learners) > 0.95
    assert area(table, lesson, ("logistic_regression",)) < 0.8


def test_a_category_that_goes_with_the_class_is_found() -> None:
    lesson = make_lesson()
    site = np.where(lesson.labels == 1, "north", "south")
    site[0] = "a hospital that no training row knows"
    assert area(CaseTable(noise(), {"site": site}), lesson) > 0.95


def test_noise_is_not_told_from_chance() -> None:
    areas = []
    for seed in range(4):
        numbers = np.random.default_rng(seed).normal(0, 1, (CASES, 4))
        areas.append(area(CaseTable(numbers, {}), make_lesson()))
    assert 0.35 < float(np.mean(areas)) < 0.65


def test_columns_that_never_vary_tell_nothing() -> None:
    rare = np.full(CASES, "one site")
    rare[TEST] = "another, of a single case"
    for categories in ({}, {"site": rare}):
        table = CaseTable(np.full((CASES, 3), 7.0), categories)
        assert area(table, make_lesson()) == 0.5


@pytest.mark.parametrize("learner", ALL)
def test_nothing_is_learnt_from_test_rows_or_their_labels(learner: Learner) -> None:
    lesson, fold = make_lesson(), make_fold()
    numbers = noise()
    numbers[:, 0] += lesson.labels
    site = np.array(["a", "b"] * (CASES // 2), dtype="<U9")
    plain = table_answer(CaseTable(numbers, {"site": site}), lesson, fold, (learner,), 0)
    wild, elsewhere = numbers.copy(), site.copy()
    wild[: TEST // 2], elsewhere[: TEST // 2] = 1e6, "elsewhere"
    flipped = replace(lesson, labels=lesson.labels.copy())
    flipped.labels[fold.test] = 1 - flipped.labels[fold.test]
    other = table_answer(CaseTable(wild, {"site": elsewhere}), flipped, fold, (learner,), 0)
    half = TEST // 2
    assert other.probabilities[half:] == pytest.approx(plain.probabilities[half:], abs=1e-12)


def test_the_choice_of_the_learner_sees_training_rows_only() -> None:
    lesson, fold = make_lesson(), make_fold()
    numbers = noise()
    plain = table_answer(CaseTable(numbers, {}), lesson, fold, BOTH, 0)
    telling = numbers.copy()
    telling[fold.test, 0] = 100.0 * lesson.labels[fold.test]
    other = table_answer(CaseTable(telling, {}), lesson, fold, BOTH, 0)
    assert other.learner == plain.learner


@pytest.mark.parametrize("learner", ALL)
def test_equal_rows_give_equal_bits(learner: Learner) -> None:
    table = CaseTable(noise(), {})
    first, second = (
        table_answer(table, make_lesson(), make_fold(), (learner,), 3) for _ in range(2)
    )
    assert first.probabilities.tobytes() == second.probabilities.tobytes()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("learner", ALL)
def test_a_rare_class_is_as_probable_as_it_is_rare(learner: Learner, classes: int) -> None:
    lesson, fold = make_lesson(classes), make_fold()
    # One in eight of the training rows of class 0 is left; nothing tells the classes apart.
    common = lesson.labels[fold.training] != 0
    fold = replace(fold, training=fold.training[common | (np.arange(CASES - TEST) % 8 == 0)])
    share = float((lesson.labels[fold.training] == 0).mean())
    table = CaseTable(np.full((CASES, 3), 7.0), {})
    even = table_answer(table, lesson, fold, (learner,), 0)
    real = table_answer(table, lesson, fold, (learner,), 0, at_shares=True)
    # Trees that drew no row of a rare class at all keep a forest from the exact shares.
    assert even.probabilities[:, 0] == pytest.approx(np.full(TEST, 1 / classes), abs=0.15)
    assert real.probabilities[:, 0] == pytest.approx(np.full(TEST, share), abs=0.06)
    assert real.probabilities.sum(axis=1) == pytest.approx(np.ones(TEST))


def test_bringing_answers_to_the_shares_keeps_the_order_of_two_classes() -> None:
    lesson, fold = make_lesson(), make_fold()
    rare = (lesson.labels[fold.training] == 1) & (np.arange(CASES - TEST) % 5 != 0)
    fold = replace(fold, training=fold.training[~rare])
    numbers = noise()
    numbers[:, 0] += lesson.labels
    both = [
        table_answer(CaseTable(numbers, {}), lesson, fold, BOTH, 0, at_shares=at_shares)
        for at_shares in (False, True)
    ]
    even, real = (answer.probabilities[:, 1] for answer in both)
    assert np.argsort(even, kind="stable").tolist() == np.argsort(real, kind="stable").tolist()
    assert real.mean() < even.mean()
    assert both[0].learner == both[1].learner


def test_without_inner_folds_the_first_learner_is_taken() -> None:
    labels = np.array([0, 0, 1, 1, 0, 1], dtype=np.int64)
    lesson = Lesson(labels, np.array(["a", "a", "b", "b", "c", "d"]), 2)
    fold = TableFold(0, np.arange(4, dtype=np.int64), np.arange(4, 6, dtype=np.int64))
    table = CaseTable(np.arange(6.0)[:, None], {})
    answer = table_answer(table, lesson, fold, BOTH, 0)
    assert answer.learner == "logistic_regression"
    assert answer.probabilities.shape == (2, 2)


words = st.lists(st.sampled_from(["", "a", "b", "c", "ü"]), min_size=2, max_size=12)


@given(words, st.integers(1, 11))
@settings(deadline=None)
def test_words_are_coded_by_the_training_rows(column: list[str], cut: int) -> None:
    cut = min(cut, len(column) - 1)
    rows: IntArray = np.arange(len(column), dtype=np.int64)
    table = CaseTable(np.zeros((len(column), 1)), {"word": np.array(column, dtype=np.str_)})
    known = set(column[:cut])
    coded = table.coded(rows[:cut], rows)
    assert coded.shape == (len(column), 1 + len(known))
    assert coded.sum(axis=1).tolist() == [float(word in known) for word in column]
    for one, word in enumerate(column):
        same = [other for other in range(len(column)) if (coded[one] == coded[other]).all()]
        alike = [o for o, w in enumerate(column) if w == word or {w, word}.isdisjoint(known)]
        assert same == alike
