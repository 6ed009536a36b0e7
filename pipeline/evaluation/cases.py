"""Scored cases: what every metric is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
TextArray = NDArray[np.str_]

_SUM_TOLERANCE = 1e-3


def check_scores(labels: IntArray, probabilities: FloatArray) -> None:
    """Refuses labels and probabilities that no metric can be computed from.

    Args:
        labels: Class indices, shape (N,), in 0..K-1.
        probabilities: Shape (N, K), in 0..1, rows that sum to 1 within 0.001.

    Raises:
        ValueError: A shape or a value is outside that.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] < 2 or not len(probabilities):
        raise ValueError(f"probabilities need shape (N, K >= 2), got {probabilities.shape}")
    if labels.shape != probabilities.shape[:1]:
        raise ValueError(f"{labels.shape} labels for {probabilities.shape} probabilities")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels lie outside 0..{probabilities.shape[1] - 1}")
    inside = np.isfinite(probabilities) & (probabilities >= 0.0) & (probabilities <= 1.0)
    if not inside.all():
        raise ValueError(f"row {int(np.argmin(inside.all(axis=1)))} has a probability outside 0..1")
    if np.abs(probabilities.sum(axis=1) - 1.0).max() > _SUM_TOLERANCE:
        row = int(np.abs(probabilities.sum(axis=1) - 1.0).argmax())
        raise ValueError(f"the probabilities of row {row} do not sum to 1")


@dataclass(frozen=True, eq=False)
class ScoredCases:
    """Cases with their labels and the probabilities of a model that has not seen them.

    Attributes:
        labels: Class indices, shape (N,), in 0..K-1.
        probabilities: Shape (N, K), in 0..1, rows that sum to 1.
        patients: Patient of each case, shape (N,); cases of a patient are not independent.
        folds: Fold whose model scored the case, shape (N,).
        classes: Names of the K classes in the order of the columns.

    Raises:
        ValueError: Shapes do not fit or values lie outside their range.
    """

    labels: IntArray
    probabilities: FloatArray
    patients: TextArray
    folds: IntArray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        check_scores(self.labels, self.probabilities)
        if len(self.classes) != self.probabilities.shape[1]:
            raise ValueError(
                f"{len(self.classes)} classes for {self.probabilities.shape[1]} columns"
            )
        if not self.patients.shape == self.folds.shape == self.labels.shape:
            raise ValueError("labels, patients and folds differ in length")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> IntArray:
        """Index of the most probable class, shape (N,); the first one of equal classes."""
        best: IntArray = self.probabilities.argmax(axis=1).astype(np.int64)
        return best

    @property
    def confidence(self) -> FloatArray:
        """Probability of the predicted class, shape (N,), in 1/K..1."""
        top: FloatArray = self.probabilities.max(axis=1)
        return top

    @property
    def patient_count(self) -> int:
        """Number of different patients."""
        return len(np.unique(self.patients))

    @property
    def scored_columns(self) -> tuple[int, ...]:
        """Classes that are ranked: the second of two, each of several (one versus rest)."""
        return (1,) if len(self.classes) == 2 else tuple(range(len(self.classes)))

    def missing(self) -> tuple[str, ...]:
        """Names of the classes that no case carries."""
        present = set(np.unique(self.labels).tolist())
        return tuple(name for index, name in enumerate(self.classes) if index not in present)

    def where(self, chosen: BoolArray) -> ScoredCases:
        """The cases for which `chosen`, shape (N,), is true."""
        return ScoredCases(
            self.labels[chosen],
            self.probabilities[chosen],
            self.patients[chosen],
            self.folds[chosen],
            self.classes,
        )


def scored_cases(
    labels: ArrayLike,
    probabilities: ArrayLike,
    patients: ArrayLike,
    folds: ArrayLike,
    classes: Sequence[str],
) -> ScoredCases:
    """Builds `ScoredCases` from sequences or arrays; see there for shapes and errors."""
    return ScoredCases(
        np.asarray(labels, dtype=np.int64),
        np.asarray(probabilities, dtype=np.float64),
        np.asarray(patients, dtype=np.str_),
        np.asarray(folds, dtype=np.int64),
        tuple(classes),
    )
