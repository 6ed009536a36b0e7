"""The CSV files of a run folder: predictions, training logs and left-out cases."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import StorageError
from ..evaluation.answers import Answer, is_most_probable, scored_answers
from ..evaluation.cases import ScoredCases
from ..storage import read_table

_REMEDY = "restore the file, or delete it and predict again with --resume"
_OTHER_REMEDIES = {
    # A fold counts as finished while its predictions are there.
    "slices.csv": "restore the file, or delete it and the predictions.csv beside it, and predict "
    "again with --resume"
}


@dataclass(frozen=True)
class Epoch:
    """One row of a fold's `log.csv`; epochs count from 1, losses are None where not logged."""

    epoch: int
    train_loss: float | None
    validation_loss: float | None
    validation_auroc: float | None
    best: bool
    seconds: float | None


@dataclass(frozen=True)
class LeftOut:
    """A case that could not be used, and why."""

    case_id: str
    file: str
    code: str
    reason: str
    remedy: str


def read_log(path: Path) -> tuple[Epoch, ...] | None:
    """Reads the training log of a fold; None where there is none.

    A loss that is not finite becomes None: a gap in the curve, not a reason to refuse the run.

    Raises:
        StorageError: The file is damaged.
    """
    if not path.exists():
        return None
    return tuple(
        Epoch(
            epoch=int(cell_number(path, row, "epoch") or 0),
            train_loss=cell_number(path, row, "train_loss"),
            validation_loss=cell_number(path, row, "validation_loss"),
            validation_auroc=cell_number(path, row, "validation_auroc"),
            best=cell_number(path, row, "best") == 1.0,
            seconds=cell_number(path, row, "seconds"),
        )
        for row in table_rows(path, ("epoch", "train_loss", "validation_loss", "best"))
    )


def read_left_out(path: Path) -> tuple[LeftOut, ...] | None:
    """Reads the quarantined cases; None where the file is missing.

    Raises:
        StorageError: The file is damaged.
    """
    if not path.exists():
        return None
    columns = ("case_id", "file", "code", "reason", "remedy")
    return tuple(LeftOut(*(row[name] for name in columns)) for row in table_rows(path, columns))


def read_predictions(
    run: Path, classes: Sequence[str], expected: Mapping[str, tuple[int, str, str]]
) -> tuple[tuple[str, ...], ScoredCases]:
    """Reads the out-of-fold predictions of all finished folds.

    Args:
        run: The run folder; its `predictions.csv` and those of its folds are joined.
        classes: Class names in order.
        expected: Fold, patient and label of each case that may have a prediction.

    Returns:
        Case ids, sorted, and their scores in the same order.

    Raises:
        StorageError: There is none, or one is damaged, doubled or not of this run's test cases.
    """
    paths = [run / "predictions.csv"]
    paths += [run / f"fold_{fold}" / "predictions.csv" for fold in _fold_numbers(expected)]
    rows: dict[str, Answer] = {}
    for path in paths:
        if not path.exists():
            continue
        found = _prediction_file(path, classes, expected)
        for case, row in found.items():
            if case in rows and not rows[case].agrees(row):
                raise damaged_table(path, f"case {case!r} differs from the run's predictions.csv")
        rows |= {case: row for case, row in found.items() if case not in rows}
    if not rows:
        raise StorageError(
            "the run has no predictions yet",
            where=str(run),
            why="no fold is finished",
            remedy="continue the training with --resume, then make the report",
        )
    try:
        return scored_answers(rows, classes)
    except ValueError as error:
        raise damaged_table(run / "predictions.csv", str(error)) from error


def _fold_numbers(expected: Mapping[str, tuple[int, str, str]]) -> list[int]:
    return sorted({fold for fold, _, _ in expected.values()})


def _prediction_file(
    path: Path, classes: Sequence[str], expected: Mapping[str, tuple[int, str, str]]
) -> dict[str, Answer]:
    columns = ["case_id", "patient_id", "fold", "label", "prediction"]
    columns += [f"p_{name}" for name in classes]
    result: dict[str, Answer] = {}
    for cells in table_rows(path, columns):
        case = cells["case_id"]
        planned = expected.get(case)
        if planned is None:
            raise damaged_table(path, f"case {case!r} is a test case of no fold of this run")
        if (cells["fold"], cells["patient_id"], cells["label"]) != (str(planned[0]), *planned[1:]):
            raise damaged_table(
                path, f"fold, patient or label of case {case!r} differ from folds.json"
            )
        if case in result:
            raise damaged_table(path, f"case {case!r} stands in it twice")
        values = tuple(cell_number(path, cells, f"p_{name}") for name in classes)
        known = tuple(value for value in values if value is not None)
        if len(known) < len(values):
            raise damaged_table(path, f"case {case!r} lacks a probability")
        if not is_most_probable(cells["prediction"], dict(zip(classes, known, strict=True))):
            raise damaged_table(
                path, f"the prediction of case {case!r} is not its most probable class"
            )
        result[case] = Answer(planned[1], planned[0], list(classes).index(planned[2]), known)
    return result


def table_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV, all cells as text.

    Raises:
        StorageError: The file is no complete table or lacks one of `columns`.
    """
    try:
        rows = read_table(path)
    except (ValueError, csv.Error) as error:
        raise damaged_table(path, f"it is not a complete table ({error})") from error
    lacking = [name for name in columns if rows and name not in rows[0]]
    if lacking:
        raise damaged_table(path, f"column {lacking[0]!r} is missing")
    return rows


def cell_number(path: Path, row: Mapping[str, str], column: str) -> float | None:
    """A number of a row; None where the cell is empty or not finite.

    Raises:
        StorageError: The cell is no number.
    """
    text = row.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise damaged_table(path, f"{column} is not a number: {text!r}") from error
    return value if math.isfinite(value) else None


def damaged_table(path: Path, why: str) -> StorageError:
    """The error for a CSV that is damaged or of another run."""
    return StorageError(
        f"{path.name} is damaged or of another run",
        where=str(path),
        why=why,
        remedy=_OTHER_REMEDIES.get(path.name, _REMEDY),
    )
