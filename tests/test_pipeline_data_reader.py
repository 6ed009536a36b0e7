"""MONAI's transforms over our reader: equal to nibabel's, and errors that keep their file."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Orientationd, Spacingd

from pipeline.data.formats.nifti import read_nifti
from pipeline.data.reader import VolumeReader, volume_error_in
from pipeline.data.volume import Reason, VolumeError

nib: Any = nibabel  # has no types for what is used here
# MONAI sets up all of its readers beside ours, and one of them misses an optional library.
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")

AFFINE = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1]])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "x.nii.gz"
    values = np.random.default_rng(0).integers(0, 255, (12, 10, 8)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, AFFINE), file)
    return file


def chain(*more: object) -> Any:  # noqa: ANN401  # MONAI has no types
    load = LoadImaged("image", reader=VolumeReader(), image_only=True)
    return Compose([load, EnsureChannelFirstd("image"), *more])


def test_volume_and_metadata_reach_the_transforms(path: Path) -> None:
    image = chain(Orientationd("image", "RAS", labels=None))({"image": path})["image"]
    volume = read_nifti(path)
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(image.numpy()[0], volume.voxels)
    np.testing.assert_allclose(image.affine.numpy(), volume.affine)
    np.testing.assert_allclose(image.meta["original_affine"], AFFINE)
    assert image.meta["content"] == volume.content
    assert image.pixdim.tolist() == pytest.approx(volume.spacing)
    assert tuple(image.meta["spatial_shape"]) == (10, 12, 8)


def test_resampling_is_as_with_nibabel(path: Path) -> None:
    spaced = (
        Orientationd("image", "RAS", labels=None),
        Spacingd("image", (1.0, 1.0, 2.0)),
    )
    ours = chain(*spaced)({"image": str(path)})["image"]
    load = LoadImaged("image", reader="NibabelReader", image_only=True)
    other = Compose([load, EnsureChannelFirstd("image"), *spaced])({"image": str(path)})["image"]
    assert ours.shape == other.shape
    torch.testing.assert_close(ours.as_tensor(), other.as_tensor(), rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(ours.affine, other.affine)


def test_refusal_is_found_behind_monais_own_error(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[-6] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(RuntimeError) as caught:
        chain()({"image": path})
    error = volume_error_in(caught.value)
    assert error is not None
    assert (error.code, error.file) == ("E_CRC", path)
    assert volume_error_in(RuntimeError("something else")) is None


def test_refusal_is_found_in_chains_with_a_loop() -> None:
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__context__, second.__context__ = second, first
    assert volume_error_in(first) is None
    second.__cause__ = VolumeError(Reason.E_EMPTY, Path("x"), "it has 0 bytes")
    assert volume_error_in(first) is second.__cause__


def test_one_path_a_case(path: Path) -> None:
    reader = VolumeReader()
    assert reader.verify_suffix(path)
    assert reader.verify_suffix([str(path)])
    assert not reader.verify_suffix([path, path])
    with pytest.raises(ValueError, match="one volume, not 2"):
        reader.read([path, path])


def test_budget_is_kept(tmp_path: Path, path: Path) -> None:
    reader = VolumeReader(budget=1000)
    with pytest.raises(VolumeError, match="E_BUDGET"):
        reader.get_data(reader.read(path))
    plain = tmp_path / "plain.nii"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    voxels, meta = VolumeReader().get_data(plain)
    assert voxels.shape == (10, 12, 8)
    assert meta["space"] == "RAS"
