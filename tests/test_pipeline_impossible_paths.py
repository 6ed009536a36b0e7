"""Paths that no file can have, too long or with a NUL, end in one message wherever they stand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.console import refusals
from pipeline.data.formats.dispatch import companions, read_volume
from pipeline.data.volume import VolumeError

LONG = "x" * 5_000
DEEP = "/".join(["y" * 200] * 30)
NUL = "a\0b"
IMPOSSIBLE = pytest.mark.parametrize("name", [LONG, DEEP, NUL], ids=["long", "deep", "nul"])


def assert_refused(*arguments: str) -> str:
    """What a verb says that must refuse, in one message."""
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (2, 3, 4), result.output
    assert "Traceback" not in result.output
    by_typer = "Usage: " in result.output  # it looks at some paths itself
    assert result.output.count("volclass: ") == (0 if by_typer else 1)
    return str(result.output)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a volume."""
    monkeypatch.chdir(tmp_path)
    voxels = np.arange(120, dtype=np.float32).reshape(6, 5, 4)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), "a.nii")
    return tmp_path


VERBS: dict[str, Callable[[str], tuple[str, ...]]] = {
    "plan": lambda name: ("plan", name, "--out", "plan.yaml"),
    "plan --out": lambda name: ("plan", "cases.csv", "--out", name),
    "plan --config": lambda name: ("plan", "--config", name, "--out", "plan.yaml"),
    "init": lambda name: ("init", name, "--out", "new"),
    "init --out": lambda name: ("init", "a.nii", "--out", name),
    "train --config": lambda name: ("train", "--config", name, "--out", "run"),
    "train --out": lambda name: ("train", "--config", "quickstart", "--out", name),
    "train --resume": lambda name: ("train", "-c", "quickstart", "--resume", "--out", name),
    "data.manifest": lambda name: ("train", "-c", "base", f"data.manifest={name}", "-o", "run"),
    "cache": lambda name: ("train", "-c", "quickstart", f"system.cache_dir={name}", "-o", "run"),
    "audit --out": lambda name: ("audit", "--config", "quickstart", "--out", name),
    "predict RUN": lambda name: ("predict", name, "a.nii", "--out", "p.csv"),
    "features RUN": lambda name: ("features", name, "--out", "f.parquet"),
    "features PATH": lambda name: ("features", "--config", "base", name, "--out", "f.parquet"),
    "features word": lambda name: ("features", "-c", "base", f"{name}=1", "--out", "f.parquet"),
    "report": lambda name: ("report", name),
    "probe": lambda name: ("probe", name, "--out", "probed"),
    "ladder --config": lambda name: ("ladder", "--config", name, "--out", "ladder"),
    "tune --config": lambda name: ("tune", "--config", name, "--out", "tuned"),
}


@IMPOSSIBLE
@pytest.mark.parametrize("verb", VERBS)
def test_on_the_command_line(verb: str, name: str, here: Path) -> None:
    (here / "cases.csv").write_text("image,label\na.nii,b\n")
    assert_refused(*VERBS[verb](name))


@IMPOSSIBLE
def test_as_an_input_or_output_of_predict(reference: Path, name: str, here: Path) -> None:
    run = str(reference)
    for path in (name, f"{name}.csv", f"{name}.nii.gz", f"{name}#series=3f2a91bc", f"{name}=3"):
        assert_refused("predict", run, path, "--out", "p.csv")
    (here / "own.csv").write_text(f"image,label\n{name},b\na.nii,b\n")
    assert_refused("predict", run, "own.csv", "--out", "p.csv")
    if name != DEEP:  # for that one folders would be made
        assert_refused("predict", run, "a.nii", "--out", f"{name}/p.csv")
    assert not (here / "p.csv").exists()


@IMPOSSIBLE
@pytest.mark.parametrize("column", ["image", "mask"])
def test_in_a_cell_of_a_manifest_beside_another_problem(column: str, name: str, here: Path) -> None:
    other = "" if column == "image" else ",a.nii"
    (here / "cases.csv").write_text(
        f"{column},label{',image' if other else ''}\n{name},a{other}\nmissing.nii,b{other}\n"
    )
    arguments = ["train", "-c", "base", "data.manifest=cases.csv", "--out", "run"]
    output = assert_refused(*arguments, *(["model.masks.weight=1"] if other else []))
    assert "line 2: E_" in output
    assert "line 3: E_MISSING: " in output


@pytest.mark.parametrize("name", [LONG, NUL, f"{LONG}#series=3f2a91bc"])
def test_a_volume_of_such_a_name_does_not_exist(name: str, tmp_path: Path) -> None:
    with pytest.raises(VolumeError) as caught:
        read_volume(tmp_path / name)
    assert caught.value.code == "E_MISSING"
    assert "NUL" in caught.value.reason or "characters is too long" in caught.value.reason
    assert companions(tmp_path / name) == ()


def test_the_message_shows_the_beginning_of_what_is_too_long_and_how_long_it_is(
    here: Path,
) -> None:
    output = assert_refused("report", str(here / LONG))
    assert str(here)[:80] in output
    assert re.search(r"\.\.\. \(5,\d{3} characters\)", output)
    assert len(output) < 500


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("another")])
def test_other_errors_of_the_system_are_not_hidden(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, refusals(debug=False):
        raise error
    assert caught.value is error


def test_debug_shows_where_it_happened() -> None:
    with pytest.raises(OSError, match="too long"), refusals(debug=True):
        Path(LONG).stat()
