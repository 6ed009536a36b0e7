"""Predictions of new and known volumes by the fold models."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipeline.config import Config
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError, DataError
from pipeline.predict import predict
from pipeline.progress import Silent
from pipeline.storage import read_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

Build = Callable[..., Config]


def images(manifest: Path) -> Path:
    return manifest.parent / "images"


def test_a_folder_of_known_volumes_is_predicted_and_marked(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "predictions.csv"
    results = predict(reference, [str(images(small_manifest))], out, Silent())
    rows = read_table(out)
    assert [row["case_id"] for row in rows] == [item.case.case_id for item in results]
    assert len(rows) == 20
    assert {row["seen_in_training"] for row in rows} == {"true"}
    for row in rows:
        assert row["label"] == row["fold"] == ""
        scores = {name: float(row[f"p_{name}"]) for name in ("left", "right")}
        assert sum(scores.values()) == pytest.approx(1.0)
        assert row["prediction"] == max(scores, key=lambda name: scores[name])
    assert str(tmp_path) not in out.read_text()


def test_out_of_fold_gives_the_predictions_of_the_run(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "predictions.csv"
    predict(reference, [str(small_manifest)], out, Silent(), out_of_fold=True)
    again = {row["case_id"]: row for row in read_table(out)}
    for row in read_table(reference / "predictions.csv"):
        other = again[row["case_id"]]
        assert other["fold"] == row["fold"]
        assert other["label"] == row["label"]
        assert float(other["p_left"]) == pytest.approx(float(row["p_left"]), abs=1e-6)


def test_the_ensemble_is_the_mean_of_the_folds(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    path = images(small_manifest) / "p00_0.nii.gz"
    (result,) = predict(reference, [str(path)], tmp_path / "one.csv", Silent())
    alone = []
    for fold in range(2):
        single = tmp_path / f"run{fold}"
        shutil.copytree(reference, single)
        (single / f"fold_{1 - fold}" / "predictions.csv").unlink()
        (item,) = predict(single, [str(path)], tmp_path / "alone.csv", Silent())
        alone.append(item.probabilities)
    assert np.allclose(result.probabilities, np.mean(alone, axis=0), atol=1e-7)


def test_new_volumes_are_not_seen_and_need_no_labels(reference: Path, tmp_path: Path) -> None:
    voxels = np.random.default_rng(7).normal(0, 1, (9, 7, 8)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, 1.0, 1.5, 1.0])), tmp_path / "new.nii")
    with (tmp_path / "new.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["image", "patient_id"], ["new.nii", "x"]])
    predict(reference, [str(tmp_path / "new.csv")], tmp_path / "out.csv", Silent())
    (row,) = read_table(tmp_path / "out.csv")
    assert (row["case_id"], row["patient_id"]) == ("new", "x")
    assert row["seen_in_training"] == "false"


def test_a_recompressed_copy_is_still_known(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    image = nib.load(images(small_manifest) / "p00_0.nii.gz")
    nib.save(image, tmp_path / "other_name.nii")
    (item,) = predict(reference, [str(tmp_path / "other_name.nii")], tmp_path / "o.csv", Silent())
    assert item.seen


def test_neighbours_do_not_change_a_prediction(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    together = predict(reference, [str(images(small_manifest))], tmp_path / "a.csv", Silent())
    for item in together[::7]:
        path = images(small_manifest) / f"{item.case.case_id}.nii.gz"
        (alone,) = predict(reference, [str(path)], tmp_path / "b.csv", Silent())
        assert np.allclose(alone.probabilities, item.probabilities, atol=1e-6)


def test_what_cannot_be_predicted_is_refused(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    known = images(small_manifest)
    with pytest.raises(ConfigError, match="holds no run"):
        predict(tmp_path, [str(known)], out, Silent())
    with pytest.raises(DataError, match="an input is missing"):
        predict(reference, [str(tmp_path / "none.nii.gz")], out, Silent())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no volume in this folder"):
        predict(reference, [str(tmp_path / "empty")], out, Silent())
    with pytest.raises(DataError, match="several inputs have the name p00_0"):
        predict(reference, [str(known), str(known / "p00_0.nii.gz")], out, Silent())
    (tmp_path / "cut.nii.gz").write_bytes((known / "p00_0.nii.gz").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"cut\.nii\.gz.*E_TRUNCATED"):
        predict(reference, [str(tmp_path / "cut.nii.gz")], out, Silent())
    assert not out.exists()
    with pytest.raises(ConfigError, match=r"train\.lr cannot be changed"):
        predict(reference, [str(known), "train.lr=1.0"], out, Silent())


def test_bad_files_are_left_out_where_that_is_allowed(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    for patient in ("sub-01", "sub-02"):
        (tmp_path / "bids" / patient).mkdir(parents=True)
    good = images(small_manifest) / "p00_0.nii.gz"
    shutil.copy(good, tmp_path / "bids/sub-01/T1.nii.gz")
    (tmp_path / "bids/sub-02/T1.nii.gz").write_bytes(good.read_bytes()[:-30])
    inputs = [str(tmp_path / "bids"), "data.max_quarantine=1"]
    (result,) = predict(reference, inputs, tmp_path / "o.csv", Silent())
    assert (result.case.case_id, result.case.image.parent.name) == ("T1", "sub-01")


def test_a_manifest_may_point_outside_its_folder_if_told_so(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "elsewhere.csv"
    manifest.write_text(f"image\n{images(small_manifest) / 'p00_0.nii.gz'}\n")
    with pytest.raises(DataError, match=r"data\.allow_outside_root=true|data\.root="):
        predict(reference, [str(manifest)], tmp_path / "o.csv", Silent())
    inputs = [str(manifest), "data.allow_outside_root=true"]
    assert len(predict(reference, inputs, tmp_path / "o.csv", Silent())) == 1
    inputs = [str(manifest), f"data.root={images(small_manifest)}"]
    assert len(predict(reference, inputs, tmp_path / "o.csv", Silent())) == 1


def test_an_official_split_trains_once_and_tests_once(
    small_config: Build, small_manifest: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_manifest.parent, tmp_path / "data")
    manifest = tmp_path / "data" / "manifest.csv"
    with manifest.open(newline="") as handle:
        header, *rows = list(csv.reader(handle))
    parts = {"p06": "val", "p07": "val", "p08": "test", "p09": "test"}
    with manifest.open("w", newline="") as handle:
        table = [[*row, parts.get(row[2], "train")] for row in rows]
        csv.writer(handle).writerows([[*header, "split"], *table])
    config = small_config(f"data.manifest={manifest}", "cv.scheme=official", "train.epochs=1")
    cross_validate(config, tmp_path / "run", Silent())
    predicted = {row["case_id"] for row in read_table(tmp_path / "run" / "predictions.csv")}
    assert predicted == {"p08_0", "p08_1", "p09_0", "p09_1"}
    with pytest.raises(DataError, match="has not seen case p00_0"):
        predict(tmp_path / "run", [str(manifest)], tmp_path / "o.csv", Silent(), out_of_fold=True)
    results = predict(tmp_path / "run", [str(manifest)], tmp_path / "o.csv", Silent())
    assert {item.case.case_id for item in results if not item.seen} == predicted
