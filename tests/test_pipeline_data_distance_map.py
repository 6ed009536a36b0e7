"""Of shapes, networks read how deep each voxel lies: on files, through the whole preprocessing."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.config import IntensityConfig, PreprocessConfig
from pipeline.config_file import load_config
from pipeline.data.cases import Case
from pipeline.data.memory import MemoryCache
from pipeline.data.thickness import depths, widths
from pipeline.data.transforms import preprocessing, preprocessing_key
from pipeline.data.volumes import VolumeStore, prepare

DISTANCE = IntensityConfig(name="distance")
KEEP = PreprocessConfig(spacing=None, size=(20, 16, 12), crop="none", intensity=DISTANCE)


def plate_and_block() -> NDArray[np.uint8]:
    """A block with a plate of one voxel at its side."""
    voxels = np.zeros((20, 16, 12), dtype=np.uint8)
    voxels[2:10, 2:10, 2:10] = 255
    voxels[10:18, 2:10, 5] = 255
    return voxels


def preprocessed(
    folder: Path,
    voxels: NDArray[np.uint8],
    config: PreprocessConfig,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> torch.Tensor:
    path = folder / "shape.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)
    image: torch.Tensor = preprocessing(config)({"image": str(path)})["image"].as_tensor()
    return image


def test_every_voxel_of_the_shape_has_its_depth(tmp_path: Path) -> None:
    voxels = plate_and_block()
    found = preprocessed(tmp_path, voxels, KEEP)
    assert found.dtype == torch.float32
    expected = depths(voxels > 0, (1.0, 1.0, 1.0))
    assert np.allclose(found[0].numpy(), expected, atol=1e-5)
    assert found[0, 14, 5, 5] == 1.0
    assert found[0, 5, 5, 5] == 4.0
    assert (found > 0).sum() == (voxels > 0).sum()


def test_lengths_are_in_edges_of_a_voxel(tmp_path: Path) -> None:
    voxels = plate_and_block()
    small = preprocessed(tmp_path, voxels, KEEP, (0.5, 0.5, 0.5))
    large = preprocessed(tmp_path, voxels, KEEP, (3.0, 3.0, 3.0))
    assert torch.allclose(small, large, atol=1e-5)
    uneven = preprocessed(tmp_path, voxels, KEEP, (1.0, 1.0, 8.0))
    expected = depths(voxels > 0, (1.0, 1.0, 8.0)) / 2.0
    assert np.allclose(uneven[0].numpy(), expected, atol=1e-5)


def test_depth_is_measured_before_volumes_are_resampled(tmp_path: Path) -> None:
    voxels = np.zeros((16, 16, 16), dtype=np.uint8)
    voxels[4:12, 4:12, 4:12] = 1  # a cube of 12 mm, 6 mm deep in its middle
    for spacing, size in ((1.0, 24), (0.75, 32)):
        update = {"spacing": (spacing,) * 3, "size": (size,) * 3}
        found = preprocessed(tmp_path, voxels, KEEP.model_copy(update=update), (1.5, 1.5, 1.5))
        assert float(found.max()) * spacing == pytest.approx(6.0, rel=0.06)
    resized = KEEP.model_copy(update={"size": (32, 32, 32), "fit": "resize"})
    found = preprocessed(tmp_path, voxels, resized, (1.5, 1.5, 1.5))
    assert float(found.max()) * 0.75 == pytest.approx(6.0, rel=0.06)


def test_thin_places_are_kept_by_the_crop(tmp_path: Path) -> None:
    voxels = np.zeros((20, 16, 14), dtype=np.uint8)
    voxels[1:15, 1:15, 1:13] = 255
    voxels[15:19, 1:15, 6] = 255
    config = KEEP.model_copy(update={"size": (18, 14, 12), "crop": "foreground"})
    found = preprocessed(tmp_path, voxels, config)
    whole = depths(voxels > 0, (1.0, 1.0, 1.0))
    # By the mean of the map, the plate would be cut away.
    assert whole.mean() > whole[16, 5, 6] == 1.0
    assert np.allclose(found[0].numpy(), whole[1:19, 1:15, 1:13], atol=1e-5)


@pytest.mark.parametrize("side", [8, 12])
def test_a_block_that_fills_its_box_ends_where_it_ends(tmp_path: Path, side: int) -> None:
    voxels = np.zeros((20, 16, 12), dtype=np.uint8)
    voxels[4:12, 4:12, 2:10] = 1
    config = KEEP.model_copy(update={"size": (side, side, side), "crop": "foreground"})
    found = preprocessed(tmp_path, voxels, config)
    whole = depths(voxels > 0, (1.0, 1.0, 1.0))
    assert (found > 0).sum() == 8**3
    assert float(found.sum()) == pytest.approx(whole.sum())


def test_a_mask_beside_it_stays_on_its_grid(tmp_path: Path) -> None:
    voxels = plate_and_block()
    config = KEEP.model_copy(update={"size": (18, 10, 10), "crop": "foreground"})
    alone = preprocessed(tmp_path, voxels, config)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "mask.nii.gz")
    files = {"image": str(tmp_path / "shape.nii.gz"), "mask": str(tmp_path / "mask.nii.gz")}
    both = preprocessing(config, masks=True)(files)
    assert torch.equal(both["image"].as_tensor(), alone)
    assert torch.equal(both["mask"].as_tensor() > 0, alone > 0)


def test_a_volume_of_more_values_is_no_shape(tmp_path: Path) -> None:
    voxels = plate_and_block()
    voxels[3, 3, 3] = 128
    path = tmp_path / "grey.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    (reason,) = refusals(path)
    assert reason == "E_NOT_SHAPE: it has 0, 255 and 128 at least"


@pytest.mark.parametrize(
    "update", [{"spacing": (3.0, 3.0, 3.0)}, {"size": (2, 2, 2)}], ids=["coarse", "cut"]
)
def test_a_shape_that_preprocessing_loses_is_refused(
    tmp_path: Path, update: dict[str, tuple[float, ...]]
) -> None:
    voxels = np.zeros((21, 21, 21), dtype=np.uint8)
    voxels[2, 2:19, 2:19] = 1  # a plate between two voxels of the coarse grid, off the centre
    path = tmp_path / "plate.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    assert refusals(path) == []
    (reason,) = refusals(path, KEEP.model_copy(update=update))
    assert reason.startswith("E_SHAPE_LOST")


def refusals(path: Path, config: PreprocessConfig = KEEP) -> list[str]:
    """Why preparing a volume for distances refuses it."""
    store = VolumeStore(config, MemoryCache())
    _, refused = prepare(store, [Case("a", "a", path)], 0, lambda: None)
    return [f"{item.code}: {item.reason}" for item in refused]


def test_the_cache_knows_that_the_libraries_of_the_lengths_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = KEEP.model_copy(update={"intensity": IntensityConfig(name="none")})
    before = preprocessing_key(KEEP), preprocessing_key(plain)
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"another {name}")
    after = preprocessing_key(KEEP), preprocessing_key(plain)
    assert "another scipy" in after[0]
    assert "scipy" not in after[1]
    assert not {*before} & {*after}


def test_depth_alone_is_the_depth_beside_the_thickness() -> None:
    generator = np.random.default_rng(0)
    mask = generator.random((9, 8, 7)) < 0.9
    for spacing in ((1.0, 1.0, 1.0), (0.5, 2.0, 3.0)):
        assert np.array_equal(depths(mask, spacing), widths(mask, spacing).depth)
    assert not depths(np.zeros((3, 3, 3), dtype=np.bool_), (1.0, 1.0, 1.0)).any()
    with pytest.raises(ValueError, match="spacings"):
        depths(mask, (1.0, 0.0, 1.0))


def test_distances_take_no_ends() -> None:
    with pytest.raises(ValueError, match="takes no low and high"):
        IntensityConfig(name="distance", low=0.0)


@pytest.mark.parametrize("name", ["adrenalmnist3d", "vesselmnist3d"])
def test_the_shapes_of_the_benchmark_are_read_as_distances(name: str) -> None:
    assert load_config(f"benchmarks/{name}").preprocess.intensity == DISTANCE
