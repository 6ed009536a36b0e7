"""Planted leaks between cases: every one is refused by `train` before a network learns of it.

Others are planted where they arise: a covariate that is the label in test_pipeline_covariates,
metadata that are and near copies in test_pipeline_audit, a pretraining that saw the test part in
test_pipeline_pretrained, predictions of known cases in test_pipeline_predict.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from conftest import SMALL, write_volumes
from leak_makers import Rows, write_rows

from dicom_makers import save, slices
from pipeline.audit import audit
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.data.folds_file import read_folds
from pipeline.data.volume import voxels_of
from pipeline.errors import DataError
from pipeline.inputs import models_that_saw
from pipeline.progress import Silent
from pipeline.storage import read_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

nib: Any = nibabel  # has no types for what is used here
sitk: Any = SimpleITK  # has no types
FIRST, COPY = "images/p00_0.nii.gz", "images/copy"
Plant = Callable[[Path, Rows], None]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Volumes among which nothing leaks."""
    return write_volumes(tmp_path_factory.mktemp("clean")).parent


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    """The same, to be spoiled."""
    return Path(shutil.copytree(clean, tmp_path / "data"))


def row(image: str, patient: str = "new", label: str = "right") -> dict[str, str]:
    return {"image": image, "label": label, "patient_id": patient}


def add_copy(rows: Rows, ending: str, save: Callable[[str], object], data: Path) -> None:
    """A further patient, whose volume is another file of the first one's."""
    save(str(data / (COPY + ending)))
    rows.append(row(COPY + ending))


def same_file(data: Path, rows: Rows) -> None:
    add_copy(rows, ".nii.gz", lambda path: shutil.copy(data / FIRST, path), data)


def other_label(data: Path, rows: Rows) -> None:
    add_copy(rows, ".nii.gz", lambda path: shutil.copy(data / FIRST, path), data)
    rows[-1].update(patient_id="p00", label="left")


def twice(data: Path, rows: Rows) -> None:
    rows.append(row(FIRST))


def twice_in_other_words(data: Path, rows: Rows) -> None:
    rows.append(row(f"images/../{FIRST}"))


def by_link(data: Path, rows: Rows) -> None:
    add_copy(rows, ".nii.gz", lambda path: Path(path).symlink_to(data / FIRST), data)


def by_folder_link(data: Path, rows: Rows) -> None:
    (data / "more").symlink_to(data / "images", target_is_directory=True)
    rows.append(row(FIRST.replace("images", "more")))


def by_hard_link(data: Path, rows: Rows) -> None:
    add_copy(rows, ".nii.gz", lambda path: Path(path).hardlink_to(data / FIRST), data)


def unpacked(data: Path, rows: Rows) -> None:
    add_copy(rows, ".nii", lambda path: nib.save(nib.load(data / FIRST), path), data)


def as_nrrd(data: Path, rows: Rows) -> None:
    image = sitk.ReadImage(str(data / FIRST))
    add_copy(rows, ".nrrd", lambda path: sitk.WriteImage(image, path), data)


def as_metaimage(data: Path, rows: Rows) -> None:
    image = sitk.ReadImage(str(data / FIRST))
    add_copy(rows, ".mha", lambda path: sitk.WriteImage(image, path, True), data)


def in_another_type(data: Path, rows: Rows) -> None:
    image = nib.load(data / FIRST)
    values = np.asarray(image.dataobj, dtype=np.float64)
    add_copy(rows, ".nii", lambda path: nib.save(nib.Nifti1Image(values, image.affine), path), data)


def with_another_affine(data: Path, rows: Rows) -> None:
    image = nib.load(data / FIRST)
    affine = np.diag([1.1, 0.9, 2.0, 1.0])
    affine[:3, 3] = (7.0, -5.0, 3.0)
    moved = nib.Nifti1Image(np.asarray(image.dataobj), affine)
    add_copy(rows, ".nii", lambda path: nib.save(moved, path), data)


def stored_the_other_way_round(data: Path, rows: Rows) -> None:
    image = nib.load(data / FIRST)
    turned = image.as_reoriented([[2, -1], [0, 1], [1, -1]])
    add_copy(rows, ".nii", lambda path: nib.save(turned, path), data)


PLANTED: list[tuple[Plant, str]] = [
    (same_file, "E_DUP_CONTENT"),
    (other_label, "E_LABEL_CONFLICT"),
    (twice, "E_DUP_PATH"),
    (twice_in_other_words, "E_DUP_PATH"),
    (by_link, "E_DUP_PATH"),
    (by_folder_link, "E_DUP_PATH"),
    (by_hard_link, "E_DUP_CONTENT"),
    (unpacked, "E_DUP_CONTENT"),
    (as_nrrd, "E_DUP_CONTENT"),
    (as_metaimage, "E_DUP_CONTENT"),
    (in_another_type, "E_DUP_CONTENT"),
    (with_another_affine, "E_DUP_CONTENT"),
    (stored_the_other_way_round, "E_DUP_CONTENT"),
]


@pytest.mark.parametrize(("plant", "code"), PLANTED, ids=lambda item: getattr(item, "__name__", ""))
def test_a_planted_copy_is_refused_before_anything_is_learnt(
    plant: Plant, code: str, data: Path, tmp_path: Path
) -> None:
    rows = read_table(data / "manifest.csv")
    plant(data, rows)
    manifest = write_rows(data / "manifest.csv", rows)
    config = load_config("base", [*SMALL, f"data.manifest={manifest}"])
    with pytest.raises(DataError) as caught:
        cross_validate(config, tmp_path / "run", Silent())
    message = str(caught.value)
    assert code in message
    assert "p00_0" in message or "line 2" in message
    assert "what to do" in message
    assert list((tmp_path / "run").glob("fold_*")) == []


def test_a_second_scan_of_a_patient_under_another_case_id_is_no_leak(
    data: Path, tmp_path: Path
) -> None:
    rows = read_table(data / "manifest.csv")
    same_file(data, rows)
    rows[-1]["patient_id"] = "p00"
    manifest = write_rows(data / "manifest.csv", rows)
    config = load_config("base", [*SMALL, "train.epochs=1", f"data.manifest={manifest}"])
    cross_validate(config, tmp_path / "run", Silent())
    folds = read_folds(tmp_path / "run" / "folds.json")
    content = folds.cases["copy"].content
    assert content == folds.cases["p00_0"].content
    for number, fold in enumerate(folds.folds):
        parts = [{"copy", "p00_0"} <= {*part} for part in (fold.train, fold.validation, fold.test)]
        assert sum(parts) == 1
        saw = number in models_that_saw(folds)[voxels_of(content or "")]
        assert saw == (not parts[2])


def add_parts(data: Path, patients: tuple[str, str], step: int = 1) -> Path:
    """Cuts a scan into halves, or into every second slice, each a row of the manifest."""
    rows, made = read_table(data / "manifest.csv"), slices(16, size=(8, 8), spacing=1.5)
    for part, patient in enumerate(patients):
        own = made[part::2] if step == 2 else made[8 * part : 8 * part + 8]
        rows.append(row(f"images/scan_{part}", patient))
        save(data / rows[-1]["image"], own)
    return write_rows(data / "manifest.csv", rows)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("patients", [("new", "newer"), ("new", "new")])
@pytest.mark.parametrize("step", [1, 2], ids=["halves", "in turns"])
def test_parts_of_one_scan_are_refused(
    step: int, patients: tuple[str, str], data: Path, tmp_path: Path
) -> None:
    manifest = add_parts(data, patients, step)
    config = load_config("base", [*SMALL, f"data.manifest={manifest}"])
    with pytest.raises(DataError, match="E_DICOM_PARTS") as caught:
        cross_validate(config, tmp_path / "run", Silent())
    assert "scan_0 (scan_0) and scan_1 (scan_1) are parts" in str(caught.value)
    assert list((tmp_path / "run").glob("fold_*")) == []


@pytest.mark.usefixtures("in_this_process", "quick_probe")
def test_an_audit_names_the_parts_of_one_scan(data: Path, tmp_path: Path) -> None:
    manifest = add_parts(data, ("new", "newer"))
    config = load_config("base", [*SMALL, f"data.manifest={manifest}"])
    found = audit(config, tmp_path / "audit", Silent())
    (decision,) = [item for item in found.record.decisions if item.code == "E_DICOM_PARTS"]
    assert decision.cases == ("scan_0", "scan_1")
    assert "scan_0 and scan_1 are parts of one scan" in decision.what
    assert [item.how for item in found.record.shared] == ["parts"]
    for page in ("audit.json", "index.html"):
        assert "E_DICOM_PARTS" in (tmp_path / "audit" / page).read_text()


@pytest.mark.parametrize("parts", [("train", "test"), ("val", "test"), ("train", "val")])
def test_a_patient_across_an_official_split_is_refused(
    parts: tuple[str, str], data: Path, tmp_path: Path
) -> None:
    rows = read_table(data / "manifest.csv")
    split = {"p00": "test", "p01": "test", "p02": "val", "p03": "val"}
    for item in rows:
        item["split"] = split.get(item["patient_id"], "train")
    (first, second) = [item for item in rows if item["patient_id"] == "p08"]
    first["split"], second["split"] = parts
    manifest = write_rows(data / "manifest.csv", rows)
    config = load_config("base", [*SMALL, "cv.scheme=official", f"data.manifest={manifest}"])
    with pytest.raises(DataError, match=r"p08 \(") as caught:
        cross_validate(config, tmp_path / "run", Silent())
    assert "p08_0" in str(caught.value)
    assert "p08_1" in str(caught.value)
