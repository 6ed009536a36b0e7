"""Each bad input as a user meets it: one message, the documented code, no traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config import Config
from pipeline.crossval import cross_validate
from pipeline.feature_table import training_path
from pipeline.features import extract
from pipeline.progress import Silent

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

Build = Callable[..., Config]


def refusal(words: list[str]) -> tuple[int, str]:
    """The exit code and the output of a command that must be refused with one message."""
    done = CliRunner().invoke(app, words)
    assert "Traceback" not in done.output
    assert done.output.count("volclass: ") == 1
    assert "what to do: " in done.output
    return done.exit_code, done.output


def lacks(output: str, *told: str) -> list[str]:
    """Which of these words a message does not say."""
    return [text for text in told if text not in output]


def manifest_of(folder: Path, names: list[str]) -> str:
    """A manifest of volumes with two classes, a patient each."""
    rows = [f"{name},{'ab'[n % 2]},p{n}" for n, name in enumerate(names)]
    (folder / "cases.csv").write_text("\n".join(["image,label,patient_id", *rows, ""]))
    return f"data.manifest={folder / 'cases.csv'}"


def test_a_medmnist_file_with_another_md5(tmp_path: Path) -> None:
    np.savez(tmp_path / "adrenalmnist3d.npz", train_images=np.zeros((1, 28, 28, 28), np.uint8))
    words = ["train", "-c", "benchmarks/adrenalmnist3d", f"data.root={tmp_path}"]
    md5 = "bbd3c5a5576322bc4cdfea780653b1ce"
    code, output = refusal([*words, "--out", str(tmp_path / "run")])
    assert code == 3
    assert lacks(output, "E_MD5", "adrenalmnist3d.npz", md5) == []
    (tmp_path / "adrenalmnist3d.npz").unlink()
    code, output = refusal([*words, "--out", str(tmp_path / "run")])
    assert code == 3
    assert lacks(output, "E_MISSING", "adrenalmnist3d.npz", md5) == []


def test_a_feature_file_of_another_model_or_other_folds(
    reference: Path, small_config: Build, tmp_path: Path
) -> None:
    own, out = tmp_path / "own.parquet", str(tmp_path / "probe")
    extract(reference, [], own, Silent())
    cross_validate(small_config("seed=9", "train.epochs=1"), tmp_path / "run", Silent())
    other = tmp_path / "other.parquet"
    extract(tmp_path / "run", [], other, Silent())
    words = ["features", str(tmp_path / "run"), "--out", str(own)]
    code, output = refusal(words)
    assert code == 2
    assert lacks(output, "holds other features", "weights", "folds") == []
    words = ["probe", str(own), "--run", str(tmp_path / "run"), "--out", out]
    code, output = refusal(words)
    assert code == 3
    assert lacks(output, "other folds") == []
    shutil.copy(training_path(other), training_path(own))
    code, output = refusal(["probe", str(own), "--out", out])
    assert code == 3
    assert lacks(output, "weights") == []
    training_path(own).unlink()
    code, output = refusal(["probe", str(own), "--out", out])
    assert code == 3
    assert lacks(output, "own.training.parquet") == []
    assert not (tmp_path / "probe" / "index.html").exists()


def test_fewer_patients_than_folds_for_the_probe(
    make_volumes: Callable[..., Path], small_config: Build, tmp_path: Path
) -> None:
    (tmp_path / "few").mkdir()
    manifest = make_volumes(tmp_path / "few", patients=4)
    config = small_config(f"data.manifest={manifest}", "cv.folds=3")
    done = extract(config, [], tmp_path / "f.parquet", Silent())
    assert done.table.origin.folds is None
    words = ["probe", str(tmp_path / "f.parquet"), "--out", str(tmp_path / "probe")]
    code, output = refusal(words)
    assert code == 3
    assert lacks(output, "E_FEW_PATIENTS", "--folds 2") == []


@pytest.mark.parametrize("verb", ["init", "predict", "features"])
def test_a_folder_with_no_volume(verb: str, reference: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing here")
    run = [] if verb == "init" else [str(reference)]
    out = tmp_path / ("f.parquet" if verb == "features" else "out")
    code, output = refusal([verb, *run, str(tmp_path / "empty"), "--out", str(out)])
    assert code == 3
    assert lacks(output, "no volume", "empty") == []


def test_a_header_whose_voxels_are_missing(small_config: Build, tmp_path: Path) -> None:
    names = []
    for number in range(8):
        voxels = np.random.default_rng(number).integers(0, 99, (8, 8, 8)).astype(np.int16)
        names.append(f"scan{number}.mhd")
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(tmp_path / names[-1]))
    (tmp_path / "scan3.raw").unlink()
    words = ["train", "-c", "base", manifest_of(tmp_path, names), "preprocess.size=[8,8,8]"]
    small = ["model.options={depths: [1,1,1,1], dims: [4,8,8,8]}", "cv.folds=2"]
    told = ("E_RAW_MISSING", "scan3.mhd", "scan3.raw", "data.max_quarantine=1")
    code, output = refusal([*words, *small, "--out", str(tmp_path / "run")])
    assert code == 3
    assert lacks(output, *told) == []


def test_mixed_numbers_of_channels(tmp_path: Path) -> None:
    names = []
    for number in range(8):
        voxels = np.random.default_rng(number).integers(0, 99, (8, 8, 8, 3)).astype(np.uint8)
        if number == 5:
            image = SimpleITK.GetImageFromArray(voxels, isVector=True)
            names.append("colour.nrrd")
            SimpleITK.WriteImage(image, str(tmp_path / names[-1]))
        else:
            names.append(f"scan{number}.nii.gz")
            nib.save(nib.Nifti1Image(voxels[..., 0], np.eye(4)), tmp_path / names[-1])
    words = ["train", "-c", "base", manifest_of(tmp_path, names), "preprocess.size=[8,8,8]"]
    small = ["model.options={depths: [1,1,1,1], dims: [4,8,8,8]}", "cv.folds=2"]
    told = ("1 volume cannot be used", "E_CHANNELS", "colour.nrrd", "3 channels; one is expected")
    code, output = refusal([*words, *small, "--out", str(tmp_path / "run")])
    assert code == 3
    assert lacks(output, *told) == []


def test_a_volume_too_small_for_a_network(tmp_path: Path, small_manifest: Path) -> None:
    words = ["train", "-c", "base", f"data.manifest={small_manifest}"]
    more = ["model.name=monai_densenet121", "preprocess.size=[16,32,32]"]
    told = ("preprocess.size", "29, 29, 29")
    code, output = refusal([*words, *more, "--out", str(tmp_path / "run")])
    assert code == 2
    assert lacks(output, *told) == []
