"""Probes: simple classifiers on features that stay as they are (Alain & Bengio 2016).

Everything that is fitted sees the training part only: the scaling, the classifier, and the choice
of its one hyper-parameter, which is made on inner folds of the training part, by patient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np

from .cases import FloatArray, IntArray, TextArray
from .metrics import validation_auroc

LOGISTIC = "logistic_regression"
NEIGHBOURS = "nearest_neighbours"
KINDS = (LOGISTIC, NEIGHBOURS)
#: What is tried, the stiffest model first: of equally good ones the first is taken. C is the
#: inverse strength of the L2 penalty; k the number of neighbours, at most half of the cases.
CANDIDATES: dict[str, tuple[float, ...]] = {
    LOGISTIC: (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
    NEIGHBOURS: (75, 45, 25, 15, 9, 5, 3, 1),
}
#: Taken where the training part is too small to choose (scikit-learn's own defaults).
DEFAULTS: dict[str, float] = {LOGISTIC: 1.0, NEIGHBOURS: 5}
INNER_FOLDS = 3

_EQUAL = 1e-9
_TOLERANCE = 1e-8
_MOST_NEWTON = 2000

Split = tuple[IntArray, IntArray]


@dataclass(frozen=True, eq=False)
class TrainingPart:
    """What a probe may learn from.

    Attributes:
        features: Shape (N, F), finite.
        labels: Class indices, shape (N,); each of 0..K-1 occurs.
        splits: Inner training and test rows, as `inner_splits` makes them.
    """

    features: FloatArray
    labels: IntArray
    splits: Sequence[Split]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a fitted probe says of the test part.

    Attributes:
        probabilities: Shape (M, K), rows that sum to 1.
        chosen: C, or the number of neighbours.
        inner_folds: Inner folds on which it was chosen; 0 where the default was taken.
    """

    probabilities: FloatArray
    chosen: float
    inner_folds: int


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets the linear algebra of the block run on one thread.

    The same sums then come in the same order on every machine; and these matrices are so small
    that threads wait for each other, many times longer than they work where the machine is shared.
    """
    # Only libraries that are loaded already can be limited.
    import sklearn.linear_model
    import sklearn.neighbors  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def inner_splits(labels: IntArray, patients: TextArray, seed: int) -> tuple[Split, ...]:
    """Inner folds by patient and stratified by class, for choosing hyper-parameters.

    Three, or two where a class has two patients; those in which a part lacks a class are left
    out. None where a class has a single patient.

    Args:
        labels: Class indices, shape (N,); each of 0..K-1 occurs.
        patients: Shape (N,).
        seed: The same seed gives the same folds of the same rows.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    classes = np.unique(labels)
    holders = [len(np.unique(patients[labels == label])) for label in classes]
    count = min(INNER_FOLDS, *holders)
    if count < 2:
        return ()
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    parts = splitter.split(np.zeros((len(labels), 1)), labels, patients)
    return tuple(
        (train.astype(np.int64), test.astype(np.int64))
        for train, test in parts
        if all(len(np.unique(labels[part])) == len(classes) for part in (train, test))
    )


def tuned_answer(kind: str, part: TrainingPart, test: FloatArray) -> Answer:
    """Chooses the hyper-parameter on the inner folds, fits the whole part, and answers.

    Args:
        kind: `logistic_regression` or `nearest_neighbours`.
        part: The training part.
        test: Features of the test part, shape (M, F); nothing is learnt from them.
    """
    fit = _FITS[kind]
    if not part.splits:
        chosen = min(DEFAULTS[kind], _most(kind, len(part.labels)))
        return Answer(fit(part.features, part.labels, test, (chosen,))[0], chosen, 0)
    most = _most(kind, min(len(train) for train, _ in part.splits) // 2)
    candidates = tuple(value for value in CANDIDATES[kind] if value <= most)
    areas = np.mean([_inner_areas(kind, part, split, candidates) for split in part.splits], axis=0)
    chosen = candidates[int(np.argmax(areas >= areas.max() - _EQUAL))]
    answer = fit(part.features, part.labels, test, (chosen,))[0]
    return Answer(answer, chosen, len(part.splits))


def _most(kind: str, cases: int) -> float:
    return max(1, cases) if kind == NEIGHBOURS else np.inf


def _inner_areas(
    kind: str, part: TrainingPart, split: Split, candidates: Sequence[float]
) -> list[float]:
    """AUROC of each candidate on one inner fold; both parts of it have every class."""
    train, test = split
    answers = _FITS[kind](part.features[train], part.labels[train], part.features[test], candidates)
    areas = [validation_auroc(part.labels[test], answer) for answer in answers]
    return [area for area in areas if area is not None]


def _logistic(
    train: FloatArray, labels: IntArray, test: FloatArray, penalties: Sequence[float]
) -> list[FloatArray]:
    """Probabilities of logistic regression, classes weighted evenly, for each C.

    Newton's method is exact to rounding and fast while its matrix is small; beyond, L-BFGS goes
    to the same optimum, which is unique. Each C starts where the one before ended.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    train, test = _row_space(*_scaled(train, test))
    classes = int(labels.max()) + 1
    unknowns = train.shape[1] * (1 if classes == 2 else classes)
    newton = unknowns <= _MOST_NEWTON
    model = LogisticRegression(
        class_weight="balanced",
        solver="newton-cholesky" if newton else "lbfgs",
        tol=_TOLERANCE if newton else 1e-6,
        max_iter=20_000,
        warm_start=True,
    )
    answers = []
    for penalty in penalties:
        model.set_params(C=penalty).fit(train, labels)
        answers.append(_probabilities(model.predict_proba(test)))
    return answers


def _neighbours(
    train: FloatArray, labels: IntArray, test: FloatArray, counts: Sequence[float]
) -> list[FloatArray]:
    """Probabilities of the nearest neighbours, each weighted by 1 / distance, for each k.

    Weighting leaves fewer ties than counting, and ties would blur the AUROC. The neighbours are
    searched once, for the largest k; the rest is `KNeighborsClassifier(weights="distance")`.
    """
    from sklearn.neighbors import NearestNeighbors  # slow to import

    train, test = _scaled(train, test)
    search = NearestNeighbors(n_neighbors=int(max(counts)), algorithm="brute").fit(train)
    distances, places = search.kneighbors(test)
    # One that lies at the very place of the test row speaks alone.
    same = distances == 0.0
    weights = 1.0 / np.where(same, 1.0, distances)
    weights = np.where(same.any(axis=1, keepdims=True), same, weights)
    votes = weights[:, :, None] * np.eye(int(labels.max()) + 1)[labels[places]]
    sums = np.cumsum(votes, axis=1)
    return [
        _probabilities(total / total.sum(axis=1, keepdims=True))
        for total in (sums[:, int(count) - 1] for count in counts)
    ]


_FITS: dict[
    str, Callable[[FloatArray, IntArray, FloatArray, Sequence[float]], list[FloatArray]]
] = {LOGISTIC: _logistic, NEIGHBOURS: _neighbours}


def _scaled(train: FloatArray, test: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean 0 and standard deviation 1 by the training rows; constant features become 0."""
    from sklearn.preprocessing import StandardScaler  # slow to import

    scaler = StandardScaler().fit(train)
    return cast("FloatArray", scaler.transform(train)), cast("FloatArray", scaler.transform(test))


def _row_space(train: FloatArray, test: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same rows in at most N coordinates: those of the space that the training rows span.

    An L2 penalty makes the weights a sum of training rows (the representer theorem), so what lies
    outside that space never enters the model: it is the same model at a fraction of the cost.
    """
    if train.shape[1] <= train.shape[0]:
        return train, test
    basis, _ = np.linalg.qr(train.T)
    return train @ basis, test @ basis


def _probabilities(raw: FloatArray) -> FloatArray:
    """As float64 within 0..1; sums of weights can exceed 1 by rounding."""
    return np.clip(np.asarray(raw, dtype=np.float64), 0.0, 1.0)
