"""Preprocessing, its cache and augmentation, on files that are really written and damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import get_track_meta
from numpy.typing import NDArray

from pipeline.config import AffineConfig, AugmentConfig, IntensityConfig, PreprocessConfig
from pipeline.data import volumes as volumes_module
from pipeline.data.augment import augmentation, augmentation_seed, quarter_turn_planes
from pipeline.data.cache import CachedVolume, VolumeCache
from pipeline.data.cases import Case
from pipeline.data.intensity import percentiles, window, zscore
from pipeline.data.transforms import pad_or_crop, preprocessing_key
from pipeline.data.volumes import Refusal, VolumeStore, check_contents, prepare
from pipeline.errors import DataError, StorageError

Store = Callable[..., VolumeStore]
KEEP = PreprocessConfig(spacing=None, size=(8, 8, 8), crop="none")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    def build(config: PreprocessConfig = KEEP) -> VolumeStore:
        return VolumeStore(config, VolumeCache(tmp_path / "cache", preprocessing_key(config)))

    return build


def write(
    path: Path, voxels: NDArray[np.float32], affine: NDArray[np.float64] | None = None
) -> Case:
    nib.save(nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)
    return Case(path.name, path.name, path)


def fetch(store: VolumeStore, case: Case) -> CachedVolume:
    content = store.inspect(case)
    assert isinstance(content, str), content
    return store.fetch_known(case, content)


def noise(seed: int = 0, shape: tuple[int, int, int] = (8, 8, 8)) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(10, 3, shape).astype(np.float32)


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise AssertionError("a source file was read")

    monkeypatch.setattr(volumes_module, "preprocessing", fail)


def test_starting_again_reads_no_source_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [write(tmp_path / f"{k}.nii.gz", noise(k)) for k in range(3)]
    first, refused = prepare(store(), cases, 0, lambda: None)
    assert refused == []
    volume = fetch(store(), cases[0])
    forbid_reading(monkeypatch)
    again, _ = prepare(store(), cases, 0, lambda: None)
    assert again == first
    assert torch.equal(fetch(store(), cases[0]).image, volume.image)


def test_workers_prepare_the_same(store: Store, tmp_path: Path) -> None:
    cases = [write(tmp_path / f"{k}.nii.gz", noise(k)) for k in range(4)]
    contents, _ = prepare(store(), cases, 2, lambda: None)
    images = [fetch(store(), case).image for case in cases]
    alone = VolumeStore(KEEP, VolumeCache(tmp_path / "other", preprocessing_key(KEEP)))
    assert prepare(alone, cases, 0, lambda: None)[0] == contents
    for image, case in zip(images, cases, strict=True):
        assert torch.equal(image, fetch(alone, case).image)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "remove", "foreign"])
def test_a_damaged_entry_is_rebuilt(damage: str, store: Store, tmp_path: Path) -> None:
    case = write(tmp_path / "a.nii.gz", noise())
    whole = fetch(store(), case)
    (entry,) = (tmp_path / "cache" / "volumes").rglob("*.volume")
    content = bytearray(entry.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    changed = {"cut": content[:-9], "empty": b"", "foreign": b"PK" + content}
    if damage == "remove":
        entry.unlink()
    else:
        entry.write_bytes(bytes(changed.get(damage, content)))
    again = store().fetch_known(case, whole.content)
    assert torch.equal(again.image, whole.image)
    assert again.spacing == whole.spacing
    assert len(list((tmp_path / "cache" / "volumes").rglob("*.volume"))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"spacing": (1.5, 1.0, 1.0)},
        {"size": (8, 8, 9)},
        {"fit": "resize"},
        {"crop": "foreground"},
        {"intensity": IntensityConfig(name="unit")},
    ],
)
def test_every_setting_is_part_of_the_key(change: dict[str, object]) -> None:
    assert preprocessing_key(KEEP.model_copy(update=change)) != preprocessing_key(KEEP)


def test_a_replaced_file_is_read_again_and_never_mixed(store: Store, tmp_path: Path) -> None:
    case = write(tmp_path / "a.nii", noise(0))
    first = fetch(store(), case)
    write(tmp_path / "a.nii", noise(1))
    os.utime(case.image, ns=(1, 1))
    second = fetch(store(), case)
    assert second.content != first.content
    assert not torch.equal(second.image, first.image)
    for entry in (tmp_path / "cache" / "volumes").rglob("*.volume"):
        entry.unlink()
    with pytest.raises(DataError, match="changed during the run"):
        store().fetch_known(case, first.content)


def test_the_cache_is_private(store: Store, tmp_path: Path) -> None:
    fetch(store(), write(tmp_path / "a.nii", noise()))
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_a_refused_volume_is_named(store: Store, tmp_path: Path) -> None:
    case = write(tmp_path / "flat.nii.gz", np.ones((8, 8, 8), dtype=np.float32))
    refused = store().inspect(case)
    assert isinstance(refused, Refusal)
    assert (refused.case_id, refused.file, refused.code) == (
        "flat.nii.gz",
        "flat.nii.gz",
        "E_CONSTANT",
    )
    assert refused.remedy


def test_orientations_of_one_volume_give_one_tensor(store: Store, tmp_path: Path) -> None:
    voxels = noise(3, (6, 7, 8))
    upright = fetch(store(), write(tmp_path / "ras.nii", voxels)).image
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:3, 3] = [5.0, 6.0, 0.0]
    flipped = write(tmp_path / "lps.nii", voxels[::-1, ::-1].copy(), flip)
    swap = np.eye(4)[[2, 1, 0, 3]]
    swapped = write(tmp_path / "sar.nii", voxels.transpose(2, 1, 0).copy(), swap)
    assert torch.equal(fetch(store(), flipped).image, upright)
    assert torch.equal(fetch(store(), swapped).image, upright)


def test_spacing_is_what_was_asked_for(store: Store, tmp_path: Path) -> None:
    config = PreprocessConfig(spacing=(2.0, 2.0, 2.0), size=(6, 6, 6), crop="none")
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    ramp = np.broadcast_to(np.arange(12.0)[:, None, None], (12, 12, 3)).astype(np.float32)
    volume = fetch(store(config), write(tmp_path / "ramp.nii", ramp.copy(), affine))
    assert volume.image.shape == (1, 6, 6, 6)
    assert volume.spacing == pytest.approx((2.0, 2.0, 2.0))
    profile = volume.image[0, :, 3, 2]
    steps = profile.diff()[1:-1]
    assert torch.allclose(steps, steps[0].expand_as(steps), atol=1e-4)


def test_the_foreground_is_cropped_to_its_box(store: Store, tmp_path: Path) -> None:
    voxels = np.full((20, 20, 20), -1000.0, dtype=np.float32)
    voxels[4:9, 10:16, 3:12] = noise(0, (5, 6, 9))
    config = PreprocessConfig(
        spacing=None, size=(5, 6, 9), crop="foreground", intensity=IntensityConfig(name="none")
    )
    volume = fetch(store(config), write(tmp_path / "body.nii", voxels))
    assert np.allclose(volume.image[0].numpy(), voxels[4:9, 10:16, 3:12])


def test_grey_values_are_scaled_as_named() -> None:
    volume = torch.cat([torch.full((500,), -5.0), torch.randn(500) * 2 + 30]).reshape(1, 10, 10, 10)
    scaled = zscore(volume)(volume)
    inside = scaled[volume > volume.mean()]
    assert float(inside.mean()) == pytest.approx(0.0, abs=1e-4)
    assert float(inside.std()) == pytest.approx(1.0, abs=1e-4)
    clipped = window(0.0, 30.0)(volume)
    assert float(clipped.min()) == 0.0
    assert float(clipped.max()) == 1.0
    ordered = torch.arange(1000.0).reshape(1, 10, 10, 10)
    ranked = percentiles(ordered, 1.0, 99.0)(ordered)
    assert float(ranked.flatten()[10]) == pytest.approx(0.0, abs=1e-3)
    assert float(ranked.flatten()[989]) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", ["zscore", "window", "unit", "percentiles", "none"])
def test_padding_is_the_least_value_after_scaling(
    name: Literal["zscore", "window", "unit", "percentiles", "none"], store: Store, tmp_path: Path
) -> None:
    low, high = (-0.5, 0.5) if name == "window" else (None, None)
    scaled = IntensityConfig(name=name, low=low, high=high)
    keep = KEEP.model_copy(update={"intensity": scaled})
    case = write(tmp_path / "noise.nii", noise())
    whole = fetch(store(keep), case).image
    padded = fetch(store(keep.model_copy(update={"size": (10, 12, 9)})), case).image
    assert torch.equal(padded[:, 1:9, 2:10, :8], whole)
    assert float(padded[0, 0, 0, 0]) == float(whole.min()) == float(padded.min())
    part = fetch(store(keep.model_copy(update={"size": (4, 6, 8)})), case).image
    assert torch.equal(part, whole[:, 2:6, 1:7])


NEARLY_ONE_VALUE = np.full((32, 32, 32), 1000, dtype=np.int16)
NEARLY_ONE_VALUE[4, 5, 6] = 999
HUGE = np.linspace(1e35, 3e38, 4096, dtype=np.float32).reshape(16, 16, 16)


@pytest.mark.parametrize("voxels", [NEARLY_ONE_VALUE, HUGE], ids=["nearly one value", "huge"])
@pytest.mark.parametrize("name", ["zscore", "unit"])
def test_where_the_mean_is_beyond_all_voxels_nothing_is_cut_and_all_is_finite(
    voxels: NDArray[np.float32],
    name: Literal["zscore", "unit"],
    store: Store,
    tmp_path: Path,
) -> None:
    config = PreprocessConfig(
        spacing=None, size=voxels.shape, crop="foreground", intensity=IntensityConfig(name=name)
    )
    image = fetch(store(config), write(tmp_path / "odd.nii", voxels)).image
    assert image.isfinite().all()
    assert float(image.min()) < float(image.max())


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    size=st.tuples(*[st.integers(1, 9)] * 3),
)
@settings(max_examples=30, deadline=None)
def test_padding_and_cropping_keep_the_centre(
    shape: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    volume = torch.rand(1, *shape) + 1
    fitted = pad_or_crop(volume, size)
    assert fitted.shape == (1, *size)
    if all(new >= old for new, old in zip(size, shape, strict=True)):
        assert float(fitted.sum()) == pytest.approx(
            float(volume.sum() + volume.min() * (fitted.numel() - volume.numel())), rel=1e-5
        )


def test_augmentation_is_a_function_of_its_seed() -> None:
    config = PreprocessConfig(spacing=(1.0, 1.0, 1.0), size=(8, 8, 8))
    everything = AugmentConfig(
        affine=AffineConfig(probability=1.0), noise=1.0, blur=1.0, gamma=1.0, intensity=1.0
    )
    augment = augmentation(everything, config)
    volume = torch.from_numpy(noise())[None]
    before = volume.clone()
    state = torch.random.get_rng_state()
    seeds = [augmentation_seed(0, epoch, "case") for epoch in range(3)]
    results = [augment(volume, seed) for seed in seeds]
    again = [augmentation(everything, config)(volume, seed) for seed in reversed(seeds)]
    for result, repeat in zip(results, reversed(again), strict=True):
        assert torch.equal(result, repeat)
        assert type(result) is torch.Tensor
    assert not torch.equal(results[0], results[1])
    assert torch.equal(volume, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_augmentation_draws_what_monai_draws_for_the_same_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = PreprocessConfig(spacing=(1.0, 1.0, 1.0), size=(8, 8, 8))
    augment = augmentation(AugmentConfig(noise=0.5, blur=0.5, gamma=0.5, intensity=0.5), config)
    volume = torch.from_numpy(noise())[None]
    mask = (volume > 0).to(volume.dtype)
    found = [part for seed in range(40) for part in augment.with_mask(volume, mask, seed)]
    assert get_track_meta()
    chain = augment._chain
    monkeypatch.setattr(augment, "_reseed", lambda seed: chain.set_random_state(seed=seed))
    expected = [part for seed in range(40) for part in augment.with_mask(volume, mask, seed)]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert len({hash(part.numpy().tobytes()) for part in found}) > 40


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_number_of_threads_changes_no_bit(threads: int, store: Store, tmp_path: Path) -> None:
    config = PreprocessConfig(spacing=(0.9, 0.9, 0.9), size=(64, 64, 64))
    case = write(tmp_path / "large.nii", noise(5, (64, 64, 64)))
    alone = VolumeStore(config, VolumeCache(tmp_path / "alone", preprocessing_key(config)))
    single = fetch(alone, case).image
    torch.set_num_threads(threads)
    assert torch.equal(fetch(store(config), case).image, single)
    assert torch.get_num_threads() == threads


def test_the_same_voxels_elsewhere_are_the_same_scan(store: Store, tmp_path: Path) -> None:
    moved = np.eye(4)
    moved[:3, 3] = 10.0
    cases = [write(tmp_path / "a.nii", noise()), write(tmp_path / "b.nii", noise(), moved)]
    contents, _ = prepare(store(), cases, 0, lambda: None)
    with pytest.raises(DataError, match=r"E_DUP_CONTENT: a\.nii .* and b\.nii"):
        check_contents(cases, contents)


def test_a_full_disk_while_reading_is_one_message(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = write(tmp_path / "a.nii", noise())

    def full(*_: object) -> None:
        raise StorageError("cannot write x", why="No space left on device", remedy="free space")

    monkeypatch.setattr(VolumeCache, "store", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        prepare(store(), [case], 1, lambda: None)
    assert caught.value.remedy == "free space"
    assert "Traceback" not in str(caught.value)


def test_no_augmentation_changes_nothing() -> None:
    nothing = AugmentConfig(
        flip=0,
        rotate90=0,
        affine=AffineConfig(probability=0),
        intensity=0,
        gamma=0,
        noise=0,
        blur=0,
    )
    volume = torch.from_numpy(noise())[None]
    assert torch.equal(augmentation(nothing, KEEP)(volume, 1), volume)


def test_quarter_turns_keep_to_planes_of_equal_voxels() -> None:
    flat = PreprocessConfig(spacing=(1.0, 1.0, 3.0), size=(8, 8, 8))
    assert quarter_turn_planes(flat) == [(0, 1)]
    cube = PreprocessConfig(spacing=(1.0, 1.0, 1.0), size=(8, 8, 8))
    assert quarter_turn_planes(cube) == [(0, 1), (0, 2), (1, 2)]
    slab = PreprocessConfig(spacing=(1.0, 1.0, 1.0), size=(8, 9, 7))
    assert quarter_turn_planes(slab) == []
