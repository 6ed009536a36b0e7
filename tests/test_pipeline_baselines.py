"""Baselines on volumes: a shortcut in the header is found, and nothing is found where none is."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from pipeline import baseline_tables
from pipeline.baseline_tables import BaselineKind, table_of
from pipeline.baselines import answer_by, run_baseline
from pipeline.build import build_accelerator, build_manifest, build_store
from pipeline.config import Config
from pipeline.data import fingerprint, shape
from pipeline.data.cases import Case
from pipeline.data.metadata_table import without_greys
from pipeline.data.splits import make_folds
from pipeline.data.surroundings import Surroundings, surroundings
from pipeline.data.volumes import prepare
from pipeline.errors import StorageError
from pipeline.evaluation import baselines as tables
from pipeline.evaluation.baselines import CaseTable
from pipeline.evaluation.competitors import Competitor, read_competitor
from pipeline.evaluation.intervals import Estimate
from pipeline.evaluation.results import evaluate
from pipeline.progress import Silent
from pipeline.run import Run, RunFolder

Build = Callable[..., Config]
Voxels = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Affine = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
PATIENTS = 16


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for what is tested, and quick."""
    monkeypatch.setattr(tables, "_TREES", 20)
    monkeypatch.setattr(tables, "_RANDOM_TREES", 20)


def shuffled(generator: np.random.Generator) -> Voxels:
    """Values of one range and one mean, in any order: neither header nor histogram tells."""
    values = np.linspace(-1, 1, 216, dtype=np.float32)
    return generator.permutation(values).reshape(6, 6, 6)


def write(
    folder: Path,
    *,
    spacing: Callable[[int], float] = lambda _: 1.0,
    voxels: Callable[[int, np.random.Generator], Voxels] = lambda _, generator: shuffled(generator),
    ending: Callable[[int], str] = lambda _: ".nii.gz",
    site: Callable[[int], str] = lambda _: "",
    axes: Callable[[int], Affine] = lambda _: np.eye(3),
    classes: Callable[[int], int] = lambda patient: patient % 2,
) -> Path:
    """Two scans a patient; what a class looks like is a function of it, 0 or 1."""
    rows = [["image", "label", "patient_id", "site"]]
    folder.mkdir()
    for patient in range(PATIENTS):
        label = classes(patient)
        for scan in range(2):
            values = voxels(label, np.random.default_rng([patient, scan]))
            name = f"p{patient:02d}_{scan}{ending(label)}"
            affine = np.diag([1.0, 1.0, spacing(label), 1.0])
            affine[:3, :3] = axes(label) @ affine[:3, :3]
            if name.endswith(".mha"):
                image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.T))
                SimpleITK.WriteImage(image, str(folder / name))
            else:
                nib.save(nib.Nifti1Image(values, affine), folder / name)
            rows.append([name, "ab"[label], f"p{patient:02d}", site(label)])
    with (folder / "manifest.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return folder / "manifest.csv"


def opened(config: Config, out: Path) -> Run:
    folder = RunFolder(out)
    cache = folder.cache(config)
    manifest = build_manifest(config, cache, lambda _, __: None)
    store = build_store(config, cache)
    contents, refused = prepare(store, manifest.cases, 0, lambda: None)
    assert not refused
    cases = {case.case_id: case for case in manifest.cases}
    folds = make_folds(manifest.cases, config.cv, config.seed)
    accelerator = build_accelerator(config.system, "fp32")
    return Run(config, folder, accelerator, store, cases, contents, folds, Silent())


@pytest.fixture
def answered(
    small_config: Build, tmp_path: Path
) -> Callable[[BaselineKind, Path], tuple[Run, Competitor]]:
    """Runs a baseline on a manifest; the run, and the competitor that it left."""

    def answer(kind: BaselineKind, manifest: Path) -> tuple[Run, Competitor]:
        overrides = ["cv.folds=2", "preprocess.intensity.name=none", "preprocess.size=[6, 6, 6]"]
        run = opened(small_config(f"data.manifest={manifest}", *overrides), tmp_path / kind)
        run_baseline(kind, run, f"the {kind}", tmp_path / "fingerprints")
        return run, read_competitor(tmp_path / kind)

    return answer


Answered = Callable[[BaselineKind, Path], tuple[Run, Competitor]]


def auroc(competitor: Competitor) -> Estimate:
    return evaluate(competitor.scored, resamples=300).metrics["auroc"]


def value(competitor: Competitor) -> float:
    estimate = auroc(competitor).estimate
    assert estimate is not None
    return estimate


def test_spacing_that_goes_with_the_label_is_a_shortcut(answered: Answered, tmp_path: Path) -> None:
    manifest = write(tmp_path / "data", spacing=lambda label: 1.0 + label)
    run, found = answered("metadata", manifest)
    assert found.card.is_metadata
    assert (found.card.kind, found.card.title) == ("baseline", "the metadata")
    assert found.card.folds == run.folds.sha256
    assert value(found) > 0.99


@pytest.mark.parametrize("kind", ["metadata", "histogram", "shape"])
def test_without_a_signal_chance_is_in_the_interval(
    kind: BaselineKind, answered: Answered, tmp_path: Path
) -> None:
    _, found = answered(kind, write(tmp_path / "data"))
    low = auroc(found).low
    assert low is None or low <= 0.5


@pytest.mark.parametrize("what", ["site", "format", "range", "voxel type", "orientation", "tilt"])
def test_every_kind_of_metadata_is_seen(what: str, answered: Answered, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    if what == "site":
        manifest = write(folder, site=lambda label: ("north", "south")[label])
    elif what == "format":
        manifest = write(folder, ending=lambda label: (".nii.gz", ".mha")[label])
    elif what == "voxel type":
        manifest = write(
            folder,
            voxels=lambda label, generator: np.rint(100 * shuffled(generator)).astype(
                (np.float32, np.int16)[label]
            ),
        )
    elif what == "orientation":
        manifest = write(folder, axes=lambda label: np.diag([1.0 - 2.0 * label, 1.0, 1.0]))
    elif what == "tilt":
        manifest = write(folder, axes=lambda label: turned_by(5.0 * label))
    else:
        manifest = write(
            folder, voxels=lambda label, generator: shuffled(generator) * (1 + np.float32(label))
        )
    run, found = answered("metadata", manifest)
    assert value(found) > 0.99
    if what == "range":  # it alone is taken from voxels
        cases = run.select(tuple(sorted(run.folds.cases)))
        table = table_of("metadata", run, tmp_path / "fingerprints", cases)
        assert isinstance(table, CaseTable)
        inner = replace(run, folder=RunFolder(tmp_path / "header"))
        answer_by("header", inner, "the header", without_greys(table))
        assert value(read_competitor(tmp_path / "header")) <= 0.8


def turned_by(degrees: float) -> Affine:
    angle = np.radians(degrees)
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def dark_or_bright(label: int, generator: np.random.Generator) -> Voxels:
    """One range for both classes; how much of it is bright is the class."""
    values = np.full(216, -1.0, dtype=np.float32)
    values[: 60 + 60 * label] = 1.0
    return generator.permutation(values).reshape(6, 6, 6)


def test_grey_values_tell_what_metadata_cannot(answered: Answered, tmp_path: Path) -> None:
    manifest = write(tmp_path / "data", voxels=dark_or_bright)
    assert value(answered("histogram", manifest)[1]) > 0.99
    low = auroc(answered("metadata", manifest)[1]).low
    assert low is None or low <= 0.5


def thin_or_thick(label: int, generator: np.random.Generator) -> Voxels:
    """As many bright voxels for both classes, in three loose plates or in one block, anywhere."""
    values = np.zeros((6, 6, 6), dtype=np.float32)
    values[[1, 2, 3] if label else [0, 2, 4], 1:5, 1:4] = 1.0
    return np.roll(values, int(generator.integers(0, 2)), axis=(0, 1, 2))


def test_shape_tells_what_grey_values_cannot(answered: Answered, tmp_path: Path) -> None:
    manifest = write(tmp_path / "data", voxels=thin_or_thick)
    _, found = answered("shape", manifest)
    assert value(found) > 0.99
    assert "logistic regression in 2 of 2 folds" in found.card.notes
    assert value(answered("histogram", manifest)[1]) == 0.5


def test_shapes_are_measured_in_mm(answered: Answered, tmp_path: Path) -> None:
    manifest = write(tmp_path / "data", spacing=lambda label: 1.0 + label)
    assert value(answered("shape", manifest)[1]) > 0.99


def test_shapes_are_kept_by_preprocessing_and_by_what_is_measured(
    answered: Answered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write(tmp_path / "data", voxels=thin_or_thick)
    answered("shape", manifest)
    folder = tmp_path / "fingerprints"
    assert len(list(folder.glob("shape-*.json"))) == 1
    monkeypatch.setattr(shape, "SHAPE_VERSION", -1)
    answered("shape", manifest)
    monkeypatch.setattr(baseline_tables, "preprocessing_key", lambda _: "another")
    answered("shape", manifest)
    assert len(list(folder.glob("shape-*.json"))) == 3


@pytest.mark.parametrize("end", [[], ["no number"], ["nan"]])
def test_damaged_shapes_are_refused(end: list[str], answered: Answered, tmp_path: Path) -> None:
    manifest = write(tmp_path / "data", voxels=thin_or_thick)
    answered("shape", manifest)
    (file,) = (tmp_path / "fingerprints").glob("shape-*.json")
    known = json.loads(file.read_text())
    known[min(known)][-1:] = end
    file.write_text(json.dumps(known))
    with pytest.raises(StorageError, match=r"shape-.*\.json"):
        answered("shape", manifest)


def test_a_rare_class_stays_rare_in_the_answers_to_shapes(
    answered: Answered, tmp_path: Path
) -> None:
    manifest = write(tmp_path / "data", classes=lambda patient: int(patient % 4 == 0))
    _, found = answered("shape", manifest)
    assert found.scored.probabilities[:, 1].mean() < 0.4
    assert "probabilities at the classes' shares" in found.card.notes


def test_the_majority_knows_the_shares_of_the_training_part_only(
    answered: Answered, tmp_path: Path
) -> None:
    run, found = answered("majority", write(tmp_path / "data"))
    assert value(found) == 0.5
    by_case = dict(zip(found.case_ids, found.scored.probabilities.tolist(), strict=True))
    for fold in run.folds.folds:
        labels = [run.folds.cases[name].label for name in (*fold.train, *fold.validation)]
        share = labels.count("a") / len(labels)
        for name in fold.test:
            assert by_case[name] == pytest.approx([share, 1 - share])


def test_every_case_is_answered_by_its_own_fold(answered: Answered, tmp_path: Path) -> None:
    run, found = answered("metadata", write(tmp_path / "data"))
    tested = {name: number for number, fold in enumerate(run.folds.folds) for name in fold.test}
    assert dict(zip(found.case_ids, found.scored.folds.tolist(), strict=True)) == tested
    assert found.scored.classes == run.folds.classes


@pytest.mark.parametrize("kind", ["metadata", "histogram", "shape"])
def test_volumes_are_read_once_and_give_the_same_bytes(
    kind: BaselineKind, answered: Answered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write(tmp_path / "data")
    answered(kind, manifest)
    first = (tmp_path / kind / "predictions.csv").read_bytes()

    def refuse(*_: object) -> None:
        raise AssertionError("a volume is read again")

    monkeypatch.setattr(fingerprint, "read_volume", refuse)
    monkeypatch.setattr(baseline_tables, "grey_values", refuse)
    monkeypatch.setattr(baseline_tables, "shape_values", refuse)
    answered(kind, manifest)
    assert (tmp_path / kind / "predictions.csv").read_bytes() == first


def test_what_was_read_before_a_kill_is_kept(
    answered: Answered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write(tmp_path / "data")
    answered("metadata", manifest)
    whole = (tmp_path / "fingerprints/metadata-2.json").read_bytes()
    (tmp_path / "fingerprints/metadata-2.json").unlink()
    monkeypatch.setattr(fingerprint, "_WRITE_EVERY", 10)
    seen: list[str] = []

    def killed(case: Case, content: str) -> Surroundings:
        if len(seen) == 25:
            raise KeyboardInterrupt
        seen.append(case.case_id)
        return surroundings(case, content)

    monkeypatch.setattr(baseline_tables, "surroundings", killed)
    with pytest.raises(KeyboardInterrupt):
        answered("metadata", manifest)
    seen.clear()
    answered("metadata", manifest)
    assert len(seen) == 2 * PATIENTS - 20
    assert (tmp_path / "fingerprints/metadata-2.json").read_bytes() == whole


def test_damaged_fingerprints_are_refused(answered: Answered, tmp_path: Path) -> None:
    manifest = write(tmp_path / "data")
    answered("metadata", manifest)
    file = tmp_path / "fingerprints/metadata-2.json"
    for text in ("{", '{"a": {"spacing": [1, 2]}}', "[1]"):
        file.write_text(text)
        with pytest.raises(StorageError, match=r"metadata-2\.json"):
            answered("metadata", manifest)
