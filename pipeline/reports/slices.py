"""What a 2D network says of every slice: the files `fold_<k>/slices.csv` of a run, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ..errors import StorageError
from ..evaluation.cases import FloatArray, IntArray
from .run_tables import cell_number, damaged_table, table_rows

Axis = Literal["axial", "coronal", "sagittal"]

_AXES: tuple[Axis, ...] = get_args(Axis)
_COLUMNS = ("case_id", "fold", "axis", "slice", "slices", "weight")
_SUM_TOLERANCE = 1e-3
_EQUAL = 1e-4  # of an even share; a mean in single precision is nearer


@dataclass(frozen=True, eq=False)
class SlicedAxis:
    """The slices that are read along one axis; they are the same in all cases.

    Attributes:
        name: The plane of the slices.
        length: Slices that the preprocessed volume has along the axis.
        indices: Shape (S_axis,), rising, in 0..length-1: those that are read.
        columns: Where they stand among the slices of all axes.
    """

    name: Axis
    length: int
    indices: IntArray
    columns: slice


@dataclass(frozen=True, eq=False)
class SliceTable:
    """The slices of N cases, S of each, in the order of the run's scored cases.

    Attributes:
        axes: Their axes; the S slices are those of the first axis, then of the next.
        weights: Shape (N, S), in 0..1: share of a slice in the answer, rows that sum to 1.
        probabilities: Shape (N, S, K), in 0..1: the classifier on the slice alone.
    """

    axes: tuple[SlicedAxis, ...]
    weights: FloatArray
    probabilities: FloatArray

    @property
    def equal(self) -> bool:
        """Whether all slices of all cases have one weight, so that weights tell nothing."""
        return bool(np.abs(self.weights * self.weights.shape[1] - 1.0).max() < _EQUAL)

    def place(self, column: int) -> tuple[SlicedAxis, int]:
        """The axis of one of the S slices, and its index along it."""
        axis = next(axis for axis in self.axes if column < axis.columns.stop)
        return axis, int(axis.indices[column - axis.columns.start])


@dataclass(frozen=True)
class _Slice:
    place: tuple[int, int, int]  # number of the axis, index, length of the axis
    weight: float
    probabilities: tuple[float, ...]


def read_slices(
    run: Path, classes: Sequence[str], case_ids: Sequence[str], folds: Mapping[str, int]
) -> SliceTable | None:
    """Reads what the slices of all scored cases say; None where no fold has a file of them.

    A fold without predictions is not looked at, it may just be written.

    Args:
        run: The run folder.
        classes: Class names in order.
        case_ids: The N cases that have a prediction.
        folds: Fold of every test case of the run.

    Raises:
        StorageError: A file is damaged, of another run, or missing while other folds have theirs.
    """
    paths = {
        fold: run / f"fold_{fold}" / "slices.csv"
        for fold in sorted({folds[case] for case in case_ids})
    }
    if not any(path.exists() for path in paths.values()):
        return None
    found: dict[str, list[_Slice]] = {}
    for fold, path in paths.items():
        _check_there(path)
        inside = _slice_file(path, classes, fold, folds)
        for case in (case for case in case_ids if folds[case] == fold):
            if case not in inside:
                raise damaged_table(path, f"case {case!r} has a prediction, but no slice")
            _check_case(path, case, inside[case])
            found[case] = sorted(inside[case], key=lambda item: item.place)
    _check_alike(paths, found, case_ids, folds)
    return _assembled([found[case] for case in case_ids])


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise StorageError(
            f"{path.parent.name}/{path.name} is missing",
            where=str(path),
            why="other folds of this run have theirs",
            remedy="restore the file, or delete the predictions.csv of its fold and predict again "
            "with --resume",
        )


def _slice_file(
    path: Path, classes: Sequence[str], fold: int, folds: Mapping[str, int]
) -> dict[str, list[_Slice]]:
    columns = [f"p_{name}" for name in classes]
    rows = table_rows(path, [*_COLUMNS, *columns])
    foreign = [name for name in (rows[0] if rows else ()) if name not in {*_COLUMNS, *columns}]
    if foreign:
        raise damaged_table(path, f"column {foreign[0]!r} is of no class of this run")
    result: dict[str, list[_Slice]] = {}
    for cells in rows:
        case = cells["case_id"]
        if folds.get(case) != fold or cells["fold"] != str(fold):
            raise damaged_table(path, f"case {case!r} is no test case of fold {fold}")
        result.setdefault(case, []).append(_slice(path, cells, columns))
    return result


def _slice(path: Path, cells: Mapping[str, str], columns: Sequence[str]) -> _Slice:
    case, axis = cells["case_id"], cells["axis"]
    if axis not in _AXES:
        raise damaged_table(path, f"case {case!r} has an unknown axis {axis!r}")
    index, length = (_whole(path, cells, name) for name in ("slice", "slices"))
    if not 0 <= index < length:
        raise damaged_table(path, f"case {case!r} has slice {index} of {length}, counted from 0")
    weight = _share(path, cells, "weight")
    probabilities = tuple(_share(path, cells, name) for name in columns)
    if abs(sum(probabilities) - 1.0) > _SUM_TOLERANCE:
        why = f"the probabilities of {axis} slice {index} of case {case!r} do not sum to 1"
        raise damaged_table(path, why)
    return _Slice((_AXES.index(axis), index, length), weight, probabilities)


def _whole(path: Path, cells: Mapping[str, str], column: str) -> int:
    value = cell_number(path, cells, column)
    if value is None or value != int(value):
        raise damaged_table(path, f"{column} is not a whole number: {cells[column]!r}")
    return int(value)


def _share(path: Path, cells: Mapping[str, str], column: str) -> float:
    value = cell_number(path, cells, column)
    if value is None or not -_SUM_TOLERANCE <= value <= 1.0 + _SUM_TOLERANCE:
        why = f"{column} of case {cells['case_id']!r} is outside 0..1: {cells[column]!r}"
        raise damaged_table(path, why)
    return min(1.0, max(0.0, value))


def _check_case(path: Path, case: str, slices: Sequence[_Slice]) -> None:
    if len({item.place[:2] for item in slices}) < len(slices):
        raise damaged_table(path, f"a slice of case {case!r} stands in it twice")
    lengths = {item.place[0]: item.place[2] for item in slices}
    if any(lengths[item.place[0]] != item.place[2] for item in slices):
        raise damaged_table(path, f"case {case!r} gives one axis two lengths")
    total = sum(item.weight for item in slices)
    if abs(total - 1.0) > _SUM_TOLERANCE:
        why = f"the weights of the slices of case {case!r} sum to {total:.4g}, not to 1"
        raise damaged_table(path, why)


def _check_alike(
    paths: Mapping[int, Path],
    found: Mapping[str, Sequence[_Slice]],
    case_ids: Sequence[str],
    folds: Mapping[str, int],
) -> None:
    """Every volume of a run has one size, so that all cases have the same slices."""
    first = [item.place for item in found[case_ids[0]]]
    for case in case_ids:
        if [item.place for item in found[case]] != first:
            raise damaged_table(
                paths[folds[case]], f"case {case!r} has other slices than case {case_ids[0]!r}"
            )


def _assembled(cases: Sequence[Sequence[_Slice]]) -> SliceTable:
    places = np.asarray([item.place for item in cases[0]], dtype=np.int64)
    axes = []
    for number in sorted(set(places[:, 0].tolist())):
        columns = np.flatnonzero(places[:, 0] == number)
        along = places[columns]
        span = slice(int(columns[0]), int(columns[-1]) + 1)
        axes.append(SlicedAxis(_AXES[number], int(along[0, 2]), along[:, 1], span))
    return SliceTable(
        tuple(axes),
        np.asarray([[item.weight for item in case] for case in cases], dtype=np.float64),
        np.asarray([[item.probabilities for item in case] for case in cases], dtype=np.float64),
    )
