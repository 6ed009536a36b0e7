"""The label in disguise: clinical variables that tell the label without any image.

A column that was filled in after the diagnosis makes every network look good and none useful. So
each variable is judged alone, and all of them together, on the cases that teach. Nothing is chosen
by these figures; they go into a file of the run, for the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from ..seeds import derived_seed
from ..storage import write_json
from ..typed_files import read_typed
from .baselines import CodedTable, Learner, Lesson, TableFold, table_answer
from .cases import FloatArray, IntArray
from .probes import inner_splits
from .ranking import weighted_auroc

#: An AUROC above this says that a variable is the label, or was made of it.
DISGUISE = 0.98

_ALONE: tuple[Learner, ...] = ("random_forest",)
_TOGETHER: tuple[Learner, ...] = ("logistic_regression", "random_forest")


class Judged(BaseModel):
    """How well clinical variables tell the label, as AUROC over patients, in 0.5..1.

    Several classes: mean of each class against the rest. Which way a variable points plays no part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    cases: int = Field(ge=1)
    patients: int = Field(ge=1)
    alone: dict[str, float]
    """By name."""
    together: float
    """Of all of them."""

    @property
    def disguised(self) -> tuple[str, ...]:
        """Variables that are the label in disguise."""
        return tuple(name for name, area in self.alone.items() if area > DISGUISE)

    @property
    def is_disguised_together(self) -> bool:
        """Whether all of them together are, and none alone."""
        return self.together > DISGUISE and not self.disguised

    def warnings(self) -> tuple[str, ...]:
        """What puts every result of the run in doubt, a sentence each."""
        measured = f"over {self.patients} patients, without any image"
        found = [
            f"Label in disguise: the covariate {name} alone tells the label (AUROC "
            f"{self.alone[name]:.3f} {measured}). If it was measured after the diagnosis, or made "
            "of it, no result of this run means anything: leave it out of data.covariates."
            for name in self.disguised
        ]
        if self.is_disguised_together:
            found.append(
                f"Label in disguise: the covariates {', '.join(self.alone)} together tell the "
                f"label (AUROC {self.together:.3f} {measured}). If the label was made of them, no "
                "result of this run means anything: leave out what it was made of."
            )
        return tuple(found)


def judge(
    alone: Mapping[str, CodedTable], together: CodedTable, lesson: Lesson, seed: int
) -> Judged:
    """Judges each variable and all of them on the same cases.

    The highest of two or three measures counts: the AUROC of each coded column as it stands, and
    out of fold, by patient, that of a random forest, which also finds a label that is no monotone
    function of a number; of all together that of logistic regression too, which finds a sum of
    them. A word that names a patient is of no use there, for no other part has it.

    Args:
        alone: A table of one variable each, by name.
        together: The table of all.
        lesson: Labels and patients of their rows.
        seed: The same seed gives the same figures.
    """
    areas = {name: _area(table, lesson, _ALONE, seed) for name, table in alone.items()}
    whole = areas[next(iter(areas))] if len(areas) == 1 else None
    return Judged(
        cases=len(lesson.labels),
        patients=len(np.unique(lesson.patients)),
        alone=areas,
        together=_area(together, lesson, _TOGETHER, seed) if whole is None else whole,
    )


def _area(table: CodedTable, lesson: Lesson, learners: tuple[Learner, ...], seed: int) -> float:
    rows = np.arange(len(lesson.labels))
    found = [_columns_area(table.coded(rows, rows), lesson)]
    splits = inner_splits(lesson.labels, lesson.patients, derived_seed(seed, "disguise"))
    # Each learner by itself: choosing between them inside the rows would cost several times that.
    for learner in learners if splits else ():
        areas = []
        for number, (train, held) in enumerate(splits):
            fold, own = TableFold(number, train, held), derived_seed(seed, "disguise", number)
            scores = table_answer(table, lesson, fold, (learner,), own).probabilities
            classes = range(scores.shape[1])
            areas.append(np.mean([_auroc(scores[:, k], k, held, lesson) for k in classes]))
        found.append(float(np.mean(areas)))
    return max(found)


def _columns_area(coded: FloatArray, lesson: Lesson) -> float:
    """For each class the column that tells it best, in whatever direction; their mean."""
    rows = np.arange(len(coded))
    areas = [
        [_auroc(column, label, rows, lesson) for column in coded.T]
        for label in range(lesson.classes)
    ]
    return float(np.mean([max(max(area, 1.0 - area) for area in found) for found in areas]))


def _auroc(scores: FloatArray, label: int, rows: IntArray, lesson: Lesson) -> float:
    """Area of one class against the rest; every patient counts once, however many scans."""
    _, places, counts = np.unique(lesson.patients[rows], return_inverse=True, return_counts=True)
    weights = 1.0 / counts[places]
    area = weighted_auroc(scores, lesson.labels[rows] == label, weights[None, :])[0]
    return float(np.clip(area, 0.0, 1.0))


def write_judged(path: Path, judged: Judged) -> None:
    """Writes the file of a run.

    Raises:
        StorageError: It cannot be written.
    """
    write_json(path, cast("dict[str, JsonValue]", judged.model_dump(mode="json")))


def read_judged(path: Path) -> Judged:
    """Reads what `write_judged` wrote.

    Raises:
        StorageError: It is missing or damaged.
    """
    remedy = "remove it; `volclass train ... --resume` writes it again"
    return read_typed(path, TypeAdapter(Judged), remedy)
