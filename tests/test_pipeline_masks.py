"""Masks as auxiliary targets: they teach the stages, and leave no trace in the kept network."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np
import pytest
import torch
from conftest import SMALL
from torch import Tensor

from pipeline.batches import NO_MASK
from pipeline.build import build_task
from pipeline.build.masks import dice_and_entropy
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.data.sources.phantoms import make_phantom, mask_bytes, nifti_bytes
from pipeline.data.volume import has_mask
from pipeline.errors import ConfigError, DataError, PreemptedError
from pipeline.features import extract
from pipeline.ladder import ladder
from pipeline.predict import predict
from pipeline.progress import Display, Silent
from pipeline.storage import read_table
from pipeline.training.task import ClassificationTask

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

nib: Any = nibabel  # has no types for what is used here


class ShownLines(Display, Protocol):
    """A display that keeps its lines."""

    shown: list[str]


Build = Callable[..., Config]
MakeVolumes = Callable[..., Path]
Tensors = Callable[[Path, int, str], dict[str, Tensor]]
SameRun = Callable[[Path, Path], None]
WEIGHT = 0.5
ON = f"model.masks={{weight: {WEIGHT}}}"


def write_masks(manifest: Path, unmasked: int = 2) -> Path:
    """Adds to every volume but the last few a mask of its brighter half; gives the new manifest."""
    with manifest.open(newline="") as handle:
        header, *rows = list(csv.reader(handle))
    (manifest.parent / "masks").mkdir()
    lines = [[*header, "mask"]]
    for number, (name, label, patient) in enumerate(rows):
        image = nib.load(manifest.parent / name)
        mask = np.zeros(image.shape, dtype=np.uint8)
        half = image.shape[0] // 2
        mask[slice(None, half) if label == "left" else slice(half, None)] = 1
        cell = name.replace("images", "masks")
        nib.save(nib.Nifti1Image(mask, image.affine), manifest.parent / cell)
        lines.append([name, label, patient, cell if number < len(rows) - unmasked else ""])
    path = manifest.parent / "masked.csv"
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows(lines)
    return path


@pytest.fixture
def masked(tmp_path: Path, make_volumes: MakeVolumes) -> Path:
    """The small volumes with masks, to be changed at will."""
    (tmp_path / "data").mkdir()
    return write_masks(make_volumes(tmp_path / "data"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, make_volumes: MakeVolumes) -> Path:
    """The small volumes with masks, not to be changed."""
    return write_masks(make_volumes(tmp_path_factory.mktemp("masked")))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, kept: Path, small_config: Build) -> Path:
    """A run with masks that was never interrupted."""
    out = tmp_path_factory.mktemp("runs") / "run"
    cross_validate(small_config(f"data.manifest={kept}", ON), out, Silent())
    return out


def test_the_mask_loss_is_logged_and_is_part_of_the_whole(finished: Path) -> None:
    for fold in range(2):
        rows = read_table(finished / f"fold_{fold}/log.csv")
        for row in rows:
            parts = {name: float(row[f"train_loss{name}"]) for name in ("", "_main", "_stage_2")}
            whole = (
                parts["_main"] + 0.3 * parts["_stage_2"] + WEIGHT * float(row["train_loss_mask"])
            )
            assert parts[""] == pytest.approx(whole, rel=1e-5)


def test_the_kept_network_has_no_decoder(finished: Path, fold_tensors: Tensors) -> None:
    best, last = (fold_tensors(finished, 0, kind) for kind in ("best", "last"))
    assert not any("decoder" in name for name in best)
    trained = [name for name in last if name.startswith("task.decoder.")]
    assert trained
    assert {name for name in last if name.startswith("averaged.")} == {
        f"averaged.{name}" for name in best
    }


def test_prediction_and_features_need_no_masks(
    finished: Path, kept: Path, small_config: Build, tmp_path: Path, masked: Path
) -> None:
    out = tmp_path / "run"
    run = cross_validate(small_config(f"data.manifest={masked}", ON), out, Silent())
    assert run is not None
    for path in (masked.parent / "masks").iterdir():
        path.unlink()
    table = tmp_path / "again.csv"
    again = predict(out, [str(masked)], table, Silent(), out_of_fold=True)
    assert len(again) == 20
    assert all(item.seen for item in again)
    extract(out, [], tmp_path / "features.npz", Silent())


def test_weight_zero_is_a_run_that_knows_no_masks(
    reference: Path, kept: Path, small_config: Build, tmp_path: Path, assert_same_run: SameRun
) -> None:
    out = tmp_path / "run"
    off = "model.masks={weight: 0.0}"
    cross_validate(small_config(f"data.manifest={kept}", off), out, Silent())
    assert_same_run(reference, out)


def test_the_network_starts_from_the_same_weights_with_and_without(small_config: Build) -> None:
    plain = build_task(small_config(), [0, 1], 2, seed=3).network.state_dict()
    other = build_task(small_config(ON), [0, 1], 2, seed=3).network.state_dict()
    assert plain.keys() == other.keys()
    assert all(torch.equal(plain[name], other[name]) for name in plain)


class Stopper(Silent):
    """Asks the process to end as soon as a line of the training is shown."""

    def __init__(self, after: int) -> None:
        self._left = after

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Counts down the epochs, which alone have a note."""
        if note:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGTERM)


def test_a_stopped_run_with_masks_resumes_bit_for_bit(
    finished: Path, kept: Path, small_config: Build, tmp_path: Path, assert_same_run: SameRun
) -> None:
    config, out = small_config(f"data.manifest={kept}", ON), tmp_path / "run"
    with pytest.raises(PreemptedError):
        cross_validate(config, out, Stopper(after=2))
    assert not (out / "predictions.csv").exists()
    cross_validate(config, out, Silent(), resume=True)
    assert_same_run(finished, out)


def test_loading_processes_and_memory_give_the_same_bits(
    finished: Path, kept: Path, small_config: Build, tmp_path: Path, fold_tensors: Tensors
) -> None:
    out = tmp_path / "run"
    other = ("system.workers=2", "system.cache=ram")
    cross_validate(small_config(f"data.manifest={kept}", ON, *other), out, Silent(), fold=0)
    one, two = (fold_tensors(run, 0, "last") for run in (finished, out))
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.mark.parametrize("change", ["mask", "removed"])
def test_a_changed_mask_is_noticed_as_a_changed_volume_is(
    change: str, masked: Path, small_config: Build, tmp_path: Path
) -> None:
    config, out = small_config(f"data.manifest={masked}", ON), tmp_path / "run"
    with pytest.raises(PreemptedError):
        cross_validate(config, out, Stopper(after=2))
    if change == "mask":
        path = masked.parent / "masks" / "p03_0.nii.gz"
        image = nib.load(path)
        nib.save(nib.Nifti1Image(1 - np.asarray(image.dataobj), image.affine), path)
    else:
        masked.write_text(masked.read_text().replace("masks/p03_0.nii.gz", ""))
    with pytest.raises(DataError, match="not those that this run began with") as caught:
        cross_validate(config, out, Silent(), resume=True)
    assert "masks differ: p03_0" in str(caught.value)


def test_the_number_of_masks_is_said(
    masked: Path, small_config: Build, tmp_path: Path, lines: ShownLines
) -> None:
    config = small_config(f"data.manifest={masked}", ON)
    cross_validate(config, tmp_path / "run", lines, dry_run=True)
    assert "masks: 18 of 20 cases have one" in lines.shown


def test_a_fold_without_any_mask_to_learn_from_is_refused_before_it_starts(
    masked: Path, small_config: Build, tmp_path: Path
) -> None:
    lines = masked.read_text().splitlines()
    one = [lines[0], *(line.rpartition(",")[0] + "," for line in lines[1:])]
    one[1] = lines[1]
    masked.write_text("\n".join(one))
    with pytest.raises(DataError, match="no training case has a mask"):
        cross_validate(small_config(f"data.manifest={masked}", ON), tmp_path / "run", Silent())
    assert not (tmp_path / "run" / "fold_0").exists()


def corner_masks(manifest: Path, names: Sequence[str]) -> None:
    """Leaves one voxel of some masks, in a corner, which a smaller size crops away."""
    for name in names:
        path = manifest.parent / "masks" / f"{name}.nii.gz"
        image = nib.load(path)
        mask = np.zeros(image.shape, dtype=np.uint8)
        mask[0, 0, 0] = 1
        nib.save(nib.Nifti1Image(mask, image.affine), path)


CROPPED = ("preprocess.crop=none", "preprocess.size=[6,6,6]")


def test_masks_that_preprocessing_removes_are_said_at_the_start_and_on_the_page(
    masked: Path, small_config: Build, tmp_path: Path, lines: ShownLines
) -> None:
    corner_masks(masked, ["p00_0", "p03_0"])
    config = small_config(f"data.manifest={masked}", ON, *CROPPED, "train.epochs=1")
    cross_validate(config, tmp_path / "run", lines)
    said = "W_MASK_LOST in 2 masks, e.g. p00_0.nii.gz: preprocessing leaves none of it"
    assert any(line.startswith(f"doubtful: {said}") for line in lines.shown)
    assert said in (tmp_path / "run" / "report/index.html").read_text()


def test_a_fold_where_no_mask_is_left_is_refused_before_it_starts(
    masked: Path, small_config: Build, tmp_path: Path
) -> None:
    corner_masks(masked, [path.name[:-7] for path in (masked.parent / "masks").iterdir()])
    config = small_config(f"data.manifest={masked}", ON, *CROPPED)
    with pytest.raises(DataError, match="no training case keeps its mask"):
        cross_validate(config, tmp_path / "run", Silent())
    assert not (tmp_path / "run" / "folds.json").exists()
    assert not (tmp_path / "run" / "fold_0").exists()


@pytest.mark.parametrize("first", [pytest.param(True, marks=pytest.mark.slow), False])
def test_folds_are_shared_with_a_run_that_knows_no_masks(
    first: bool, masked: Path, small_config: Build, tmp_path: Path
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    settings = (f"data.manifest={masked}", "train.epochs=1")
    weights = (ON, "model.masks={weight: 0.0}")[:: 1 if first else -1]
    cross_validate(small_config(*settings, weights[0]), one, Silent(), fold=0)
    other.mkdir()
    shutil.copy(one / "folds.json", other)
    cross_validate(small_config(*settings, weights[1]), other, Silent(), fold=0)
    documents = [json.loads((run / "folds.json").read_text()) for run in (one, other)]
    assert documents[0]["sha256"] == documents[1]["sha256"]
    hashes = [document["cases"]["p03_0"]["content"] for document in documents]
    assert [has_mask(content) for content in hashes] == [first, not first]
    image = nib.load(masked.parent / "images" / "p03_0.nii.gz")
    voxels = np.asarray(image.dataobj)[::-1].copy()
    nib.save(nib.Nifti1Image(voxels, image.affine), masked.parent / "images" / "p03_0.nii.gz")
    third = tmp_path / "third"
    third.mkdir()
    shutil.copy(one / "folds.json", third)
    with pytest.raises(DataError, match="not those that this run began with"):
        cross_validate(small_config(*settings, weights[1]), third, Silent(), fold=0)


@pytest.mark.parametrize(
    "weights", [(0.0, WEIGHT), pytest.param((WEIGHT, 0.0), marks=pytest.mark.slow)]
)
def test_a_ladder_has_rungs_with_masks_and_without(
    weights: tuple[float, float], masked: Path, tmp_path: Path
) -> None:
    rungs = [
        {"name": name, "kind": "train", "set": {"model.masks.weight": weight}}
        for name, weight in (("plain", 0.0), ("drawn", WEIGHT))
    ]
    base = {"config": "base", "set": {"model.masks.weight": weights[0]}, "rungs": rungs}
    path = tmp_path / "ladder.yaml"
    path.write_text(json.dumps(base))
    out = tmp_path / "ladder"
    ladder(str(path), out, Silent(), [*SMALL, f"data.manifest={masked}", "train.epochs=1"])
    logs = {name: read_table(out / name / "fold_0" / "log.csv") for name in ("plain", "drawn")}
    assert ["train_loss_mask" in logs[name][0] for name in ("plain", "drawn")] == [False, True]


@pytest.mark.parametrize("code", ["E_MASK_GEOMETRY", "E_MASK_EMPTY"])
def test_a_refused_mask_stops_the_run_or_leaves_its_case_out(
    code: str, masked: Path, small_config: Build, tmp_path: Path
) -> None:
    path = masked.parent / "masks" / "p00_0.nii.gz"
    image = nib.load(path)
    mask, affine = np.asarray(image.dataobj), image.affine.copy()
    if code == "E_MASK_EMPTY":
        mask = np.zeros_like(mask)
    else:
        affine[2, 3] += 3.0
    nib.save(nib.Nifti1Image(mask, affine), path)
    with pytest.raises(DataError, match=code) as caught:
        cross_validate(small_config(f"data.manifest={masked}", ON), tmp_path / "no", Silent())
    assert caught.value.exit_code == 3
    allowed = small_config(f"data.manifest={masked}", ON, "data.max_quarantine=1", "train.epochs=1")
    cross_validate(allowed, tmp_path / "run", Silent())
    (row,) = read_table(tmp_path / "run" / "quarantine.csv")
    assert (row["case_id"], row["file"], row["code"]) == ("p00_0", "p00_0.nii.gz", code)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("augment.mixup=0.2", "augment.mixup=0"),
        ("model.slices={axis: all}", "model.slices.axis=axial"),
        ("model.slices={frozen: true}", "model.masks.weight=0"),
        ("model.masks={weight: -1.0}", "model.masks.weight"),
    ],
)
def test_what_masks_do_not_go_with_is_refused_by_key(
    override: str, named: str, small_config: Build
) -> None:
    with pytest.raises(ConfigError, match=named):
        small_config(ON, "model.supervision.stages=[]", override)


def batch_of(side: int = 8, cases: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Noise with a brighter half, and the mask of that half."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(cases, 1, side, side, side)
    masks[::2, :, : side // 2] = 1.0
    masks[1::2, :, side // 2 :] = 1.0
    images = torch.randn(masks.shape, generator=generator) + 2.0 * masks
    return images, torch.arange(cases) % 2, masks


def drawn(task: ClassificationTask, images: Tensor) -> Tensor:
    task.eval()
    with torch.no_grad():
        *stages, _ = task.plain_network(images)
        answer: Tensor = task.decoder(stages, images).argmax(1, keepdim=True)
    return answer.float()


@pytest.mark.parametrize("heads", ["[]", "[2]"])
def test_the_decoder_learns_to_draw_the_structure(heads: str, small_config: Build) -> None:
    config = small_config(ON, f"model.supervision.stages={heads}")
    task = build_task(config, [0, 1], 2, seed=0)
    optimizer = torch.optim.Adam(task.parameters(), 1e-2)
    images, labels, masks = batch_of()
    history = []
    for step in range(25):
        torch.manual_seed(step)
        losses = task.train()(images, labels, masks=masks)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        history.append(float(losses["mask"]))
    assert history[-1] < 0.7 * history[0]
    answer = drawn(task, images)
    dice = 2 * (answer * masks).sum() / (answer.sum() + masks.sum())
    assert float(dice) > 0.5


def test_cases_without_a_mask_neither_count_nor_starve_the_decoder(small_config: Build) -> None:
    task = build_task(small_config(ON, "model.options.dropout=0.0"), [0, 1], 2, seed=0).eval()
    images, labels, masks = batch_of()
    half = masks.clone()
    half[2:] = NO_MASK
    known = task(images, labels, masks=masks)
    some = task(images, labels, masks=half)
    none = task(images, labels, masks=torch.full_like(masks, NO_MASK))
    assert float(none["mask"]) == 0.0
    assert torch.equal(some["cases"][:2], known["cases"][:2])
    assert torch.equal(some["cases"][2:], none["cases"][2:])
    none["total"].backward()
    # Processes that train together wait for the gradient of every parameter.
    gradients = [parameter.grad for parameter in task.decoder.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
    assert any(bool(p.grad.any()) for p in task.network.parameters() if p.grad is not None)


def test_a_mask_that_augmentation_moved_away_has_a_finite_loss_that_can_fall() -> None:
    masks = torch.zeros(2, 1, 4, 4, 4)
    masks[1, 0, :2] = 1.0
    sure = torch.zeros(2, 2, 4, 4, 4)
    sure[:, 0] = 9.0
    losses = dice_and_entropy(torch.zeros(2, 2, 4, 4, 4, requires_grad=True), masks)
    assert losses.shape == (2,)
    assert bool(torch.isfinite(losses).all())
    assert dice_and_entropy(sure, masks)[0] < losses[0]
    assert torch.equal(losses[1:], dice_and_entropy(torch.zeros(1, 2, 4, 4, 4), masks[1:]))


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_a_2d_network_draws_masks_too(axis: str) -> None:
    slim = "model.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8], small_stem: true}"
    slices = f"model.slices={{axis: {axis}, count: 4}}"
    config = load_config("base", ["model.name=resnet18", slim, slices, ON])
    task = build_task(config, [0, 1], 2, seed=0).train()
    images, labels, masks = batch_of(side=16, cases=2)
    losses = task(images, labels, masks=masks)
    losses["total"].backward()
    assert float(losses["mask"]) > 0
    assert all(parameter.grad is not None for parameter in task.decoder.parameters())


def test_phantoms_of_both_classes_come_with_a_mask_of_their_lesion() -> None:
    phantoms = [make_phantom(0, patient, 0) for patient in range(8)]
    assert Counter(phantom.margin for phantom in phantoms) == {"smooth": 4, "spiculated": 4}
    for phantom in phantoms:
        assert phantom.mask.shape == phantom.voxels.shape
        voxel = abs(np.linalg.det(phantom.affine[:3, :3]))
        ball = np.pi / 6 * phantom.lesion_mm**3
        assert phantom.mask.sum() * voxel == pytest.approx(ball, rel=0.15)
        where = phantom.affine @ [*np.argwhere(phantom.mask).mean(0), 1.0]
        assert np.linalg.norm(where[:3] - phantom.lesion) < 3.0
        assert phantom.voxels[phantom.mask == 1].mean() > 150
    assert mask_bytes(phantoms[0]) != nifti_bytes(phantoms[0])
