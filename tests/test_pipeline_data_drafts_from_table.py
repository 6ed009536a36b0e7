"""A table of one's own is kept, or copied with what it lacks; it is never changed."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.config_file import load_config
from pipeline.data.cases import Case
from pipeline.data.manifest import read_manifest
from pipeline.errors import DataError
from pipeline.init import Proposal, propose
from pipeline.progress import Silent
from pipeline.storage import read_table


def put(path: Path) -> None:
    """Writes a small volume."""
    voxels = np.arange(120, dtype=np.float32).reshape(6, 5, 4)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)


def accepted(proposal: Proposal) -> tuple[Case, ...]:
    """What was proposed, read as `train` reads it."""
    return read_manifest(load_config(str(proposal.config)).data).cases


def said(proposal: Proposal) -> str:
    return "\n".join(proposal.lines())


def table_in(folder: Path, header: str, row: str) -> Path:
    (folder / "images").mkdir(parents=True)
    for p in range(1, 7):
        for s in (1, 2):
            put(folder / f"images/STS_{p:03d}_{s}.nii.gz")
    lines = [row.format(p=p, s=s, c="ab"[p % 2]) for p in range(1, 7) for s in (1, 2)]
    path = folder / "cases.csv"
    path.write_text("\n".join([header, *lines, ""]))
    return path


def test_a_complete_table_stays_as_it_is(tmp_path: Path) -> None:
    path = table_in(
        tmp_path / "data", "file;dx;Class;PID", "images/STS_{p:03d}_{s}.nii.gz;q;{c};{p}"
    )
    before = path.read_bytes()
    proposal = propose(path, tmp_path / "out", Silent())
    assert proposal.written == (tmp_path / "out/config.yaml",)
    assert proposal.manifest == path
    assert len(accepted(proposal)) == 12
    assert path.read_bytes() == before
    text = said(proposal)
    assert "image (column 'file'), label (column 'Class'), patient_id (column 'PID')" in text
    assert "semicolon" in text
    assert "not used: dx" in text


def test_patients_are_added_to_a_table(tmp_path: Path) -> None:
    path = table_in(tmp_path / "data", "file,label,=age,", "images/STS_{p:03d}_{s}.nii.gz,{c},-5,")
    proposal = propose(path, tmp_path / "out", Silent())
    assert proposal.manifest == tmp_path / "out/manifest.csv"
    cases = accepted(proposal)
    assert {case.patient_id for case in cases} == {f"STS_{p:03d}" for p in range(1, 7)}
    with proposal.manifest.open() as handle:
        assert list(csv.reader(handle))[1][2] == "-5"


def test_a_table_without_labels_lists_what_could_be_them(tmp_path: Path) -> None:
    path = table_in(tmp_path / "data", "file,kind", "images/STS_{p:03d}_{s}.nii.gz,{c}")
    proposal = propose(path, tmp_path / "out", Silent())
    assert "columns that could be it: kind" in said(proposal)
    assert proposal.to_do == ("fill in the column label: the class of each volume",)
    rows = read_table(proposal.manifest)
    assert {row["label"] for row in rows} == {""}
    assert {row["kind"] for row in rows} == {"a", "b"}


def test_a_table_that_train_would_refuse_says_so(tmp_path: Path) -> None:
    path = table_in(tmp_path / "data", "image,label", "images/STS_{p:03d}_{s}.nii.gz,{c}")
    (tmp_path / "data/images/STS_001_1.nii.gz").unlink()
    proposal = propose(path, tmp_path / "out", Silent())
    text = said(proposal)
    assert "1 of 12 volumes do not exist: images/STS_001_1.nii.gz" in text
    assert "will refuse the manifest" in text
    assert "correct the manifest" in text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("label,patient\na,b\n", "no column image"),
        ("image,label\nx.nii.gz,a\ny.nii.gz,b\n", "none of the table's volumes exists"),
        ("image,label\n", "empty"),
        ("image,label\na\n", "no line"),
        ("image,label\n,a\n", "no line"),
        ("image,label\na\0,b\n", "no line"),
        ("image,label\n" + 300 * "a" + ",b\n", "none of the table's volumes"),
        ("path,scan,label\na,b,c\n", "2 columns could be image"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=problem) as caught:
        propose(path, tmp_path / "out", Silent())
    assert caught.value.where == str(path)
    assert not (tmp_path / "out").exists()


def test_the_aliases_of_image_are_named(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("label\na\n")
    with pytest.raises(DataError) as caught:
        propose(path, tmp_path / "out", Silent())
    assert "filename" in str(caught.value)


def test_the_users_own_manifest_may_lie_in_the_folder(tmp_path: Path) -> None:
    path = table_in(tmp_path, "image,label,patient", "images/STS_{p:03d}_{s}.nii.gz,{c},{p}")
    path.rename(tmp_path / "manifest.csv")
    proposal = propose(tmp_path / "manifest.csv", tmp_path, Silent())
    assert len(accepted(proposal)) == 12
