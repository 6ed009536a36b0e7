"""A folder or table of one's own becomes a manifest and a config that `train` accepts."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.build import check_network
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.data.cases import Case
from pipeline.data.manifest import read_manifest
from pipeline.data.splits import make_folds
from pipeline.errors import ConfigError, DataError, StorageError
from pipeline.init import Proposal, propose
from pipeline.progress import Silent
from pipeline.storage import read_table
from volume_makers import put

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("VOLCLASS_DATA", ROOT.parent / "shared" / "data")) / "sts"


def put_all(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        put(folder / name)
    return folder


def grid(pattern: str, patients: int = 6, scans: int = 2) -> list[str]:
    return [pattern.format(p=p, s=s) for p in range(1, patients + 1) for s in range(1, scans + 1)]


def accepted(proposal: Proposal) -> tuple[Config, tuple[Case, ...]]:
    """What was proposed, read as `train` reads it."""
    config = load_config(str(proposal.config))
    check_network(config)
    return config, read_manifest(config.data).cases


def label(proposal: Proposal, classes: Sequence[str] = ("a", "b")) -> None:
    """Fills in the labels by hand: the class alternates from patient to patient."""
    with proposal.manifest.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    patients = sorted({row.get("patient_id") or row["image"] for row in rows})
    for row in rows:
        assert row["label"] == ""
        place = patients.index(row.get("patient_id") or row["image"])
        row["label"] = classes[place % len(classes)]
    with proposal.manifest.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def said(proposal: Proposal) -> str:
    return "\n".join(proposal.lines())


def test_class_folders_are_ready_to_train(tmp_path: Path) -> None:
    names = [
        *(f"tumour/STS_{p:03d}_{s}.nii.gz" for p in range(4) for s in (1, 2)),
        *(f"healthy/STS_{p:03d}_{s}.nii.gz" for p in range(4, 10) for s in (1, 2)),
    ]
    proposal = propose(put_all(tmp_path / "data", names), tmp_path / "out", Silent())
    config, cases = accepted(proposal)
    assert (len(cases), len({case.patient_id for case in cases})) == (20, 10)
    assert {case.label for case in cases} == {"tumour", "healthy"}
    assert config.cv.folds == 4
    assert config.train.batch_size == 3
    assert len(make_folds(cases, config.cv, 0).folds) == 4
    assert "tumour: 8 volumes of 4 patients" in said(proposal)
    assert proposal.lines()[-1].startswith("next, 1: volclass train --config")
    assert proposal.classes == {"healthy": 6, "tumour": 4}


def test_without_labels_they_are_the_first_thing_to_do(tmp_path: Path) -> None:
    source = put_all(tmp_path / "data", grid("STS_{p:03d}_{s}.nii.gz"))
    proposal = propose(source, tmp_path / "out", Silent())
    assert proposal.lines()[-2].startswith("next, 1: fill in the column label")
    with pytest.raises(DataError, match="12 problems"):
        accepted(proposal)
    label(proposal)
    _, cases = accepted(proposal)
    assert len(cases) == 12
    assert "STS_001_1.nii.gz -> STS_001" in said(proposal)
    assert "6 patients with 2 scans each" in said(proposal)


def test_splits_are_obeyed_unless_a_patient_straddles(tmp_path: Path) -> None:
    names = [
        f"{part}/{c}/{c}_{part[:2]}{p:02d}_{s}.nii.gz"
        for part in ("train", "val", "test")
        for c in ("AD", "CN")
        for p in range(10, 14)
        for s in (1, 2)
    ]
    proposal = propose(put_all(tmp_path / "data", names), tmp_path / "out", Silent())
    config, cases = accepted(proposal)
    assert config.cv.scheme == "official"
    assert len(make_folds(cases, config.cv, 0).folds) == 1
    put(tmp_path / "data/test/AD/AD_tr10_9.nii")
    again = propose(tmp_path / "data", tmp_path / "again", Silent())
    assert load_config(str(again.config)).cv.scheme == "kfold"
    assert "which leaks" in said(again)


BIDS = [
    *grid("sub-{p:02d}/ses-{s}/anat/sub-{p:02d}_ses-{s}_T1w.nii.gz"),
    "derivatives/masks/sub-01/sub-01_desc-brain_mask.nii.gz",
]


def bids(folder: Path, table: str) -> Path:
    put_all(folder, BIDS)
    (folder / "participants.tsv").write_text(table)
    return folder


def test_bids_takes_labels_sites_and_covariates(tmp_path: Path) -> None:
    rows = "".join(
        f"sub-{p:02d}\t{'n/a' if p == 3 else 50 + p}\tF\t{'AD' if p % 2 else 'CN'}\tS{p % 2}\n"
        for p in range(1, 7)
    )
    source = bids(tmp_path / "data", f"participant_id\tage\tsex\tdiagnosis\tcenter\n{rows}")
    proposal = propose(source, tmp_path / "out", Silent())
    _, cases = accepted(proposal)
    assert {case.patient_id for case in cases} == {f"sub-{p:02d}" for p in range(1, 7)}
    assert {case.site for case in cases} == {"S0", "S1"}
    assert cases[0].case_id == "sub-01_ses-1_T1w"
    table = read_table(proposal.manifest)
    assert [row["age"] for row in table[:5]] == ["51", "51", "52", "52", ""]
    text = said(proposal)
    assert "column 'diagnosis' of participants.tsv" in text
    assert "left out, as segmentations by their names: derivatives/" in text
    assert "also taken from participants.tsv: site, age, sex" in text


def test_bids_lists_columns_that_could_be_the_label(tmp_path: Path) -> None:
    rows = "".join(f"sub-{p:02d}\t{p * 7}\t{'x' if p % 2 else 'y'}\n" for p in range(1, 7))
    source = bids(tmp_path / "data", f"participant_id\tscore\tapoe4\n{rows}")
    proposal = propose(source, tmp_path / "out", Silent())
    assert "columns of participants.tsv that could be it: apoe4" in said(proposal)
    label(proposal)
    assert len(accepted(proposal)[1]) == 12


def test_bids_patients_without_a_diagnosis_are_named(tmp_path: Path) -> None:
    rows = "".join(f"sub-{p:02d}\t{'AD' if p % 2 else 'CN'}\n" for p in range(1, 6))
    proposal = propose(
        bids(tmp_path / "data", f"participant_id\tgroup\n{rows}sub-06\tn/a\n"),
        tmp_path / "out",
        Silent(),
    )
    assert "warning: 2 volumes have no label" in proposal.lines()
    assert "empty cells of the column label" in said(proposal)


def test_bids_labels_may_be_negative_numbers(tmp_path: Path) -> None:
    rows = "".join(f"sub-{p:02d}\t{-1 if p % 2 else 1}\n" for p in range(1, 7))
    source = bids(tmp_path / "data", f"participant_id\tgroup\n{rows}")
    _, cases = accepted(propose(source, tmp_path / "out", Silent()))
    assert {case.label for case in cases} == {"-1", "1"}


def test_a_broken_table_of_participants_is_no_end(tmp_path: Path) -> None:
    source = bids(tmp_path / "data", 'participant_id\tgroup\nsub-01\t"AD\n')
    proposal = propose(source, tmp_path / "out", Silent())
    assert "participants.tsv cannot be used" in said(proposal)


AWKWARD = [
    *("=1+1 sub,ject_001_a.nii.gz", "=1+1 sub,ject_001_b.nii.gz"),
    *("-002_a.nii", "+003 b.nii.gz", "@004.nii.gz", "'005_a.nii.gz", 'x"y_006.nii.gz'),
    *("Übung_007.nii.gz", "患者_008.nii.gz", "A_009.nii.gz", "a_009.NII.GZ", " lead_010 .nii"),
    *("=dir/=x_011.nii.gz", "#012.nii.gz", "nbsp\u00a0x_013.nii.gz", "A_009.nii"),
]


def test_awkward_names_survive(tmp_path: Path) -> None:
    source = put_all(tmp_path / "my data, 1", AWKWARD)
    proposal = propose(source, tmp_path / "=out", Silent())
    label(proposal)
    _, cases = accepted(proposal)
    assert {case.image.relative_to(source.resolve()).as_posix() for case in cases} == set(AWKWARD)
    assert len({case.case_id for case in cases}) == len(AWKWARD)
    assert len({case.patient_id for case in cases if "sub,ject" in case.case_id}) == 1


def test_labels_like_formulas_are_altered_and_said(tmp_path: Path) -> None:
    names = [f"{c}/STS_{c == '+'}{p:03d}.nii.gz" for c in ("+", "-") for p in range(3)]
    proposal = propose(put_all(tmp_path / "data", names), tmp_path / "out", Silent())
    _, cases = accepted(proposal)
    assert {case.label for case in cases} == {"_+", "_-"}
    assert "given a _ in front: +, -" in said(proposal)


def test_what_no_manifest_can_name_is_left_out_and_named(tmp_path: Path) -> None:
    source = put_all(tmp_path / "data", grid("STS_{p:03d}_{s}.nii.gz"))
    put(source / "new\nline.nii.gz")
    put(Path(os.fsdecode(os.fsencode(source) + b"/\xff.nii.gz")))
    (source / "gone.nii.gz").symlink_to("nowhere")
    (source / "STS_007_1.nii.gz").symlink_to("STS_001_1.nii.gz")
    os.mkfifo(source / "pipe.nii.gz")
    proposal = propose(source, tmp_path / "out", Silent())
    text = said(proposal)
    assert "5 in all" in text
    assert "E_NAME" in text
    assert proposal.cases == 12
    label(proposal)
    assert len(accepted(proposal)[1]) == 12


def test_links_that_leave_the_folder_are_allowed_and_said(tmp_path: Path) -> None:
    put_all(tmp_path / "store", grid("{p}{s}.nii.gz"))
    source = tmp_path / "data"
    source.mkdir()
    for p in range(1, 7):
        (source / f"P{p:02d}_1.nii.gz").symlink_to(tmp_path / "store" / f"{p}1.nii.gz")
    proposal = propose(source, tmp_path / "out", Silent())
    assert "allow_outside_root is set to true" in said(proposal)
    label(proposal)
    config, cases = accepted(proposal)
    assert config.data.allow_outside_root
    assert cases[0].patient_id == "P01"


def test_unreadable_volumes_are_found(tmp_path: Path) -> None:
    source = put_all(tmp_path / "data", grid("STS_{p:03d}_{s}.nii.gz"))
    (source / "STS_001_1.nii.gz").write_bytes(b"")
    (source / "STS_002_1.nii.gz").write_bytes(b"<html>")
    text = said(propose(source, tmp_path / "out", Silent()))
    assert "2 of 12 volumes cannot be read: STS_001_1.nii.gz (E_EMPTY" in text


def test_data_inside_the_folder_needs_no_root(tmp_path: Path) -> None:
    put_all(tmp_path / "images", grid("STS_{p:03d}_{s}.nii.gz"))
    proposal = propose(tmp_path / "images", tmp_path, Silent())
    assert load_config(str(proposal.config)).data.root is None
    assert read_table(proposal.manifest)[0]["image"] == "images/STS_001_1.nii.gz"


def test_no_absolute_path_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_all(tmp_path / "data", grid("STS_{p:03d}_{s}.nii.gz"))
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    for number, source in enumerate((Path("link"), tmp_path / "data", Path("data/../data"))):
        proposal = propose(source, tmp_path / f"out{number}/deep", Silent())
        for path in proposal.written:
            assert str(tmp_path) not in path.read_text()
        label(proposal)
        assert len(accepted(proposal)[1]) == 12


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = put_all(tmp_path / "data", grid("STS_{p:03d}_{s}.nii.gz"))
    for name in ("manifest.csv", "config.yaml"):
        out = tmp_path / name.partition(".")[0]
        out.mkdir()
        (out / name).write_text("mine")
        with pytest.raises(ConfigError, match=name):
            propose(source, out, Silent())
        assert [path.name for path in out.iterdir()] == [name]
        assert (out / name).read_text() == "mine"


def test_a_folder_without_volumes_says_what_it_holds(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c", ".hidden"):
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match="no volumes") as caught:
        propose(tmp_path, tmp_path / "out", Silent())
    assert "2 with .txt, 1 with no ending" in str(caught.value)
    assert ".nii.gz" in str(caught.value)


def test_a_folder_that_cannot_be_read_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = put_all(tmp_path / "data", [*grid("STS_{p:03d}_{s}.nii.gz"), "closed/STS_007.nii.gz"])
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="E_FOLDER") as caught:
        propose(source, tmp_path / "out", Silent())
    assert caught.value.where == str(source / "closed")
    assert "Permission denied" in str(caught.value)
    assert "chmod" in str(caught.value)


def test_few_patients_without_an_id_are_not_written_as_known(tmp_path: Path) -> None:
    names = [f"{name}_{s:02d}.nii.gz" for name in ("smith", "jones", "king") for s in range(1, 9)]
    proposal = propose(put_all(tmp_path / "data", names), tmp_path / "out", Silent())
    assert "patient_id" not in read_table(proposal.manifest)[0]
    assert "would give 3 patients only" in said(proposal)


def test_a_folder_that_is_one_dicom_series_is_one_volume(tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(DataError, match="one DICOM folder") as caught:
        propose(tmp_path, tmp_path / "out", Silent())
    assert "each series" in str(caught.value)


@pytest.mark.parametrize("name", ["volume.nii.gz", "missing", "picture.png"])
def test_other_sources_are_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path / "volume.nii.gz")
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        propose(tmp_path / name, tmp_path / "out", Silent())
    assert caught.value.remedy is not None


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    source = put_all(tmp_path / "data", ["STS_001.nii.gz"])
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        propose(source, tmp_path / "file", Silent())


def test_patients_that_are_only_assumed_leave_the_column_out(tmp_path: Path) -> None:
    source = put_all(tmp_path / "data", ["smith.nii", "jones.nii", "wu.nii", "lee.nii"])
    proposal = propose(source, tmp_path / "out", Silent())
    assert "too good" in said(proposal)
    label(proposal)
    config, _ = accepted(proposal)
    assert read_manifest(config.data).patients_assumed


@pytest.mark.skipif(
    not DATA.is_dir(), reason="no real scans here; VOLCLASS_DATA names their folder"
)
@pytest.mark.parametrize(
    ("name", "cases", "patients"), [("modality", 36, 12), ("mr_patches", 158, 30)]
)
def test_real_scans_are_recognised(tmp_path: Path, name: str, cases: int, patients: int) -> None:
    truth = {
        Path(row["image"]).name: row["patient_id"]
        for row in read_table(DATA / name / "manifest.csv")
    }
    proposal = propose(DATA / name / "images", tmp_path / "folder", Silent())
    assert (proposal.cases, proposal.patients) == (cases, patients)
    guessed = {row["image"]: row["patient_id"] for row in read_table(proposal.manifest)}
    assert guessed == truth
    assert "../manifest.csv names images and labels" in said(proposal)
    table = propose(DATA / name / "manifest.csv", tmp_path / "table", Silent())
    config, found = accepted(table)
    assert len(found) == cases
    assert len(make_folds(found, config.cv, 0).folds) == 5
    if name == "mr_patches":
        assert config.preprocess.size == (48, 48, 16)
        assert config.model.stem.stride == (4, 4, 1)
