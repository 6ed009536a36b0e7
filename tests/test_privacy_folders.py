"""Folders may be called by people: where they alone tell files apart, no output names them."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SMALL, Lines, write_volumes
from leak_makers import write_rows

from dicom_makers import save, slices
from pipeline.audit import audit
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.predict import predict
from pipeline.storage import read_table

pytestmark = pytest.mark.usefixtures("undrawn", "in_this_process", "quick_probe")

HOME, PATIENT, INSIDE, BATCH = "ZqHome", "ZqDoe Jane", "ZqMiller_Tom", "ZqArchive"
WORDS = (b"zqhome", b"zqdoe", b"zqmiller", b"zqarchive")


def moved(home: Path) -> list[dict[str, str]]:
    """Volumes that are all called `ct`, each in a folder of a patient; rows with absolute paths."""
    home.mkdir()
    rows = read_table(write_volumes(home))
    for number, row in enumerate(rows):
        path = home / BATCH / f"{PATIENT} {number:02d}" / "ct.nii.gz"
        path.parent.mkdir(parents=True)
        (home / row["image"]).rename(path)
        row["image"] = str(path)
    return rows


def naming(folder: Path) -> list[str]:
    """The files in a folder that name one of the planted folders."""
    return [
        path.name
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and any(word in path.name.lower().encode() + path.read_bytes().lower() for word in WORDS)
    ]


@pytest.mark.parametrize("known", [True, False], ids=["patients", "no patients"])
def test_a_run_on_absolute_paths_names_no_folder(known: bool, tmp_path: Path, lines: Lines) -> None:
    home = tmp_path / HOME
    rows = moved(home)
    columns = ("image", "label", *["patient_id"] * known)
    table = [{name: row[name] for name in columns} for row in rows]
    manifest = write_rows(home / "manifest.csv", table)
    settings = [*SMALL, f"data.manifest={manifest}", "train.epochs=1"]
    config = load_config("base", [*settings, "data.allow_outside_root=true"])
    out = home / "out"
    cross_validate(config, out / "run", lines)
    found = [row["case_id"] for row in read_table(out / "run" / "predictions.csv")]
    if known:
        assert sorted(found)[:4] == ["p00_ct", "p00_ct_2", "p01_ct", "p01_ct_2"]
    else:
        assert {*found} == {"ct", *(f"ct_{number}" for number in range(2, 21))}
    assert any("is line 3" in line for line in lines.shown)
    predict(out / "run", [str(home / BATCH)], out / "p.csv", lines)
    assert f"ct_2 is {rows[1]['image']}" in lines.shown
    assert naming(out) == []


def test_a_series_with_a_part_in_a_folder_inside_names_neither(
    tmp_path: Path, lines: Lines
) -> None:
    home = tmp_path / HOME
    rows, made = moved(home), slices(16, size=(8, 8))
    folder = home / BATCH / "scan"
    save(folder, made[:8])
    save(folder / INSIDE, made[8:])
    rows.append({"image": str(folder), "label": "left", "patient_id": "new"})
    manifest = write_rows(home / "manifest.csv", rows)
    settings = [*SMALL, f"data.manifest={manifest}", "data.allow_outside_root=true"]
    found = audit(load_config("base", settings), home / "out", lines)
    (refused,) = found.record.refused
    assert refused.code == "E_DICOM_PARTS"
    assert "8 images of the series beside its 8 lie in sub-folders: IM0000, " in refused.reason
    assert naming(home / "out") == []
