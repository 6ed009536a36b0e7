"""Small real data for whole runs: NIfTI files whose class a small network can learn."""

from __future__ import annotations

import csv
import gc
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import safetensors.torch
import torch
from markupsafe import Markup
from numpy.typing import NDArray
from torch import Tensor

from dicom_makers import InThisProcess
from pipeline import predict
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.data.formats import dicom_series
from pipeline.evaluation import audit_permutation, baselines
from pipeline.progress import Silent
from pipeline.reports import compare_page, drawings, probe_page, slice_section, tune_page
from pipeline.reports.pictures import three_planes
from pipeline.storage import read_table

#: Columns of a log that tell how long it took.
TIMES = ("seconds", "data_wait")

#: Files of few and long tests.
LONGEST = ("test_docs_guide.py", "test_project.py", "test_pipeline_trust.py")

#: The smallest settings under which every part of a run still does its work.
SMALL = (
    "preprocess.spacing=null",
    "preprocess.size=[8, 8, 8]",
    "preprocess.crop=none",
    "model.options={depths: [1, 1, 1, 1], dims: [4, 8, 8, 8], dropout: 0.1}",
    "model.drop_path=0.1",
    "model.supervision={stages: [2], weight: 0.3}",
    "train.epochs=3",
    "train.batch_size=4",
    "cv.folds=2",
    "cv.validation=0.3",
    "system.workers=0",
    "system.threads=1",
    "report.bootstrap=100",
)


class Lines(Silent):
    """Keeps the lines that a run shows."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def line(self, text: str) -> None:
        """Keeps a line."""
        self.shown.append(text)


@pytest.fixture
def lines() -> Lines:
    """A display that keeps its lines in `shown`."""
    return Lines()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests share the machine; small networks gain nothing from more threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """No power fails during a test; that files are synced, the tests of storage show."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def small_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten patients with two scans each; the class is the half that is brighter."""
    return write_volumes(tmp_path_factory.mktemp("small"))


def write_volumes(folder: Path, patients: int = 10, scans: int = 2, side: int = 8) -> Path:
    """Writes a manifest and its volumes; the class is which half of a volume is brighter."""
    (folder / "images").mkdir()
    rows = []
    for patient in range(patients):
        for scan in range(scans):
            generator = np.random.default_rng([patient, scan])
            voxels = generator.normal(0, 1, (side, side, side)).astype(np.float32)
            half = slice(None, side // 2) if patient % 2 else slice(side // 2, None)
            voxels[half] += 2.0
            name = f"images/p{patient:02d}_{scan}.nii.gz"
            nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 1.5, 1.0])), folder / name)
            rows.append([name, "left" if patient % 2 else "right", f"p{patient:02d}"])
    with (folder / "manifest.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["image", "label", "patient_id"], *rows])
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def make_volumes() -> Callable[..., Path]:
    """Writes `patients` x `scans` volumes of `side` voxels into a folder; gives the manifest."""
    return write_volumes


@pytest.fixture(scope="session")
def small_config(small_manifest: Path) -> Callable[..., Config]:
    """Builds a small configuration on the small manifest, with further overrides."""

    def build(*overrides: str) -> Config:
        return load_config("base", [*SMALL, f"data.manifest={small_manifest}", *overrides])

    return build


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, small_manifest: Path) -> Path:
    """A small run that was never interrupted."""
    out = tmp_path_factory.mktemp("reference") / "run"
    config = load_config("base", [*SMALL, f"data.manifest={small_manifest}"])
    cross_validate(config, out, Silent())
    return out


#: Where pages take their drawings from: half of the time that a small run takes.
DRAWINGS = {
    drawings: ("roc_plot", "precision_recall_plot", "reliability_plot", "learning_plot"),
    compare_page: ("forest_plot",),
    probe_page: ("depth_plot",),
    slice_section: ("profile_plot", "strip_plot"),
    tune_page: ("history_plot", "slice_plot"),
}


@pytest.fixture(scope="module")
def undrawn(reference: Path) -> Iterator[None]:
    """Leaves the drawings of pages out, for files whose many runs are about something else.

    Pages are written, and figures computed, as ever; a picture that was made before is made once.
    The shared run is drawn: it comes first.
    """
    assert "<path" in (reference / "report" / "index.html").read_text(encoding="utf-8")
    made: dict[tuple[bytes, object], bytes] = {}

    def made_once(volume: NDArray[np.float32], spacing: tuple[float, float, float]) -> bytes:
        key = volume.tobytes(), (volume.shape, volume.dtype.str, spacing)
        if key not in made:
            made[key] = three_planes(volume, spacing)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        for page, names in DRAWINGS.items():
            for name in names:
                patch.setattr(page, name, lambda *_, **__: Markup('<svg role="img"></svg>'))
        patch.setattr(predict, "three_planes", made_once)
        yield


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process for DICOM is for has its own tests; starting one takes half a second."""
    monkeypatch.setattr(dicom_series, "SeriesProcess", InThisProcess)


@pytest.fixture
def quick_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logistic regression without a choice of its penalty is enough for an audit, and quick."""
    monkeypatch.setattr(baselines, "inner_splits", lambda *_: [])
    monkeypatch.setattr(audit_permutation, "SHUFFLINGS", 79)


def _fold_tensors(run: Path, fold: int, kind: str) -> dict[str, Tensor]:
    index = json.loads((run / f"fold_{fold}/checkpoints/checkpoints.json").read_text())
    entry = index["best"] if kind == "best" else index["generations"][0]
    return safetensors.torch.load_file(run / f"fold_{fold}/checkpoints" / entry["file"])


def _assert_same_run(one: Path, other: Path) -> None:
    for fold in range(2):
        for kind in ("best", "last"):
            first, second = _fold_tensors(one, fold, kind), _fold_tensors(other, fold, kind)
            assert first.keys() == second.keys()
            assert [n for n in first if not torch.equal(first[n], second[n])] == []
        logs = [
            [{k: v for k, v in row.items() if k not in TIMES} for row in read_table(log)]
            for log in (one / f"fold_{fold}/log.csv", other / f"fold_{fold}/log.csv")
        ]
        assert logs[0] == logs[1]
    for name in ("predictions.csv", "folds.json", "report/metrics.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="session")
def fold_tensors() -> Callable[[Path, int, str], dict[str, Tensor]]:
    """Tensors of a fold's `best` or `last` checkpoint."""
    return _fold_tensors


@pytest.fixture(scope="session")
def assert_same_run() -> Callable[[Path, Path], None]:
    """Asserts that weights, averages, optimizer, logs, predictions and metrics agree by the bit."""
    return _assert_same_run


@pytest.fixture
def small_arguments(small_manifest: Path) -> Callable[..., list[str]]:
    """The same as arguments of `volclass train`, all but the run folder."""

    def build(*more: str) -> list[str]:
        return ["train", "-c", "base", *SMALL, f"data.manifest={small_manifest}", *more]

    return build


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts with the files whose few tests take longest, so that no process waits for another."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="module", autouse=True)
def collected() -> None:
    """Spares the libraries' objects, which never go, from each collection: half a second a run.

    Libraries are imported when a file needs them, so once at the start is not enough.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Lets them go after all: some libraries complain at exit of what is left."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    """A run may set torch's threads; the next test shall not notice."""
    yield
    torch.set_num_threads(1)
