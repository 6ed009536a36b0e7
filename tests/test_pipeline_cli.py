"""The command line: one message for each mistake, its exit code, and no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app

Arguments = Callable[..., list[str]]
ROOT = Path(__file__).parent.parent


def refusal(arguments: list[str], code: int) -> str:
    """Runs a command that must be refused; what it said."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result.output


def edited(manifest: Path, folder: Path, change: Callable[[list[str]], list[str]]) -> str:
    """A changed copy of a manifest, beside copies of its volumes."""
    shutil.copytree(manifest.parent, folder)
    copy = folder / manifest.name
    copy.write_text("\n".join(change(copy.read_text().splitlines())) + "\n")
    return f"data.manifest={copy}"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=3", ["unknown key train.epoch", "did you mean train.epochs"]),
        ("train.epochs=three", ["train.epochs", "integer"]),
        ("model.name=poolformer3d_x", ["unknown model", "poolformer3d_t"]),
        ("model.options={depth: 3}", ["no option", "depths"]),
        ("model.supervision={stages: [5]}", ["no stage 5", "model.supervision.stages"]),
        ("model.weights=none.safetensors", ["none.safetensors"]),
        ("system.device=cuda", ["no cuda device"]),
    ],
)
def test_a_setting_that_is_not_valid(
    override: str, words: list[str], small_arguments: Arguments, tmp_path: Path
) -> None:
    import torch

    if override.endswith("cuda") and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    code = 4 if "weights" in override else 2
    output = refusal(small_arguments(override, "--out", str(tmp_path / "run")), code)
    assert [word for word in words if word not in output] == []


def test_a_volume_too_small_for_the_network(small_arguments: Arguments, tmp_path: Path) -> None:
    more = ("model.name=poolformer3d_s12", "model.options={}", "preprocess.size=[2, 8, 8]")
    output = refusal(small_arguments(*more, "--out", str(tmp_path / "run")), 2)
    assert "too small" in output
    assert "at least" in output


def drop_column(lines: list[str]) -> list[str]:
    return [line.rsplit(",", 2)[0] + "," + line.rsplit(",", 1)[1] for line in lines]


MANIFEST_MISTAKES: list[tuple[str, Callable[[list[str]], list[str]], list[str]]] = [
    ("missing column", drop_column, ["label", "image", "patient_id"]),
    (
        "missing file",
        lambda lines: [*lines, "images/p00_9.nii.gz,left,p00"],
        ["p00_9.nii.gz", "line 22", "p00_"],
    ),
    ("duplicate path", lambda lines: [*lines, lines[1]], ["E_DUP_PATH", "line 22", "line 2"]),
    (
        "conflicting labels",
        lambda lines: [*lines, lines[1].replace("right", "left")],
        ["E_LABEL_CONFLICT", "line 22", "line 2"],
    ),
    (
        "a class of one",
        lambda lines: [lines[0], lines[1].replace("right", "rigth"), *lines[2:]],
        ["rigth", "did you mean", "right", "line 2"],
    ),
    (
        "empty label",
        lambda lines: [lines[0], lines[1].replace("right", ""), *lines[2:]],
        ["empty", "line 2"],
    ),
    ("nothing but a header", lambda lines: lines[:1], ["no row", "no case", "empty"]),
]


@pytest.mark.parametrize(
    ("change", "words"),
    [pytest.param(change, words, id=name) for name, change, words in MANIFEST_MISTAKES],
)
def test_a_manifest_with_a_mistake(
    change: Callable[[list[str]], list[str]],
    words: list[str],
    small_arguments: Arguments,
    small_manifest: Path,
    tmp_path: Path,
) -> None:
    manifest = edited(small_manifest, tmp_path / "data", change)
    output = refusal(small_arguments(manifest, "--out", str(tmp_path / "run")), 3)
    found = [word for word in words if word in output]
    assert found == words or (change is MANIFEST_MISTAKES[-1][1] and found)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_manifest_that_is_not_there(small_arguments: Arguments, tmp_path: Path) -> None:
    missing = f"data.manifest={tmp_path / 'cases.csv'}"
    output = refusal(small_arguments(missing, "--out", str(tmp_path / "run")), 3)
    assert "cases.csv" in output


def test_fewer_patients_than_folds_names_the_largest_number(
    small_arguments: Arguments, tmp_path: Path
) -> None:
    output = refusal(small_arguments("cv.folds=9", "--out", str(tmp_path / "run")), 3)
    assert "cv.folds=5" in output


def test_a_volume_that_cannot_be_read(
    small_arguments: Arguments, small_manifest: Path, tmp_path: Path
) -> None:
    manifest = edited(small_manifest, tmp_path / "data", lambda lines: lines)
    (tmp_path / "data/images/p01_0.nii.gz").write_bytes(b"<html>please log in</html>")
    output = refusal(small_arguments(manifest, "--out", str(tmp_path / "run")), 3)
    words = ["p01_0.nii.gz", "E_NOT_NIFTI", "HTML", "data.max_quarantine=1"]
    assert [word for word in words if word not in output] == []


def test_folds_of_another_manifest(
    reference: Path, small_arguments: Arguments, small_manifest: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(reference / "folds.json", tmp_path / "run")
    manifest = edited(small_manifest, tmp_path / "data", lambda lines: lines[:-1])
    output = refusal(small_arguments(manifest, "--out", str(tmp_path / "run")), 3)
    assert "p09_1" in output
    assert "volclass split" in output


def test_a_folder_that_cannot_be_written_is_refused_before_data_is_read(
    small_arguments: Arguments, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    missing = f"data.manifest={tmp_path / 'none.csv'}"
    output = refusal(small_arguments(missing, "--out", str(tmp_path / "file" / "run")), 4)
    assert "cannot write" in output
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write anywhere, read-only or not")
    assert "cannot write" in refusal(small_arguments(missing, "--out", str(locked / "run")), 4)


def test_resuming_what_is_not_there(small_arguments: Arguments, tmp_path: Path) -> None:
    output = refusal(small_arguments("--resume", "--out", str(tmp_path / "run")), 2)
    assert "no run to resume" in output


def test_a_folder_with_another_run(reference: Path, small_arguments: Arguments) -> None:
    before = {path: path.read_bytes() for path in reference.rglob("*") if path.is_file()}
    output = refusal(small_arguments("seed=5", "--resume", "--out", str(reference)), 2)
    assert "seed: 0 in the folder, 5 now" in output
    assert "--resume" in refusal(small_arguments("--out", str(reference)), 2)
    output = refusal(small_arguments("--fold", "7", "--resume", "--out", str(reference)), 2)
    assert "folds count from 0 to 1" in output
    changed = [path for path, content in before.items() if path.read_bytes() != content]
    assert [path.name for path in changed if path.name != ".lock"] == []


def test_a_divergence_has_its_own_code(small_arguments: Arguments, tmp_path: Path) -> None:
    more = ("train.lr=1e30", "train.warmup=0.0", "train.clip=0.0")
    output = refusal(small_arguments(*more, "--out", str(tmp_path / "run")), 5)
    assert "not finite" in output


def test_split_writes_folds_that_train_obeys_and_never_replaces(
    small_arguments: Arguments, tmp_path: Path
) -> None:
    out = str(tmp_path / "run")
    arguments = ["split", *small_arguments("seed=3", "--out", out)[1:]]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "fold 1: " in result.output
    folds = (tmp_path / "run" / "folds.json").read_bytes()
    assert "already has folds" in refusal(arguments, 2)
    result = CliRunner().invoke(app, small_arguments("seed=4", "train.epochs=1", "--out", out))
    assert result.exit_code == 0, result.output
    import json

    after = json.loads((tmp_path / "run" / "folds.json").read_text())
    assert after["sha256"] == json.loads(folds)["sha256"]


def test_report_is_written_again_from_files_alone(reference: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(reference), "--out", str(tmp_path / "page")])
    assert result.exit_code == 0, result.output
    assert "auroc: " in result.output
    for name in ("index.html", "metrics.json"):
        assert (tmp_path / "page" / name).read_bytes() == (reference / "report" / name).read_bytes()
    assert "is this a run?" in refusal(["report", str(tmp_path)], 4)


def test_predict_warns_of_cases_that_were_trained_on(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    arguments = ["predict", str(reference), str(small_manifest), "--out", str(tmp_path / "p.csv")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "warning: the run was trained on 20 of them" in result.output
    result = CliRunner().invoke(app, [*arguments, "--out-of-fold"])
    assert "warning" not in result.output


def test_models_are_listed_with_their_sizes() -> None:
    result = CliRunner().invoke(app, ["models", "poolformer3d_s*"])
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 3
    assert "parameters" in result.output
    assert "no network matches" in refusal(["models", "resnot*"], 2)


@pytest.mark.parametrize("verb", ["train", "predict", "report", "split", "models"])
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "-h"])
    assert result.exit_code == 0
    assert f"Example: volclass {verb}" in result.output


def test_debug_shows_where_an_error_comes_from(small_arguments: Arguments, tmp_path: Path) -> None:
    arguments = small_arguments("--debug", "--resume", "--out", str(tmp_path / "run"))
    result = CliRunner().invoke(app, arguments)
    assert type(result.exception).__name__ == "ConfigError"


def test_nothing_heavy_is_imported_before_the_arguments_are_checked(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from pipeline.cli import app\n"
        "for arguments in (['-h'], ['train', '-h'],\n"
        "    ['train', '-c', 'quickstart', 'train.epoch=1', '--out', sys.argv[1]],\n"
        "    ['train', '-c', 'quickstart', '--resume', '--out', sys.argv[1]]):\n"
        "    CliRunner().invoke(app, arguments)\n"
        "heavy = {'torch', 'monai', 'numpy', 'pandas', 'sklearn', 'matplotlib', 'nibabel'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_namesake_of_our_package_is_refused(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline")
    (tmp_path / "pipeline" / "__init__.py").write_text('"""Another distribution."""\n')
    code = "from pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "models"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "another distribution provides 'pipeline'" in done.stderr
    assert "Traceback" not in done.stderr
