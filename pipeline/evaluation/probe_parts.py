"""Which rows of a table of features a probe trains and is tested on, fold by fold; no leak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from ..feature_table import FeatureTable
from .cases import FloatArray, IntArray, TextArray

_SHOWN = 10
_AGAIN = "extract the features again with `volclass features`"


@dataclass(frozen=True, eq=False)
class ProbeFold:
    """One fold.

    Attributes:
        number: Of the fold.
        training: Rows of the training table, in order of case id.
        test: Rows of the main table, in order of case id.
    """

    number: int
    training: IntArray
    test: IntArray


@dataclass(frozen=True, eq=False)
class ProbePlan:
    """What is probed.

    Attributes:
        table: Features of the test rows.
        training: Features of the training rows: the same table, or its companion.
        classes: In the order of the probabilities' columns.
        folds: In order of their numbers.
        scheme: `kfold` or `official`, or `probe` where the probe made the folds itself.
    """

    table: FeatureTable
    training: FeatureTable
    classes: tuple[str, ...]
    folds: tuple[ProbeFold, ...]
    scheme: str

    @property
    def has_companion(self) -> bool:
        """Whether each fold has features of its own, from the network trained in that fold."""
        return self.training is not self.table

    def labels(self, table: FeatureTable, rows: IntArray) -> IntArray:
        """Class indices of rows of one of the two tables."""
        places = {name: index for index, name in enumerate(self.classes)}
        return np.array([places[str(table.labels[row])] for row in rows], dtype=np.int64)


def patients_of(table: FeatureTable, rows: IntArray) -> TextArray:
    """Patients of rows."""
    return np.array([table.patient_ids[row] for row in rows], dtype=np.str_)


def stage_features(table: FeatureTable, stage: int | None) -> FloatArray:
    """Features of one stage, counted from 1, or of all (None); shape (N, 3 x channels)."""
    stages = table.stages if stage is None else (stage,)
    return np.concatenate([table.stage(number) for number in stages], axis=1).astype(np.float64)


def needs_companion(table: FeatureTable) -> bool:
    """Whether rows were made by the models of several folds, whose features never mix."""
    return len(set(table.models)) > 1


def make_plan(
    table: FeatureTable, training: FeatureTable, classes: tuple[str, ...], scheme: str
) -> ProbePlan:
    """Finds the rows of every fold.

    Args:
        table: All labelled, with folds.
        training: `table` itself, where one model made all rows; else its companion.
        classes: All labels.
        scheme: See `ProbePlan`.

    Raises:
        DataError: A case would be tested by what was fitted to it or to its patient; features are
            not finite; or a fold cannot be trained.
    """
    for each in (table, training):
        _check_rows(each)
    _check_unseen(table)
    numbers = sorted({fold for fold in table.folds if fold is not None})
    companion = training is not table
    if companion:
        _check_models(table)
    folds = tuple(
        ProbeFold(
            number,
            _rows(training, _trains(training, number, companion)),
            _rows(table, (fold == number for fold in table.folds)),
        )
        for number in numbers
    )
    plan = ProbePlan(table, training, classes, folds, scheme)
    for fold in folds:
        _check_fold(plan, fold)
    return plan


def _trains(table: FeatureTable, number: int, companion: bool) -> Iterator[bool]:
    if companion:
        return (model == f"fold_{number}" for model in table.models)
    return (fold != number for fold in table.folds)


def _rows(table: FeatureTable, wanted: Iterable[bool]) -> IntArray:
    """Rows in order of case id, so that the order of the file plays no part."""
    rows = [row for row, is_wanted in enumerate(wanted) if is_wanted]
    return np.array(sorted(rows, key=lambda row: table.case_ids[row]), dtype=np.int64)


def _check_rows(table: FeatureTable) -> None:
    counts = Counter(zip(table.case_ids, table.models, strict=True))
    twice = [case_id for (case_id, _), count in counts.items() if count > 1]
    _refuse(twice, "cases stand twice in the features", _AGAIN)
    finite = np.ones(len(table.case_ids), dtype=np.bool_)
    for block in table.blocks.values():
        finite &= np.isfinite(block).all(axis=1)
    bad = [table.case_ids[row] for row in np.flatnonzero(~finite)]
    _refuse(bad, "features are not finite", "look at these volumes, and " + _AGAIN)


def _check_unseen(table: FeatureTable) -> None:
    rows = zip(table.case_ids, table.folds, table.seen, strict=True)
    seen = [case_id for case_id, fold, known in rows if fold is not None and known]
    _refuse(seen, "test cases are not out of fold: their model was trained on them", _AGAIN)


def _check_models(table: FeatureTable) -> None:
    rows = zip(table.case_ids, table.folds, table.models, strict=True)
    other = [c for c, fold, model in rows if fold is not None and model != f"fold_{fold}"]
    _refuse(other, "test cases have features of another fold's model", _AGAIN)


def _check_fold(plan: ProbePlan, fold: ProbeFold) -> None:
    table, training = plan.table, plan.training
    for what, ids, others in (
        ("cases", table.case_ids, training.case_ids),
        ("patients", table.patient_ids, training.patient_ids),
    ):
        both = {ids[row] for row in fold.test} & {others[row] for row in fold.training}
        _refuse(both, f"fold {fold.number} leaks: {what} in its training and its test part", _AGAIN)
    found = {training.labels[row] for row in fold.training}
    lacking = [name for name in plan.classes if name not in found]
    _refuse(
        lacking,
        f"fold {fold.number} cannot be probed: classes without a training case",
        "features of every part of the run are needed: " + _AGAIN,
    )


def _refuse(names: Iterable[str], what: str, remedy: str) -> None:
    found = sorted(names)
    if not found:
        return
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise DataError(what, why=f"{len(found)}: {', '.join(found[:_SHOWN])}{more}", remedy=remedy)
