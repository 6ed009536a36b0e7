"""Classifiers on tables of plain numbers: what can be told without any network.

Everything that is learnt, the coding of categories, scales, penalties and which kind of model is
taken, comes from the training rows of a fold alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import numpy as np

from ..seeds import derived_seed
from .cases import FloatArray, IntArray, TextArray
from .metrics import validation_auroc
from .probes import LOGISTIC, TrainingPart, inner_splits, one_thread, tuned_answer

FREQUENCIES = "class_frequencies"
FOREST = "random_forest"
EXTRA_TREES = "extra_trees"
Learner = Literal["logistic_regression", "random_forest", "extra_trees"]

_TREES = 100
#: Thresholds drawn at random need more trees than searched ones to agree.
_RANDOM_TREES = 500
#: Cases that a leaf holds at least; with fewer the trees learn single patients by heart.
_LEAF = 3
_EQUAL = 1e-9


class CodedTable(Protocol):
    """What is known of N cases, as numbers that training rows decide the coding of."""

    def coded(self, training: IntArray, wanted: IntArray) -> FloatArray:
        """The wanted rows, M of them, as numbers: shape (M, F'), finite."""


@dataclass(frozen=True, eq=False)
class CaseTable:
    """What is known of N cases.

    Attributes:
        numbers: Shape (N, F), finite.
        categories: Columns of words by name, each of shape (N,).
    """

    numbers: FloatArray
    categories: Mapping[str, TextArray]

    def coded(self, training: IntArray, wanted: IntArray) -> FloatArray:
        """Rows as numbers: a column of 0 and 1 for each word that the training rows know.

        A word that only other rows have, such as the site of a new hospital, is 0 in all of its
        columns: nothing could be learnt of it.

        Args:
            training: Rows that decide which words have a column.
            wanted: Rows to code, M of them.

        Returns:
            Shape (M, F + words).
        """
        parts = [self.numbers[wanted]]
        for _, column in sorted(self.categories.items()):
            words = np.unique(column[training])
            parts.append((column[wanted][:, None] == words[None, :]).astype(np.float64))
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True, eq=False)
class Lesson:
    """Who is to be told apart.

    Attributes:
        labels: Class indices, shape (N,).
        patients: Shape (N,).
        classes: Number of classes.
    """

    labels: IntArray
    patients: TextArray
    classes: int


@dataclass(frozen=True, eq=False)
class TableFold:
    """Rows of one fold: `training` has every class, and no patient of `test`."""

    number: int
    training: IntArray
    test: IntArray


@dataclass(frozen=True, eq=False)
class TableAnswer:
    """What a classifier says of the test rows of a fold.

    Attributes:
        probabilities: Shape (M, K), rows that sum to 1.
        learner: What was taken.
    """

    probabilities: FloatArray
    learner: str


def frequencies(lesson: Lesson, fold: TableFold) -> TableAnswer:
    """The share of each class in the training rows, for every case alike."""
    counts = np.bincount(lesson.labels[fold.training], minlength=lesson.classes)
    shares = counts / counts.sum()
    return TableAnswer(np.tile(shares, (len(fold.test), 1)), FREQUENCIES)


def table_answer(
    table: CodedTable,
    lesson: Lesson,
    fold: TableFold,
    learners: Sequence[Learner],
    seed: int,
    *,
    at_shares: bool = False,
) -> TableAnswer:
    """The answer of the learner that ranks best on inner folds of the training rows, by patient.

    Each of them tunes what it has to tune inside the rows it is given, so the choice between them
    is fair; of equally good ones the first is taken, and where the rows are too few to choose.

    Args:
        table: All cases.
        lesson: Their labels and patients.
        fold: The rows.
        learners: What is tried, the simplest first.
        seed: The same seed gives the same answer.
        at_shares: The learners weigh the classes evenly, which makes a rare class too probable.
            True brings their answers to the classes' shares in the training rows.
    """
    features = table.coded(fold.training, fold.training)
    test = table.coded(fold.training, fold.test)
    labels, patients = lesson.labels[fold.training], lesson.patients[fold.training]
    with one_thread():
        learner = learners[0]
        if len(learners) > 1:
            learner = _best(learners, features, labels, patients, seed)
        answer = _fitted(learner, features, labels, patients, test, seed)
    return TableAnswer(_at_shares(answer, labels) if at_shares else answer, learner)


def _at_shares(even: FloatArray, labels: IntArray) -> FloatArray:
    """Probabilities learnt of evenly weighted classes, at the classes' shares among `labels`.

    By Bayes' rule, as Saerens, Latinne and Decaestecker 2002 (Neural Computation 14:21) write it;
    of two classes, the order of the cases stays the same.
    """
    weighted = even * np.bincount(labels, minlength=even.shape[1])
    return cast("FloatArray", weighted / weighted.sum(axis=1, keepdims=True))


def _best(
    learners: Sequence[Learner],
    features: FloatArray,
    labels: IntArray,
    patients: TextArray,
    seed: int,
) -> Learner:
    splits = inner_splits(labels, patients, derived_seed(seed, "which"))
    if not splits:
        return learners[0]
    areas: list[float] = []
    for learner in learners:
        found = []
        for train, held in splits:
            answer = _fitted(
                learner, features[train], labels[train], patients[train], features[held], seed
            )
            area = validation_auroc(labels[held], answer)
            assert area is not None  # inner folds without a class are left out
            found.append(area)
        areas.append(float(np.mean(found)))
    return learners[int(np.argmax(np.array(areas) >= max(areas) - _EQUAL))]


def _fitted(
    learner: Learner,
    features: FloatArray,
    labels: IntArray,
    patients: TextArray,
    test: FloatArray,
    seed: int,
) -> FloatArray:
    if learner == "logistic_regression":
        splits = inner_splits(labels, patients, derived_seed(seed, "penalty"))
        part = TrainingPart(features, labels, splits)
        with warnings.catch_warnings():
            # Where no column varies the gradient is 0 from the start: Newton's search finds no way
            # down, says so, and leaves the rest to L-BFGS, whose optimum is the same.
            warnings.filterwarnings("ignore", message="Line search of Newton solver")
            return tuned_answer(LOGISTIC, part, test).probabilities
    return _forest(learner, features, labels, test, seed)


def _forest(
    learner: Learner, features: FloatArray, labels: IntArray, test: FloatArray, seed: int
) -> FloatArray:
    """Probabilities of a forest, classes weighted evenly.

    Random (Breiman 2001), or extremely randomised (Geurts, Ernst and Wehenkel 2006).
    """
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier  # slow to import

    extra = learner == EXTRA_TREES
    forest = (ExtraTreesClassifier if extra else RandomForestClassifier)(
        n_estimators=_RANDOM_TREES if extra else _TREES,
        min_samples_leaf=_LEAF,
        class_weight="balanced",
        random_state=seed,
        n_jobs=1,
    )
    raw = forest.fit(features, labels).predict_proba(test)
    return np.clip(np.asarray(raw, dtype=np.float64), 0.0, 1.0)
