"""What networks that differ in their seed alone reach, each for itself, and all of them together.

The deviation over seeds tells how much of a difference is luck of training; the interval over
patients, which the comparison gives, how much is luck of the patients. Neither is the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .cases import FloatArray, ScoredCases, scored_cases
from .metrics import fold_mean_auroc, ones


@dataclass(frozen=True, slots=True)
class SeedFigures:
    """AUROC (mean over folds) and accuracy of each seed.

    Attributes:
        auroc: One a seed, in 0..1.
        accuracy: The same.
    """

    auroc: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.auroc)

    @property
    def mean_auroc(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.auroc))

    @property
    def mean_accuracy(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.accuracy))

    @property
    def auroc_deviation(self) -> float | None:
        """Sample standard deviation over the seeds; None of a single one."""
        return float(np.std(self.auroc, ddof=1)) if self.seeds > 1 else None

    @property
    def accuracy_deviation(self) -> float | None:
        """Sample standard deviation over the seeds; None of a single one."""
        return float(np.std(self.accuracy, ddof=1)) if self.seeds > 1 else None


def seed_figures(by_seed: Sequence[ScoredCases]) -> SeedFigures:
    """Figures of the same cases, answered by each seed."""
    areas = [float(fold_mean_auroc(cases, ones(cases))[0]) for cases in by_seed]
    right = [float(np.mean(cases.predicted == cases.labels)) for cases in by_seed]
    return SeedFigures(tuple(areas), tuple(right))


def scored_by_seed(
    rows: Sequence[Mapping[str, str]], classes: Sequence[str]
) -> dict[int, ScoredCases]:
    """Answers by seed, the cases of each in the order of their ids.

    Args:
        rows: Of `seeds.csv` of all folds, or of `predictions.csv`, which count as one seed.
        classes: In column order.
    """
    places = {name: place for place, name in enumerate(classes)}
    found: dict[int, list[Mapping[str, str]]] = {}
    for row in sorted(rows, key=lambda row: row["case_id"]):
        found.setdefault(int(row.get("seed", 0)), []).append(row)
    return {
        seed: scored_cases(
            [places[row["label"]] for row in own],
            [[float(row[f"p_{name}"]) for name in classes] for row in own],
            [row["patient_id"] for row in own],
            [int(row["fold"]) for row in own],
            classes,
        )
        for seed, own in sorted(found.items())
    }


def together(answers: Sequence[ScoredCases]) -> ScoredCases:
    """The mean probability of several answers to the same cases, in the same order."""
    first = answers[0]
    mean: FloatArray = np.mean([item.probabilities for item in answers], axis=0)
    return scored_cases(first.labels, mean, first.patients, first.folds, first.classes)
