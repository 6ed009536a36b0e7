"""What is doubtful in an accepted volume is said: while reading, from the cache, on the page."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import nibabel as nib
import numpy as np
import pytest

from pipeline.config import Config
from pipeline.crossval import cross_validate
from pipeline.features import extract
from pipeline.init import propose
from pipeline.predict import predict
from pipeline.progress import Display, Silent

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

Build = Callable[..., Config]


class Kept(Display, Protocol):
    """A display that keeps its lines."""

    shown: list[str]


@pytest.fixture
def doubtful(make_volumes: Callable[..., Path], tmp_path: Path) -> Path:
    """A manifest whose first volume states no orientation."""
    (tmp_path / "data").mkdir()
    manifest = make_volumes(tmp_path / "data", patients=8)
    first = min((tmp_path / "data" / "images").iterdir())
    voxels = np.asarray(nib.load(first).dataobj, dtype=np.float32)  # type: ignore[attr-defined]
    image = nib.Nifti1Image(voxels, np.eye(4))
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nib.save(image, first)
    return manifest


@pytest.mark.parametrize(
    ("workers", "cache"),
    [
        (2, "disk"),
        (0, "ram"),
        pytest.param(0, "disk", marks=pytest.mark.slow),
        pytest.param(2, "ram", marks=pytest.mark.slow),
    ],
)
def test_a_doubt_is_told_by_every_command_and_on_the_page(
    small_config: Build, doubtful: Path, tmp_path: Path, lines: Kept, cache: str, workers: int
) -> None:
    more = [f"system.cache={cache}", f"system.workers={workers}", "train.epochs=1"]
    more.append("data.assume_orientation=nifti")
    config = small_config(f"data.manifest={doubtful}", *more)
    expected = "doubtful: W_ORIENTATION in 1 volume, e.g. p00_0.nii.gz: "
    told: list[int] = []
    for work in (
        lambda: cross_validate(config, tmp_path / "run", lines),
        lambda: predict(tmp_path / "run", [str(doubtful)], tmp_path / "p.csv", lines),
        lambda: extract(config, [], tmp_path / "f.parquet", lines),
    ):
        lines.shown.clear()
        work()
        told.append(sum(line.startswith(expected) for line in lines.shown))
    assert told == [1, 1, 1]
    page = (tmp_path / "run/report/index.html").read_text(encoding="utf-8")
    assert "Some volumes were read with a doubt: W_ORIENTATION in 1 volume" in page


def test_init_tells_the_doubts_of_the_volumes_that_it_reads(doubtful: Path, tmp_path: Path) -> None:
    first = min((doubtful.parent / "images").iterdir())
    image = nib.Nifti1Image(np.random.default_rng(0).random((8, 8, 8)), np.eye(4))
    first.write_bytes(gzip.compress(image.to_bytes()) + b"more")
    told = propose(doubtful.parent / "images", tmp_path / "out", Silent()).warnings
    (line,) = [text for text in told if "W_TRAILING" in text]
    assert line.startswith("1 of 16 volumes raise a doubt: p00_0.nii.gz (W_TRAILING: ")


def test_without_doubts_nothing_is_said(reference: Path) -> None:
    page = (reference / "report/index.html").read_text(encoding="utf-8")
    assert "with a doubt" not in page
