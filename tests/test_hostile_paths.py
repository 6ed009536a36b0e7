"""Things that are no files, and files that lie elsewhere, are refused at once wherever named.

Rows of a manifest are in test_pipeline_reliability_collection; here are all other places.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL
from typer.testing import CliRunner

from pipeline.cli import app

SECONDS = 5.0
Place = Callable[[Path, str], list[str]]


def assert_refused(arguments: list[str]) -> str:
    """Runs a verb that must refuse, in words, in good time, with a code that is documented."""
    started = time.monotonic()
    result = CliRunner().invoke(app, arguments)
    assert time.monotonic() - started < SECONDS
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (2, 3, 4), result.output
    assert "Traceback" not in result.output
    return str(result.output)


@pytest.fixture(params=["pipe", "/dev/zero", "link to /dev/zero", "folder"])
def thing(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Makes something of a name that is no file, or gives the device that it stands for."""

    def make(name: str) -> str:
        path = tmp_path / name
        if request.param == "pipe":
            os.mkfifo(path)
        elif request.param == "folder":
            path.mkdir()
        elif request.param.startswith("link"):
            path.symlink_to("/dev/zero")
        else:
            return "/dev/zero"
        return str(path)

    return make


def test_as_a_manifest(thing: Callable[[str], str], tmp_path: Path) -> None:
    manifest = f"data.manifest={thing('cases.csv')}"
    output = assert_refused(
        ["train", "-c", "base", *SMALL, manifest, "--out", str(tmp_path / "run")]
    )
    assert "the manifest" in output


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_as_weights(
    name: str, thing: Callable[[str], str], small_manifest: Path, tmp_path: Path
) -> None:
    settings = [f"data.manifest={small_manifest}", f"model.weights={thing(name)}"]
    assert_refused(
        ["train", "-c", "base", *SMALL, *settings, "--dry-run", "--out", str(tmp_path / "run")]
    )


def test_as_a_config(thing: Callable[[str], str], tmp_path: Path) -> None:
    assert_refused(["train", "-c", thing("c.yaml"), "--out", str(tmp_path / "run")])


def test_as_a_file_of_the_run(
    thing: Callable[[str], str], small_manifest: Path, tmp_path: Path
) -> None:
    path = thing("folds.json")
    (tmp_path / "config.yaml").write_text("base: base.yaml")
    if path.startswith("/dev"):
        (tmp_path / "folds.json").symlink_to(path)
    image = small_manifest.parent / "images" / "p00_0.nii.gz"
    assert_refused(["predict", str(tmp_path), str(image), "--out", str(tmp_path / "p.csv")])


@pytest.mark.parametrize("name", ["x.nii.gz", "x.nrrd", "x.csv", "x"])
def test_as_an_input_of_predict(
    name: str, thing: Callable[[str], str], reference: Path, tmp_path: Path
) -> None:
    assert_refused(
        ["predict", str(reference), thing(name), "--out", str(tmp_path / "out" / "p.csv")]
    )
    assert not (tmp_path / "out" / "p.csv").exists()


def test_in_a_folder_that_is_predicted(
    thing: Callable[[str], str], reference: Path, tmp_path: Path
) -> None:
    path = thing("x.nii.gz")
    folder = tmp_path / "scans"
    folder.mkdir()
    if path.startswith("/dev"):
        (folder / "x.nii.gz").symlink_to(path)
    else:
        Path(path).rename(folder / "x.nii.gz")
    assert_refused(
        ["predict", str(reference), str(folder), "--out", str(tmp_path / "out" / "p.csv")]
    )


def outside(folder: Path, target: Path) -> dict[str, str]:
    """Cells that name a file outside the data root."""
    (folder / "link.nii.gz").symlink_to(target)
    (folder / "folder").symlink_to(target.parent, target_is_directory=True)
    return {
        "absolute": str(target),
        "upwards": os.path.relpath(target, folder),
        "link": "link.nii.gz",
        "folder link": f"folder/{target.name}",
    }


@pytest.mark.parametrize("kind", ["absolute", "upwards", "link", "folder link"])
@pytest.mark.parametrize("verb", ["train", "audit", "split"])
def test_a_way_out_of_the_data_root_is_refused_with_the_option_that_allows_it(
    kind: str, verb: str, small_manifest: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    cell = outside(data, small_manifest.parent / "images" / "p00_0.nii.gz")[kind]
    (data / "manifest.csv").write_text(f"image,label\n{cell},left\n")
    settings = [f"data.manifest={data / 'manifest.csv'}", "--out", str(tmp_path / "run")]
    words = " ".join(assert_refused([verb, "-c", "base", *SMALL, *settings]).split())
    assert "E_OUTSIDE_ROOT" in words
    assert "data.allow_outside_root=true" in words
