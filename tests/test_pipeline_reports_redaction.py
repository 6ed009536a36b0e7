"""No folder of a user's comes into a page, whatever the system it is from."""

from __future__ import annotations

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
    ],
)
def test_absolute_paths_shrink_to_their_last_part(text: str, shown: str) -> None:
    assert hide_paths(text) == shown


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
