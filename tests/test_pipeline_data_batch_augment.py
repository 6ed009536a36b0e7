"""Batches are augmented as single cases are: beside the loading path, and beside MONAI's steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import set_track_meta
from monai.transforms import AdjustContrast, GaussianSmooth
from pretrainings import PRETRAINING, Stopping, encoder
from torch import Tensor

from pipeline.batches import NO_MASK, Batch, to_device
from pipeline.build import build_batch_augmentation, check_augmentation
from pipeline.config import AffineConfig, AugmentConfig, Config, PreprocessConfig
from pipeline.crossval import cross_validate
from pipeline.data.augment import Augmentation, moves_of
from pipeline.data.batch_augment import BatchAugmentation
from pipeline.data.batch_grey import GreyChances, GreyChange, recoloured, smoothed
from pipeline.data.batch_moves import moved
from pipeline.data.moves import rotation
from pipeline.data.resampling import resampled
from pipeline.errors import ConfigError, PreemptedError
from pipeline.pretrain import pretrain
from pipeline.progress import Silent

Build = Callable[..., Config]
SameRun = Callable[[Path, Path], None]
Tensors = Callable[[Path, int, str], dict[str, Tensor]]

ALWAYS, NEVER = GreyChances(1.0, 1.0, 1.0, 1.0), GreyChances(0.0, 0.0, 0.0, 0.0)
CUBE = PreprocessConfig(spacing=(1.0, 1.0, 1.0), size=(9, 9, 9))
MOVING = AugmentConfig(affine=AffineConfig(probability=0.5, degrees=20.0, scale=0.2))
MOVES = moves_of(MOVING, CUBE)
DEVICE = "augment.where=device"


def volumes(count: int, *size: int, seed: int = 0) -> Tensor:
    chance = np.random.default_rng(seed)
    return torch.from_numpy(chance.normal(size=(count, *size)).astype(np.float32))


def batch(images: Tensor, *seeds: int) -> Batch:
    return {
        "image": images,
        "label": torch.zeros(len(images), dtype=torch.int64),
        "index": torch.arange(len(images)),
        "seed": torch.tensor(seeds),
    }


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 10)] * 3),
    channels=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_batch_moves_as_its_volumes_do(
    size: tuple[int, int, int], channels: int, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    matrices = np.stack(
        [rotation(chance.uniform(-90, 90, 3)) @ np.diag(chance.uniform(0.5, 1.5, 3)) for _ in "ab"]
    )
    images = volumes(2, channels, *size, seed=seed)
    expected = torch.stack(
        [resampled(*each, "linear") for each in zip(images, matrices, strict=True)]
    )
    torch.testing.assert_close(moved(images, matrices, "linear"), expected, rtol=0, atol=1e-4)
    marks = torch.arange(images.numel(), dtype=torch.float32).view(images.shape)
    nearest = torch.stack(
        [resampled(*each, "nearest") for each in zip(marks, matrices, strict=True)]
    )
    # Half way between two voxels, rounding decides.
    assert (moved(marks, matrices, "nearest") == nearest).float().mean() > 0.9


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_moves_are_those_of_the_loading_processes(seed: int) -> None:
    images = volumes(1, 1, 9, 9, 9)
    alone = Augmentation(MOVES, [])(images[0], seed)
    together = BatchAugmentation(MOVES, NEVER)(batch(images, seed))["image"]
    torch.testing.assert_close(together[0], alone, rtol=0, atol=1e-4)


def test_turns_without_an_affine_move_carry_masks_exactly() -> None:
    turns = moves_of(AugmentConfig(affine=AffineConfig(probability=0.0)), CUBE)
    marks = torch.arange(9.0**3).view(1, 1, 9, 9, 9)
    for seed in range(30):
        given = batch(marks, seed)
        given["mask"] = marks
        seen = BatchAugmentation(turns, NEVER)(given)["mask"]
        assert torch.equal(seen[0], turns.draw(seed)(marks[0], "nearest"))


@settings(max_examples=30, deadline=None)
@given(
    sigmas=st.lists(st.tuples(*[st.floats(0.25, 1.0)] * 3), min_size=1, max_size=3),
    size=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_each_volume_is_blurred_as_by_monai(
    sigmas: list[tuple[float, float, float]], size: tuple[int, int, int]
) -> None:
    images = volumes(len(sigmas), 2, *size)
    set_track_meta(False)
    try:
        pairs = zip(images, sigmas, strict=True)
        expected = torch.stack([GaussianSmooth(sigma)(image) for image, sigma in pairs])
    finally:
        set_track_meta(True)
    torch.testing.assert_close(smoothed(images, sigmas), expected, rtol=0, atol=1e-5)


def test_a_blur_has_the_same_bits_beside_a_wider_one() -> None:
    images, sigmas = volumes(2, 1, 8, 7, 6), [(0.3, 0.4, 0.5), (1.0, 0.9, 0.8)]
    assert torch.equal(smoothed(images[:1], sigmas[:1]), smoothed(images, sigmas)[:1])


def test_each_change_is_made_to_its_own_volume() -> None:
    images = volumes(5, 1, 6, 5, 4)
    changes = [
        GreyChange(),
        GreyChange(scale=1.05, shift=-0.1),
        GreyChange(gamma=0.8),
        GreyChange(sigmas=(0.5, 0.75, 1.0)),
        GreyChange(noise=0.1),
    ]
    found = recoloured(images.clone(), changes, range(5))
    assert torch.equal(found[0], images[0])
    torch.testing.assert_close(found[1], images[1] * 1.05 - 0.1)
    set_track_meta(False)
    try:
        torch.testing.assert_close(found[2], AdjustContrast(0.8)(images[2]))
        torch.testing.assert_close(found[3], GaussianSmooth((0.5, 0.75, 1.0))(images[3]))
    finally:
        set_track_meta(True)
    assert not torch.equal(found[4], images[4])


def test_noise_has_its_deviation_and_is_a_function_of_its_seed() -> None:
    images, noisy = torch.zeros(3, 1, 20, 20, 20), GreyChange(noise=0.08)
    one, other, again = recoloured(images, [noisy] * 3, [7, 8, 7])
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert float(one.std()) == pytest.approx(0.08, rel=0.05)
    assert float(one.mean()) == pytest.approx(0.0, abs=0.005)


def test_a_volume_of_one_value_stays_finite() -> None:
    flat = torch.full((1, 1, 4, 4, 4), 3.0)
    assert torch.equal(recoloured(flat.clone(), [GreyChange(gamma=1.4)], [0]), flat)


def test_steps_are_drawn_as_often_and_as_far_as_is_said() -> None:
    assert {NEVER.draw(seed) for seed in range(50)} == {GreyChange()}
    drawn = [ALWAYS.draw(seed) for seed in range(300)]
    for change in drawn:
        assert change.sigmas is not None
        assert all(0.25 <= sigma <= 1.0 for sigma in change.sigmas)
        assert 0.0 < change.noise <= 0.1
        assert 0.9 <= change.scale <= 1.1
        assert -0.1 <= change.shift <= 0.1
        assert change.gamma is not None
        assert 0.7 <= change.gamma <= 1.5
    some = [GreyChances(0.1, 0.2, 0.3, 0.4).draw(seed) for seed in range(2000)]
    shares = [
        np.mean([change.sigmas is not None for change in some]),
        np.mean([change.noise > 0 for change in some]),
        np.mean([change.scale != 1 for change in some]),
        np.mean([change.shift != 0 for change in some]),
        np.mean([change.gamma is not None for change in some]),
    ]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.4], abs=0.04)
    # A step more changes nothing of the others.
    assert ALWAYS.draw(3).gamma == GreyChances(0.0, 0.0, 0.0, 1.0).draw(3).gamma


def test_a_case_is_the_same_whoever_is_beside_it() -> None:
    images, augment = volumes(3, 1, 9, 9, 9), BatchAugmentation(MOVES, ALWAYS)
    together = augment(batch(images, 1, 2, 3))["image"]
    alone = augment(batch(images[1:2], 2))["image"]
    torch.testing.assert_close(together[1], alone[0], rtol=0, atol=1e-5)
    assert not torch.allclose(together[1], images[1], atol=0.1)


def test_masks_move_alike_keep_their_values_and_one_that_is_missing_stays_so() -> None:
    images = (volumes(2, 1, 9, 9, 9) > 0).float()
    given = batch(images, 5, 6)
    given["mask"] = torch.stack([images[0], torch.full((1, 9, 9, 9), NO_MASK)])
    seen = BatchAugmentation(MOVES, ALWAYS)(given)
    assert torch.equal(seen["mask"][0], moved(images[:1], MOVES.draw(5).matrix[None], "nearest")[0])
    assert bool((seen["mask"][1] == NO_MASK).all())
    assert torch.equal(given["image"], (volumes(2, 1, 9, 9, 9) > 0).float())


def test_cases_without_seeds_stay_as_they_are() -> None:
    plain = batch(volumes(1, 1, 9, 9, 9), 4)
    del plain["seed"]
    assert BatchAugmentation(MOVES, ALWAYS)(plain) is plain


def test_loading_processes_augment_unless_the_device_is_asked_to(small_config: Build) -> None:
    assert build_batch_augmentation(small_config()) is None
    assert build_batch_augmentation(small_config(DEVICE)) is not None


def test_a_device_that_it_was_never_run_on_is_refused_where_there_is_something_to_do(
    small_config: Build,
) -> None:
    apple = torch.device("mps")
    with pytest.raises(ConfigError) as caught:
        check_augmentation(small_config(DEVICE), apple)
    assert caught.value.where == "augment.where"
    check_augmentation(small_config(DEVICE), torch.device("cuda"))
    check_augmentation(small_config(), apple)
    frozen = ("model.name=resnet18", "model.slices.frozen=true", "model.supervision.stages=[]")
    check_augmentation(small_config(DEVICE, *frozen), apple)


@pytest.mark.parametrize("verb", [cross_validate, pretrain])
def test_it_is_refused_before_a_volume_is_read(
    verb: Callable[..., object],
    small_config: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = PRETRAINING if verb is pretrain else ()
    monkeypatch.setattr(Accelerator, "device", torch.device("mps"))
    with pytest.raises(ConfigError, match="Apple"):
        verb(small_config(DEVICE, *words), tmp_path / "run", Silent())
    assert not [*tmp_path.rglob("*.*")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_gives_the_same_to_rounding() -> None:
    given = batch(volumes(3, 1, 9, 8, 7), 1, 2, 3)
    augment = BatchAugmentation(MOVES, ALWAYS)
    expected = augment(given)["image"]
    found = augment(to_device(given, torch.device("cuda")))["image"].cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_run_that_was_stopped_goes_on_bit_for_bit_with_any_workers(
    small_config: Build, tmp_path: Path, assert_same_run: SameRun
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    cross_validate(small_config(DEVICE), whole, Silent())
    with pytest.raises(PreemptedError):
        cross_validate(small_config(DEVICE), stopped, Stopping())
    cross_validate(small_config(DEVICE, "system.workers=1"), stopped, Silent(), resume=True)
    assert_same_run(whole, stopped)


#: Nothing but moves, which are the same in either place.
MOVES_ALONE = "augment={flip: 0.5, rotate90: 0.5, noise: 0, blur: 0, gamma: 0, intensity: 0}"
NOTHING = "augment={flip: 0, rotate90: 0, noise: 0, blur: 0, gamma: 0, intensity: 0}"
NO_AFFINE = "augment.affine.probability=0"


def test_moves_alone_train_the_same_network_in_either_place(
    small_config: Build, tmp_path: Path, fold_tensors: Tensors
) -> None:
    def trained(*words: str) -> dict[str, Tensor]:
        out = tmp_path / str(len([*tmp_path.iterdir()]))
        config = small_config(*words, NO_AFFINE, "train.epochs=1")
        cross_validate(config, out, Silent(), fold=0)
        return fold_tensors(out, 0, "last")

    workers, device = trained(MOVES_ALONE), trained(MOVES_ALONE, DEVICE)
    unmoved = trained(NOTHING, DEVICE)
    name = "averaged.stem.conv.weight"
    assert not torch.allclose(device[name], unmoved[name], rtol=0, atol=1e-5)
    for key, tensor in workers.items():
        torch.testing.assert_close(device[key], tensor, rtol=1e-3, atol=1e-5)


def test_pretraining_augments_on_the_device_too(small_config: Build, tmp_path: Path) -> None:
    found: list[Tensor] = []
    for words in ((DEVICE,), (DEVICE, "system.workers=1"), (NOTHING, NO_AFFINE, DEVICE)):
        out = tmp_path / str(len(found))
        pretrain(small_config(*PRETRAINING, *words), out, Silent(), fold=0)
        found.append(encoder(out)["stem.conv.weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], rtol=0, atol=1e-6)
