"""A missing, damaged or foreign file of a run is refused with its name, reason and remedy."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.errors import StorageError
from pipeline.reports.run_files import read_run
from pipeline.storage import read_table, write_table


def _maker() -> ModuleType:
    return importlib.import_module("test_pipeline_reports_page")


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def _change(path: Path, row: int, **cells: str) -> None:
    rows = read_table(path)
    rows[row].update(cells)
    write_table(path, list(rows[0]), rows)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"p_tumour": "many"}, "p_tumour is not a number: 'many'"),
        ({"p_tumour": "nan"}, "lacks a probability"),
        ({"p_tumour": ""}, "lacks a probability"),
        ({"case_id": "P999"}, "'P999' is a test case of no fold"),
        ({"case_id": "P000_scan1"}, "stands in it twice"),
        ({"fold": "3"}, "fold, patient or label"),
        ({"label": "tumour"}, "fold, patient or label"),
        ({"prediction": "tumour"}, "not its most probable class"),
        ({"p_healthy": "0.9", "p_tumour": "0.3", "prediction": "healthy"}, "differs|do not sum"),
    ],
)
def test_damaged_predictions_are_refused_with_their_case(
    empty: Path, cells: dict[str, str], reason: str
) -> None:
    _maker().make_run(empty, pictures=False)
    target = 0 if cells.get("prediction") != "tumour" else _healthy_row(empty)
    _change(empty / "predictions.csv", target, **cells)
    with pytest.raises(StorageError, match=reason) as caught:
        read_run(empty)
    assert caught.value.where is not None
    assert "predictions.csv" in caught.value.where
    assert caught.value.remedy


def _healthy_row(run: Path) -> int:
    rows = read_table(run / "predictions.csv")
    return next(i for i, row in enumerate(rows) if row["prediction"] == "healthy")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("folds.json", "{"),
        ("folds.json", '{"format": 2}'),
        ("config.yaml", "a: [1"),
        ("config.yaml", "- 1"),
        ("config.yaml", "report: {bootstrap: 3}"),
        ("environment.json", "[1]"),
        ("predictions.csv", "case_id,fold\n"),
        ("predictions.csv", "case_id,fold\nP000_scan0\n"),
        ("quarantine.csv", "case_id\nP1\n"),
        ("fold_0/log.csv", "epoch,train_loss,validation_loss,best\n1,x,1,0\n"),
        ("predictions.csv", "\x00\xff"),
    ],
)
def test_a_damaged_file_is_named(empty: Path, name: str, content: str) -> None:
    _maker().make_run(empty, pictures=False)
    (empty / name).write_text(content, encoding="latin-1")
    if content == "case_id,fold\n":
        for path in empty.glob("fold_*/predictions.csv"):
            path.unlink()
    with pytest.raises(StorageError) as caught:
        read_run(empty)
    assert Path(name).name in str(caught.value) or "no predictions yet" in str(caught.value)


def test_a_missing_run_or_plan_is_an_error_with_a_remedy(empty: Path) -> None:
    with pytest.raises(StorageError, match="no run folder"):
        read_run(empty / "nothing")
    with pytest.raises(StorageError, match=r"cannot read folds\.json"):
        read_run(empty)
    _maker().make_run(empty, finished=0, pictures=False)
    with pytest.raises(StorageError, match="no predictions yet"):
        read_run(empty)


def test_a_loss_that_is_not_finite_is_a_gap_in_its_curve(empty: Path) -> None:
    _maker().make_run(empty, pictures=False)
    _change(empty / "fold_1" / "log.csv", 3, train_loss="inf", validation_loss="nan")
    assert read_run(empty).logs[1][3].train_loss is None
