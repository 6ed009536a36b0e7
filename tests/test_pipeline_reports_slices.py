"""Slices of a run are read whole, or refused with their file and case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slice_runs import case_rows, make_slice_run, peaked

from pipeline.errors import StorageError
from pipeline.reports.page import write_report
from pipeline.reports.run_files import read_run
from pipeline.reports.slices import read_slices
from pipeline.storage import read_table, write_table


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), count=st.integers(2, 3))
def test_what_was_written_is_read_again_in_the_order_of_the_axes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, count: int
) -> None:
    run, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(data.draw(st.integers(0, 99)))
    names = data.draw(st.permutations(["axial", "coronal", "sagittal"]))
    axes = []
    for name in names[: data.draw(st.integers(1, 3))]:
        length = data.draw(st.integers(1, 9))
        chosen = data.draw(st.sets(st.integers(0, length - 1), min_size=1))
        axes.append((name, length, sorted(chosen)))
    classes, cases = [f"c{k}" for k in range(count)], ["one", "=two", "three"]
    folds = {case: number % 2 for number, case in enumerate(cases)}
    written: dict[int, list[dict[str, object]]] = {0: [], 1: []}
    for case in cases:
        cells = {"case_id": case, "fold": str(folds[case]), "prediction": "c1"}
        rows = case_rows(cells, classes, axes, peaked, rng)
        written[folds[case]] += data.draw(st.permutations(rows))
    for fold, rows in written.items():
        (run / f"fold_{fold}").mkdir()
        write_table(run / f"fold_{fold}" / "slices.csv", list(rows[0]), rows)
    table = read_slices(run, classes, cases, folds)
    assert table is not None
    assert [axis.name for axis in table.axes] == sorted(name for name, _, _ in axes)
    assert table.weights.sum(axis=1) == pytest.approx(1.0)
    for fold, rows in written.items():
        for row in rows:
            column = next(
                place
                for place in range(table.weights.shape[1])
                if (found := table.place(place))[0].name == row["axis"] and found[1] == row["slice"]
            )
            number = cases.index(str(row["case_id"]))
            assert folds[str(row["case_id"])] == fold
            assert table.place(column)[0].length == row["slices"]
            assert table.weights[number, column] == row["weight"]
            assert table.probabilities[number, column].tolist() == [row[f"p_{c}"] for c in classes]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"case_id": "P999"}, "'P999' is no test case of fold 0"),
        ({"fold": "1"}, "is no test case of fold 0"),
        ({"axis": "oblique"}, "unknown axis 'oblique'"),
        ({"slice": "16"}, "slice 16 of 16, counted from 0"),
        ({"slice": "-1"}, "slice -1 of 16"),
        ({"slice": "1"}, "stands in it twice"),
        ({"slice": "0.5"}, "slice is not a whole number"),
        ({"slice": ""}, "slice is not a whole number"),
        ({"slices": "many"}, "slices is not a number"),
        ({"slices": "17"}, "two lengths"),
        ({"weight": "0.9"}, "sum to 1.* not to 1"),
        ({"weight": "-0.2"}, "weight of case 'P000_scan0' is outside 0..1"),
        ({"weight": "nan"}, "outside 0..1"),
        ({"weight": "heavy"}, "weight is not a number"),
        ({"p_tumour": "1.5"}, "p_tumour of case 'P000_scan0' is outside"),
        ({"p_tumour": ""}, "outside 0..1"),
        ({"p_tumour": "0.99", "p_healthy": "0.99"}, "axial slice 0 .* do not sum to 1"),
    ],
)
def test_damaged_slices_are_refused_with_their_case(
    empty: Path, cells: dict[str, str], reason: str
) -> None:
    make_slice_run(empty)
    path = empty / "fold_0" / "slices.csv"
    rows = read_table(path)
    rows[0].update(cells)
    write_table(path, list(rows[0]), rows)
    with pytest.raises(StorageError, match=reason) as caught:
        read_run(empty)
    assert caught.value.where is not None
    assert "slices.csv" in caught.value.where
    assert "predictions.csv beside it" in str(caught.value.remedy)


def _without_class(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "p_tumour"} for row in rows]


def _with_class(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{**row, "p_cyst": "0.0"} for row in rows]


def _without_case(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["case_id"] != "P000_scan1"]


def _other_axis(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{**row, "axis": "coronal"} for row in rows]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without_class, "column 'p_tumour' is missing"),
        (_with_class, "column 'p_cyst' is of no class of this run"),
        (_without_case, "case 'P000_scan1' has a prediction, but no slice"),
        (_other_axis, "has other slices than case"),
    ],
)
def test_slices_of_another_run_are_refused(
    empty: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]], reason: str
) -> None:
    make_slice_run(empty)
    path = empty / "fold_0" / "slices.csv"
    rows = change(read_table(path))
    write_table(path, list(rows[0]), rows)
    with pytest.raises(StorageError, match=reason):
        read_run(empty)


@pytest.mark.parametrize("content", ["", "case_id,fold\nP000_scan0\n", "\x00\xff", "case_id\n"])
def test_a_file_that_is_no_table_is_named(empty: Path, content: str) -> None:
    make_slice_run(empty)
    (empty / "fold_1" / "slices.csv").write_text(content, encoding="latin-1")
    with pytest.raises(StorageError, match=r"slices\.csv"):
        read_run(empty)


def test_a_fold_without_its_slices_is_refused_while_others_have_theirs(empty: Path) -> None:
    make_slice_run(empty)
    (empty / "fold_2" / "slices.csv").unlink()
    with pytest.raises(StorageError, match=r"fold_2/slices\.csv is missing") as caught:
        read_run(empty)
    assert "--resume" in str(caught.value.remedy)


def test_a_2d_network_without_any_slices_is_told_at_the_top(empty: Path) -> None:
    make_slice_run(empty)
    for path in empty.glob("fold_*/slices.csv"):
        path.unlink()
    report = write_report(empty)
    assert "slices.csv of every fold is missing from the run." in report.notices
    assert "#slices" not in report.page.read_text()


def test_slices_of_a_fold_without_predictions_are_not_looked_at(empty: Path) -> None:
    make_slice_run(empty, finished=2)
    (empty / "fold_2").mkdir(exist_ok=True)
    (empty / "fold_2" / "slices.csv").write_text("half a fi")
    run = read_run(empty)
    assert run.slices is not None
    assert len(run.slices.weights) == len(run.scored) == 12
