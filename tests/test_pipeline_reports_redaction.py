"""No folder of a user's comes into a page, whatever the system it is from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.reports.redaction import file_name, hide_paths, relative_only, shown_settings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/you/scans/a.nii", "…/a.nii"),
        (r"C:\Users\ann\a.nii", "…/a.nii"),
        (r"\\server\share\a.nii", "…/a.nii"),
        ("file:///home/you/a.nii", "…/a.nii"),
        ("cannot read '/home/you/a.nii': short", "cannot read '…/a.nii': short"),
        ("scans/p1/a.nii is 3/4 empty", "scans/p1/a.nii is 3/4 empty"),
        ("0.001", "0.001"),
        ("and/or", "and/or"),
        ("/home/Jane Doe/born 1950/a.nii", "…/a.nii"),
        ("no /home/Doe, Jane (1950)/12:30/a.nii: short", "no …/a.nii: short"),
        ("/a/b.nii, /c/d.nii; and/or /e/f: g", "…/b.nii, …/d.nii; and/or …/f: g"),
        (r"C:\Users\Jane Doe\a.nii is empty", "…/a.nii is empty"),
        (f"{'/home/Jane Doe/my scan.raw'!r} is outside", "'…/my scan.raw' is outside"),
        (repr("C:\\Jane: Doe\\x.raw"), "'…/x.raw'"),
        (repr('/home/O\'Neil "J"/x.raw'), "'…/x.raw'"),
        ("'../Jane Doe/x.raw' may lie outside", "'…/x.raw' may lie outside"),
        ("the volume's '/home/Jane Doe/x.raw' isn't there", "the volume's '…/x.raw' isn't there"),
        ("the class 'a/b' is 'x'", "the class 'a/b' is 'x'"),
    ],
)
def test_absolute_paths_shrink_to_their_last_part(text: str, shown: str) -> None:
    assert hide_paths(text) == shown


def test_known_folders_are_hidden_whatever_their_names_hold() -> None:
    folders = [Path("/data"), Path('/data/Doe: "Jane"'), Path("/")]
    text = 'cannot read /data/Doe: "Jane"/ct.nii of /data: short'
    assert hide_paths(text, folders) == "cannot read …/ct.nii of …: short"
    assert hide_paths("/data or /data-2/b", [Path("/data")]) == "… or …/b"


def test_a_relative_file_is_kept_and_one_leaving_its_root_is_cut() -> None:
    assert relative_only("p1/a.nii") == "p1/a.nii"
    assert relative_only("../secret/a.nii") == "…/a.nii"
    assert file_name("a/b/") == "b"


def test_settings_become_one_row_a_key() -> None:
    settings = {
        "seed": 0,
        "data": {"manifest": "my folder/cases.csv", "root": None},
        "model": {"options": {}, "strides": [2, [1, 2, 2]], "name": "p"},
        "train": {"ema": False},
    }
    assert shown_settings(settings) == {
        "seed": "0",
        "data.manifest": "…/cases.csv",
        "data.root": "null",
        "model.options": "{}",
        "model.strides": "[2, [1, 2, 2]]",
        "model.name": "p",
        "train.ema": "false",
    }


def test_folders_below_a_known_one_are_cut_too() -> None:
    text = "cannot read /data/study/Doe Jane/x.raw, nor /data/study"
    assert hide_paths(text, [Path("/data/study")]) == "cannot read …/x.raw, nor …"


def test_only_folders_that_a_text_names_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    escape = re.escape

    def noted(text: str) -> str:
        looked.append(text)
        return escape(text)

    monkeypatch.setattr(re, "escape", noted)
    folders = [Path(f"/data/images/case_{number}") for number in range(3000)]
    assert hide_paths("of /data/images/case_71/a.nii: short", folders) == "of …/a.nii: short"
    assert hide_paths("its header states no orientation", folders).startswith("its header")
    assert looked == ["/data/images/case_71", "/data/images/case_7"]
