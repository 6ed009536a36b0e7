"""The verb `reliability`: its page, its exit codes, and what it refuses."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.reliability import ROWS, Amounts, BadFile
from pipeline.reliability.bad_file import one_file
from pipeline.reliability.volumes import GOOD_GZ

ROOT = Path(__file__).parent.parent
FEW = ["--flips", "5", "--mutations", "10"]


def run(*arguments: str) -> tuple[int, str]:
    """Runs the command; its exit code and what it said."""
    result = CliRunner().invoke(app, ["reliability", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_a_small_run_holds_and_writes_its_page(tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.md"
    code, said = run("--rows", "39, 42", "--out", str(out), *FEW)
    assert code == 0, said
    assert "files that met what was expected: 5 of 5" in said
    assert f"page: {out}" in said
    text = out.read_text()
    assert text.startswith("# Reliability\n")
    assert "**A part only: rows 39, 42 of 58.**" in text
    assert "All of them hold." in text
    for private in (str(tmp_path), tempfile.gettempdir(), "Traceback"):
        assert private not in text


def test_what_does_not_hold_is_listed_and_the_code_is_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = BadFile(4, "sound", "quarantine", ("E_CRC",), one_file("x.nii.gz", GOOD_GZ))
    monkeypatch.setattr("pipeline.reliability.measurement.collection", lambda: [wrong])
    out = tmp_path / "page.md"
    out.write_text("# Reliability\n\nAn earlier page of the command, which is replaced.\n")
    code, said = run("--rows", "4", "--out", str(out), *FEW)
    assert code == 3
    assert "  taken in silence: 1; NOT MET, the goal is 0" in said.splitlines()
    assert "  row 4, sound: quarantine was due, and it was ok" in said.splitlines()
    text = out.read_text()
    assert "row 4, sound" in text
    assert "An earlier page" not in text
    assert "Traceback" not in said


@pytest.mark.parametrize("rows", ["0", "59", "four", "4,-1", "²"])
def test_rows_that_there_are_not(rows: str, tmp_path: Path) -> None:
    code, said = run(f"--rows={rows}", "--out", str(tmp_path / "page.md"))
    assert code == 2
    assert f"there are no rows {rows!r}" in said
    assert "from 1 to 58" in said
    assert list(tmp_path.iterdir()) == []


def test_no_file_of_the_user_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "notes.md"
    mine.write_text("# My notes\n")
    code, said = run("--out", str(mine))
    assert code == 2
    assert "there is a notes.md already" in said
    assert mine.read_text() == "# My notes\n"
    code, said = run("--out", str(tmp_path))
    assert code == 2
    assert "this is a folder" in said


def test_help_has_an_example() -> None:
    code, said = run("-h")
    assert code == 0
    assert "Example: volclass reliability --out docs/reliability.md" in " ".join(said.split())


def test_all_rows_and_the_counts_of_the_goal_are_the_defaults() -> None:
    from inspect import signature

    from pipeline.reliability_verb import reliability

    asked = Amounts()
    told = signature(reliability).parameters
    assert set(asked.rows) == set(ROWS)
    assert told["flips"].default == asked.flips == 500
    assert told["mutations"].default == asked.mutations == 5000


def test_the_page_of_the_project_is_of_a_whole_run_that_held() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    assert "A part only" not in text
    assert "All of them hold." in text
    rows = re.findall(r"^\| (\d+) \|.*\| \d+\.\d\d s \|$", text, flags=re.M)
    assert [int(row) for row in rows] == sorted(ROWS)
    assert "**no**" not in text
    assert ".PHONY: help demo test test-all bench reliability" in (ROOT / "Makefile").read_text()
