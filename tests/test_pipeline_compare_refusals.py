"""What cannot be compared is refused: which folders, what differs, and what to do."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.compare import Comparison, compare
from pipeline.errors import ConfigError, DataError, StorageError
from pipeline.progress import Silent
from pipeline.storage import read_table, write_table


def _tests(name: str) -> ModuleType:
    return importlib.import_module(name)


def make_run(folder: Path, *, finished: int = 5) -> Path:
    """A training run of 40 patients."""
    return cast("Path", _tests("test_pipeline_compare").make_run(folder, finished=finished))


def three(folder: Path) -> list[Path]:
    """Folders that can be compared: `volumes`, a run, and `slices` and `metadata`."""
    return cast("list[Path]", _tests("test_pipeline_compare").three(folder))


def compared(folders: list[Path], out: Path) -> Comparison:
    """Compares with few resamplings."""
    return compare(folders, out, Silent(), resamples=300)


def _change(folder: Path, column: str, value: str) -> None:
    rows = read_table(folder / "predictions.csv")
    rows[0][column] = value
    write_table(folder / "predictions.csv", list(rows[0]), rows)


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("case_id", "P777_scan0", "cases"),
        ("patient_id", "P777", "patients"),
        ("label", "tumour", "labels"),
        ("fold", "4", "folds"),
    ],
)
def test_answers_to_other_cases_or_folds_are_refused(
    tmp_path: Path, column: str, value: str, what: str
) -> None:
    folders = three(tmp_path)[:2]
    _change(folders[1], column, value)
    with pytest.raises(DataError) as caught:
        compared(folders, tmp_path / "out")
    assert f"volumes and slices cannot be compared: their {what} differ" in str(caught.value)
    assert not (tmp_path / "out" / "index.html").exists()


def test_runs_in_which_volumes_have_exchanged_their_names_are_refused(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in ("one", "two")]
    names = [row["case_id"] for row in read_table(runs[0] / "predictions.csv")][:2]
    for run, contents in zip(runs, ("ab", "ba"), strict=True):
        path = run / "folds.json"
        document = json.loads(path.read_text())
        for name, content in zip(names, contents, strict=True):
            document["cases"][name]["content"] = f"{content}-{content}"
        path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="one and two cannot be compared: their volumes differ"):
        compared(runs, tmp_path / "out")


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    whole, part = make_run(tmp_path / "whole"), make_run(tmp_path / "part", finished=3)
    with pytest.raises(DataError) as caught:
        compared([whole, part], tmp_path / "out")
    assert "part is not finished" in str(caught.value)
    assert "fold 3, 4" in str(caught.value)
    assert "--resume" in str(caught.value)
    for path in part.rglob("predictions.csv"):
        path.unlink()
    with pytest.raises(DataError, match="part is not finished"):
        compared([whole, part], tmp_path / "out")


def _nothing(_: list[Path]) -> list[Path]:
    return []


MISTAKES: list[tuple[Callable[[list[Path]], list[Path]], str]] = [
    (_nothing, "two or more runs"),
    (lambda folders: folders[:1], "two or more runs"),
    (lambda folders: [folders[0], folders[0] / ".." / folders[0].name], "is named twice"),
    (lambda folders: [folders[0], folders[0].parent / "absent"], "absent holds no predictions"),
    (lambda folders: [folders[0], folders[0] / "fold_0"], "fold_0 holds no predictions"),
]


@pytest.mark.parametrize(("choose", "words"), MISTAKES)
def test_folders_that_cannot_be_compared(
    tmp_path: Path, choose: Callable[[list[Path]], list[Path]], words: str
) -> None:
    folders = three(tmp_path)
    with pytest.raises(ConfigError, match=words) as caught:
        compared(choose(folders), tmp_path / "out")
    assert caught.value.remedy


def test_a_comparison_does_not_overwrite_what_it_compares(tmp_path: Path) -> None:
    folders = three(tmp_path)
    with pytest.raises(ConfigError, match="cannot be written into a run"):
        compared(folders, folders[1])


def test_a_run_whose_answers_were_replaced_is_refused(tmp_path: Path) -> None:
    folders = three(tmp_path)
    (folders[0] / "competitor.json").write_bytes((folders[1] / "competitor.json").read_bytes())
    with pytest.raises(ConfigError, match="holds a run and another competitor") as caught:
        compared(folders, tmp_path / "out")
    assert "config.yaml and competitor.json" in str(caught.value)


@pytest.mark.parametrize("name", ["competitor.json", "config.yaml", "ladder.json"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_report_does_not_overwrite_other_results(tmp_path: Path, name: str, count: int) -> None:
    words = [str(folder) for folder in three(tmp_path)[:count]]
    other = tmp_path / "other"
    other.mkdir()
    (other / name).write_text("{}")
    (other / "index.html").write_text("its own page")
    done = CliRunner().invoke(app, ["report", *words, "--out", str(other)])
    assert done.exit_code == 2, done.output
    assert f"the folder holds {name}" in done.output
    assert (other / "index.html").read_text() == "its own page"


def test_one_competitor_alone_is_told_what_it_is(tmp_path: Path) -> None:
    folder = three(tmp_path)[1]
    done = CliRunner().invoke(app, ["report", str(folder)])
    assert done.exit_code == 2, done.output
    assert "slices holds a competitor, not a run" in done.output
    assert "name another folder" in done.output
    assert "its own page" not in done.output
    (folder / "index.html").write_text("a page")
    (folder / "ladder.json").write_text("{}")
    done = CliRunner().invoke(app, ["report", str(folder)])
    assert "slices holds a ladder, not a run" in done.output
    assert f"its own page is {folder / 'index.html'}" in done.output


def test_damaged_answers_of_a_run_are_refused(tmp_path: Path) -> None:
    folders = three(tmp_path)
    _change(folders[0], "p_tumour", "many")
    with pytest.raises(StorageError, match="damaged"):
        compared(folders, tmp_path / "out")


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda words: words, 2, "--out"),
        (lambda words: [words[0], words[0], "--out", "out"], 2, "named twice"),
        (lambda words: [*words, "absent", "--out", "out"], 2, "absent holds no predictions"),
    ],
)
def test_the_verb_refuses_with_a_message_and_a_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[list[str]], list[str]],
    code: int,
    words: str,
) -> None:
    folders = three(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report", *make([folder.name for folder in folders])])
    assert done.exit_code == code, done.output
    assert words in done.output
    assert "Traceback" not in done.output
