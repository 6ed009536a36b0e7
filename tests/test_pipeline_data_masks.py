"""Masks are read on the very grid of their volumes, and a doubtful one is refused by name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.batches import NO_MASK
from pipeline.build import mask_store
from pipeline.config import (
    AffineConfig,
    AugmentConfig,
    DataConfig,
    IntensityConfig,
    PreprocessConfig,
)
from pipeline.data.augment import augmentation
from pipeline.data.cache import VolumeCache
from pipeline.data.cases import Case
from pipeline.data.dataset import VolumeDataset, evaluation_batches
from pipeline.data.doubts import doubts
from pipeline.data.manifest import Manifest, read_manifest
from pipeline.data.masks import TOLERANCE, check_taught
from pipeline.data.memory import MemoryCache
from pipeline.data.transforms import preprocessing_key
from pipeline.data.volume import has_mask, volume_of, voxels_of
from pipeline.data.volumes import Refusal, VolumeStore, prepare
from pipeline.errors import DataError

Store = Callable[..., VolumeStore]
Voxels = NDArray[np.float32]
SIDE = 10
AS_IT_IS = IntensityConfig(name="none")
KEEP = PreprocessConfig(spacing=None, size=(SIDE,) * 3, crop="none", intensity=AS_IT_IS)
AFFINE = np.diag([1.5, 1.0, 2.0, 1.0])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    def build(config: PreprocessConfig = KEEP) -> VolumeStore:
        return VolumeStore(config, VolumeCache(tmp_path / "cache", preprocessing_key(config)))

    return build


def save(path: Path, voxels: NDArray[np.generic], affine: NDArray[np.float64] = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def noise(seed: int = 0, shape: tuple[int, ...] = (SIDE,) * 3) -> Voxels:
    return np.random.default_rng(seed).normal(10, 3, shape).astype(np.float32)


def blob(label: int = 1) -> NDArray[np.uint8]:
    """A box away from the middle, so that flips and shifts show."""
    mask = np.zeros((SIDE,) * 3, dtype=np.uint8)
    mask[1:4, 5:9, 2:8] = label
    return mask


def labels(count: int) -> NDArray[np.int16]:
    """The structure, in as many parts as make `count` values with the background."""
    mask = blob().astype(np.int16)
    mask[mask > 0] = np.arange(int(blob().sum())) % (count - 1) + 1
    return mask


def make(
    folder: Path,
    mask: NDArray[np.generic],
    affine: NDArray[np.float64] = AFFINE,
    image: Voxels | None = None,
) -> Case:
    path = save(folder / "image.nii.gz", noise() if image is None else image)
    return Case("a", "p", path, mask=save(folder / "mask.nii.gz", mask, affine))


def refused(store: VolumeStore, case: Case) -> Refusal:
    found = store.inspect(case)
    assert isinstance(found, Refusal)
    return found


def fetch(store: VolumeStore, case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    content = store.inspect(case)
    assert isinstance(content, str), content
    mask = store.fetch_mask(case, content)
    assert mask is not None
    return store.fetch_known(case, content).image, mask


def test_anything_but_zero_is_the_structure(store: Store, tmp_path: Path) -> None:
    nearly = blob().astype(np.float32) * np.float32(1.0001)  # as a header's slope may leave it
    for values in (blob(), blob(7), blob().astype(np.float32) * -2, nearly, labels(64)):
        _, mask = fetch(store(), make(tmp_path, values))
        assert mask.dtype == torch.float32
        assert torch.equal(mask[0], torch.from_numpy(blob()).float())


@pytest.mark.parametrize(
    ("code", "words", "values"),
    [
        ("E_MASK_FULL", "no voxel is 0", blob() + 1),
        ("E_MASK_EMPTY", "no voxel is farther from 0", blob().astype(np.float32) * 1e-4),
        ("E_MASK_VALUES", "it holds 0.5, no whole number", blob().astype(np.float32) * 0.5),
        ("E_MASK_VALUES", "no whole number", noise()),
        ("E_MASK_VALUES", "more than 64 different values", labels(65)),
        ("E_MASK_VALUES", "more than 64 different values", (100 * noise()).astype(np.int16)),
    ],
)
def test_an_image_that_is_no_mask_is_refused(
    code: str, words: str, values: NDArray[np.generic], store: Store, tmp_path: Path
) -> None:
    refusal = refused(store(), make(tmp_path, values))
    assert (refusal.code, refusal.file) == (code, "mask.nii.gz")
    assert words in refusal.reason


def test_a_mask_stored_the_other_way_round_lies_on_the_same_voxels(
    store: Store, tmp_path: Path
) -> None:
    flip = AFFINE @ np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:3, 3] = AFFINE[:3, :3] @ [SIDE - 1, SIDE - 1, 0]
    _, mask = fetch(store(), make(tmp_path, blob()[::-1, ::-1].copy(), flip))
    assert torch.equal(mask[0], torch.from_numpy(blob()).float())


@pytest.mark.parametrize(
    ("moved", "accepted"), [(0.5 * TOLERANCE, True), (2 * TOLERANCE, False), (1.0, False)]
)
def test_a_mask_that_lies_elsewhere_is_refused(
    moved: float, accepted: bool, store: Store, tmp_path: Path
) -> None:
    affine = AFFINE.copy()
    affine[1, 3] += moved  # along the shortest edge of a voxel, which is 1 mm
    case = make(tmp_path, blob(), affine)
    if accepted:
        fetch(store(), case)
        return
    refusal = refused(store(), case)
    assert (refusal.code, refusal.file) == ("E_MASK_GEOMETRY", "mask.nii.gz")
    assert "mm away" in refusal.reason
    assert "resample" in refusal.remedy


def test_a_mask_of_another_spacing_or_size_is_refused(store: Store, tmp_path: Path) -> None:
    finer = AFFINE @ np.diag([0.99, 1.0, 1.0, 1.0])
    assert refused(store(), make(tmp_path, blob(), finer)).code == "E_MASK_GEOMETRY"
    smaller = refused(store(), make(tmp_path, blob()[:, :-1].copy()))
    assert smaller.code == "E_MASK_GEOMETRY"
    assert "10 x 9 x 10" in smaller.reason
    assert "10 x 10 x 10" in smaller.reason


@pytest.mark.parametrize(
    ("value", "code"), [(0, "E_MASK_EMPTY"), (1, "E_MASK_FULL"), (7, "E_MASK_FULL")]
)
def test_a_mask_that_tells_nothing_apart_is_empty_or_marks_every_voxel(
    value: int, code: str, store: Store, tmp_path: Path
) -> None:
    refusal = refused(store(), make(tmp_path, np.full((SIDE,) * 3, value, dtype=np.uint8)))
    assert (refusal.code, refusal.file) == (code, "mask.nii.gz")
    assert f"every voxel is {value}" in refusal.reason


def test_a_damaged_mask_is_refused_by_its_own_name(store: Store, tmp_path: Path) -> None:
    case = make(tmp_path, blob())
    assert case.mask is not None
    case.mask.write_bytes(case.mask.read_bytes()[:-30])
    refusal = refused(store(), case)
    assert (refusal.code, refusal.file) == ("E_TRUNCATED", "mask.nii.gz")


def test_a_mask_without_a_volume_is_no_case(store: Store, tmp_path: Path) -> None:
    case = make(tmp_path, blob(), image=np.ones((SIDE,) * 3, dtype=np.float32))
    assert (refused(store(), case).code, refused(store(), case).file) == (
        "E_CONSTANT",
        "image.nii.gz",
    )


@pytest.mark.parametrize(
    "config",
    [
        KEEP,
        PreprocessConfig(spacing=(1.0, 1.0, 1.0), size=(9, 12, 16), crop="none"),
        PreprocessConfig(spacing=(2.1, 0.9, 1.7), size=(7, 11, 12)),
        PreprocessConfig(spacing=None, size=(6, 13, 8), fit="resize"),
    ],
)
def test_what_is_cached_of_a_volume_does_not_depend_on_its_mask(
    config: PreprocessConfig, store: Store, tmp_path: Path
) -> None:
    case = make(tmp_path, blob())
    plain = Case("a", "p", case.image)
    alone = store(config)
    content = alone.inspect(plain)
    assert isinstance(content, str)
    files = {path.name: path.read_bytes() for path in (tmp_path / "cache").rglob("*.volume")}
    image, mask = fetch(store(config), case)
    assert torch.equal(image, alone.fetch_known(plain, content).image)
    assert mask.shape == image.shape
    assert bool(((mask == 0) | (mask == 1)).all())
    after = {path.name: path.read_bytes() for path in (tmp_path / "cache").rglob("*.volume")}
    assert files.items() <= after.items()
    assert len(after) == len(files) + 1
    assert store(config).inspect(plain) == content


def centre(structure: torch.Tensor) -> torch.Tensor:
    return structure.nonzero().double().mean(0)


@pytest.mark.parametrize("fit", ["pad_crop", "resize"])
def test_volume_and_mask_stay_aligned_through_preprocessing(
    fit: str, store: Store, tmp_path: Path
) -> None:
    image = np.full((SIDE,) * 3, -100.0, dtype=np.float32)
    image[blob() > 0] = 100.0
    config = PreprocessConfig.model_validate(
        {"spacing": (0.7, 0.6, 0.9), "size": (14, 12, 20), "fit": fit, "intensity": AS_IT_IS}
    )
    seen, mask = fetch(store(config), make(tmp_path, blob(), image=image))
    assert mask.sum() > 50
    # Bilinear against nearest: they may differ only where the volume is between both values.
    assert bool((seen > 0).eq(mask > 0)[seen.abs() > 60].all())
    assert torch.allclose(centre(seen > 0), centre(mask > 0), atol=0.5)


def test_voxels_that_padding_adds_are_no_structure(store: Store, tmp_path: Path) -> None:
    image = np.full((SIDE,) * 3, -100.0, dtype=np.float32)
    image[2:4, 6:8, 3:7] = 100.0  # the foreground, which lies whole within the structure
    config = PreprocessConfig(spacing=None, size=(8, 8, 8), intensity=AS_IT_IS)
    _, mask = fetch(store(config), make(tmp_path, blob(), image=image))
    assert mask.sum() == 2 * 2 * 4


def lost_by(step: str, folder: Path) -> tuple[PreprocessConfig, Case]:
    """A case of whose mask the step leaves nothing."""
    image, mask = noise(), blob()
    if step == "foreground":
        image = np.full((SIDE,) * 3, -100.0, dtype=np.float32)
        image[6:9, 1:4, 2:5] = 100.0
        return AWAY, make(folder, mask, image=image)
    mask[:] = 0
    mask[0, 0, 0] = 1
    whole = {"spacing": None, "crop": "none", "intensity": AS_IT_IS}
    fit = {"fit": "resize", "size": (3, 3, 3)} if step == "resize" else {"size": (4, 4, 4)}
    return PreprocessConfig.model_validate({**whole, **fit}), make(folder, mask, image=image)


AWAY = PreprocessConfig(spacing=None, size=(4, 4, 4), intensity=AS_IT_IS)


@pytest.mark.parametrize("memory", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", ["foreground", "pad_crop", "resize"])
def test_a_mask_that_preprocessing_removes_teaches_nothing_and_is_said(
    step: str, memory: bool, store: Store, tmp_path: Path
) -> None:
    config, case = lost_by(step, tmp_path)
    kept = VolumeStore(config, MemoryCache()) if memory else store(config)
    contents, problems = prepare(kept, [case], 0, lambda: None)
    assert problems == []
    assert has_mask(contents["a"])
    # Also from the cache, as a run that goes on finds it.
    for again in (kept, kept if memory else store(config)):
        assert again.fetch_mask(case, contents["a"]) is None
        said = doubts(again, [case])["W_MASK_LOST"]
        assert said.startswith("1 mask, e.g. mask.nii.gz: preprocessing leaves none of it")
    (batch,) = evaluation_batches(VolumeDataset([case], contents, (), kept, masks=kept), 1, 0)
    assert bool((batch["mask"] == NO_MASK).all())


def test_a_doubt_about_one_preprocessing_is_none_about_another(
    store: Store, tmp_path: Path
) -> None:
    config, case = lost_by("foreground", tmp_path)
    for preprocess, said in ((config, True), (KEEP, False), (config, True)):
        kept = store(preprocess)
        prepare(kept, [case], 0, lambda: None)
        assert ("W_MASK_LOST" in doubts(kept, [case])) is said


def test_content_tells_volume_and_mask_apart(store: Store, tmp_path: Path) -> None:
    case = make(tmp_path, blob())
    first = store().inspect(case)
    plain = store().inspect(Case("a", "p", case.image))
    assert isinstance(first, str)
    assert isinstance(plain, str)
    assert (has_mask(first), has_mask(plain)) == (True, False)
    assert volume_of(first) == volume_of(plain) == plain
    assert voxels_of(first) == voxels_of(plain)
    make(tmp_path, blob()[::-1].copy())
    changed = store().inspect(case)
    assert isinstance(changed, str)
    assert changed != first
    assert volume_of(changed) == plain
    with pytest.raises(DataError, match="the mask of case a changed during the run"):
        VolumeStore(KEEP, MemoryCache()).fetch_mask(case, first)


def test_a_mask_is_not_taken_over_for_a_volume_of_another_geometry(
    store: Store, tmp_path: Path
) -> None:
    case = make(tmp_path, blob())
    fetch(store(), case)
    save(case.image, noise(), AFFINE @ np.diag([1.0, 1.0, 1.1, 1.0]))
    assert refused(store(), case).code == "E_MASK_GEOMETRY"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("memory", [True, False])
def test_loading_processes_hand_masks_over(
    workers: int, memory: bool, store: Store, tmp_path: Path
) -> None:
    kept = VolumeStore(KEEP, MemoryCache()) if memory else store()
    cases = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        cases.append(make(tmp_path / name, blob(), image=noise(ord(name))))
    cases = [Case(c.image.parent.name, "p", c.image, mask=c.mask) for c in cases]
    cases[1] = Case("b", "p", cases[1].image)
    contents, problems = prepare(kept, cases, workers, lambda: None)
    assert problems == []
    assert [has_mask(contents[name]) for name in "abc"] == [True, False, True]
    assert all(kept.has(case) for case in cases)
    again, _ = prepare(kept, cases, workers, lambda: None)
    assert again == contents
    for case in (cases[0], cases[2]):
        mask = kept.fetch_mask(case, contents[case.case_id])
        assert mask is not None
        assert torch.equal(mask[0], torch.from_numpy(blob()).float())
    assert kept.fetch_mask(cases[1], contents["b"]) is None


def test_a_doubt_about_a_mask_names_its_file(store: Store, tmp_path: Path) -> None:
    case = make(tmp_path, blob())
    assert case.mask is not None
    whole = gzip.decompress(case.mask.read_bytes()) + b"more"
    case.mask.write_bytes(gzip.compress(whole))
    kept = store()
    prepare(kept, [case], 0, lambda: None)
    assert "mask.nii.gz" in doubts(kept, [case])["W_TRAILING"]


def full(**changes: object) -> AugmentConfig:
    """Spatial steps always, grey ones never."""
    off = {"noise": 0.0, "blur": 0.0, "gamma": 0.0, "intensity": 0.0}
    turns = {"flip": 0.5, "rotate90": 0.5, "affine": AffineConfig(probability=0.0)}
    return AugmentConfig.model_validate({**turns, **off, **changes})


CUBE = PreprocessConfig(spacing=(1.0, 1.0, 1.0), size=(SIDE,) * 3)


@given(seed=st.integers(0, 2**32 - 1), structure=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_flips_and_turns_move_volume_and_mask_alike(seed: int, structure: int) -> None:
    mask = torch.from_numpy(np.random.default_rng(structure).random((1, SIDE, SIDE, SIDE)) < 0.3)
    volume = mask.float()
    seen, moved = augmentation(full(), CUBE).with_mask(volume, volume.clone(), seed)
    assert torch.equal(seen, moved)
    assert moved.sum() == volume.sum()


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_small_rotations_and_scales_move_volume_and_mask_alike(seed: int) -> None:
    volume = torch.from_numpy(blob())[None].float()
    config = full(affine=AffineConfig(probability=1.0, degrees=25.0, scale=0.2))
    seen, moved = augmentation(config, CUBE).with_mask(volume, volume.clone(), seed)
    assert bool(((moved == 0) | (moved == 1)).all())
    # Of a linear interpolation the nearest voxel has at least an eighth.
    assert bool((seen[moved == 1] >= 0.125 - 1e-4).all())
    assert bool((seen[moved == 0] <= 0.875 + 1e-4).all())
    assert type(seen) is type(moved) is torch.Tensor


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_mask_changes_no_bit_of_its_volume_and_grey_steps_none_of_the_mask(seed: int) -> None:
    grey = {"noise": 0.7, "blur": 0.7, "gamma": 0.7, "intensity": 0.7}
    config = full(**grey, affine=AffineConfig(probability=0.5))
    volume, mask = torch.from_numpy(noise())[None], torch.from_numpy(blob())[None].float()
    seen, moved = augmentation(config, CUBE).with_mask(volume, mask, seed)
    assert torch.equal(seen, augmentation(config, CUBE)(volume, seed))
    same = full(affine=AffineConfig(probability=0.5))
    # The steps draw from states of their own, so grey ones do not shift the spatial ones.
    assert torch.equal(moved, augmentation(same, CUBE).with_mask(volume, mask, seed)[1])


def test_a_case_without_a_mask_says_so_in_the_batch(store: Store, tmp_path: Path) -> None:
    case = make(tmp_path, blob())
    cases = [case, Case("b", "p", case.image)]
    kept = store()
    contents, _ = prepare(kept, cases, 0, lambda: None)
    chain = augmentation(full(noise=1.0), CUBE)
    masked = VolumeDataset(cases, contents, (), kept, chain, 3, masks=kept)
    plain = VolumeDataset(cases, contents, (), kept, chain, 3)
    for with_masks, without in zip(
        evaluation_batches(masked, 2, 0), evaluation_batches(plain, 2, 0), strict=True
    ):
        assert "mask" not in without
        assert torch.equal(with_masks["image"], without["image"])
        assert with_masks["mask"].shape == with_masks["image"].shape
        assert with_masks["mask"][0].sum() == blob().sum()
        assert bool((with_masks["mask"][1] == NO_MASK).all())


def test_teaching_without_any_mask_is_refused() -> None:
    with pytest.raises(DataError, match="no training case has a mask") as caught:
        check_taught([Case("a", "p", Path("a.nii")), Case("b", "p", Path("b.nii"))])
    assert "model.masks.weight=0" in (caught.value.remedy or "")


def test_teaching_where_no_mask_is_left_is_refused(store: Store, tmp_path: Path) -> None:
    config, lost = lost_by("foreground", tmp_path)
    (tmp_path / "b").mkdir()
    sound = replace(make(tmp_path / "b", blob(), image=noise(1)), case_id="b")
    plain = replace(lost, case_id="c", mask=None)
    kept = store(config)
    contents, _ = prepare(kept, [lost, sound, plain], 0, lambda: None)
    assert mask_store(kept, [lost, sound, plain], contents) is kept
    with pytest.raises(DataError, match="no training case keeps its mask") as caught:
        mask_store(kept, [lost, plain], contents)
    assert "any of the 1 masks" in (caught.value.why or "")
    assert "preprocess.size" in (caught.value.remedy or "")


TABLE = "image,label,{mask}\na.nii,A,{first}\nb.nii,A,{second}\nc.nii,B,\nd.nii,B,\n"


def read(
    folder: Path, *, masks: bool = True, mask: str = "mask", first: str = "m.nii", second: str = ""
) -> Manifest:
    for name in ("a", "b", "c", "d", "m"):
        (folder / f"{name}.nii").write_bytes(b"x")
    path = folder / "cases.csv"
    path.write_text(TABLE.format(mask=mask, first=first, second=second))
    return read_manifest(DataConfig(source="manifest", manifest=str(path)), masks=masks)


@pytest.mark.parametrize("column", ["mask", "Mask", "segmentation", "seg", "ROI", "mask_path"])
def test_the_mask_column_is_understood_and_counted(column: str, tmp_path: Path) -> None:
    manifest = read(tmp_path, mask=column)
    assert [case.mask for case in manifest.cases] == [tmp_path / "m.nii", None, None, None]
    assert "masks: 1 of 4 cases have one" in manifest.notes()
    assert not any("not used" in line for line in manifest.notes())


def test_where_masks_are_not_needed_the_column_is_not_used(tmp_path: Path) -> None:
    manifest = read(tmp_path, masks=False, first="nowhere.nii")
    assert [case.mask for case in manifest.cases] == [None] * 4
    assert "not used: mask" in manifest.notes()


def test_cases_may_share_a_mask(tmp_path: Path) -> None:
    manifest = read(tmp_path, second="m.nii")
    assert [case.mask for case in manifest.cases][:2] == [tmp_path / "m.nii"] * 2


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ("n.nii", "line 2: E_MISSING: the mask n.nii does not exist; the nearest name there is"),
        ("../m.nii", "line 2: E_OUTSIDE_ROOT: the mask ../m.nii leaves the data root"),
        ("/m.nii", "to allow it: data.allow_outside_root=true"),
        (".", r"line 2: E_IRREGULAR: the mask \. is a directory"),
        ("c.nii", "line 2: E_DUP_PATH: the mask c.nii is the image of line 4"),
        ("a.nii", "line 2: E_DUP_PATH: the mask a.nii is the image of line 2"),
    ],
)
def test_a_mask_that_cannot_be_taken_is_a_problem(named: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=problem):
        read(tmp_path, first=named)


def test_a_column_without_any_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no case of cases\.csv has a mask"):
        read(tmp_path, first=" ")


def test_a_manifest_without_the_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the manifest has no column mask") as caught:
        read(tmp_path, mask="outline")
    assert "model.masks.weight=0" in (caught.value.remedy or "")
