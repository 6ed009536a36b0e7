"""Resampling axis by axis gives what MONAI's `Spacing` gives, voxels and geometry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Spacing
from scipy.spatial.transform import Rotation

from pipeline.data import spacing
from pipeline.data.resampling import Interpolation
from pipeline.data.spacing import Respaced, along

millimetres = st.floats(0.4, 6.0).map(lambda value: round(value, 3))


def volume_of(
    size: tuple[int, int, int], spacing: tuple[float, float, float], seed: int
) -> MetaTensor:
    """Noise on an oblique grid."""
    chance = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(rng=chance).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = chance.uniform(-100, 100, 3)
    voxels = torch.from_numpy(chance.normal(size=(1, *size)).astype(np.float32))
    return MetaTensor(voxels, affine=torch.from_numpy(affine), meta={"content": "kept"})


@settings(max_examples=80, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 14)] * 3),
    old=st.tuples(*[millimetres] * 3),
    new=st.tuples(*[millimetres] * 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_is_the_spacing_of_monai(
    size: tuple[int, int, int],
    old: tuple[float, float, float],
    new: tuple[float, float, float],
    seed: int,
) -> None:
    volume = volume_of(size, old, seed)
    found = Respaced(new, {"image": "linear"})({"image": volume})["image"]
    expected = Spacing(new, mode="bilinear")(volume)
    torch.testing.assert_close(found.as_tensor(), expected.as_tensor().float(), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.affine, expected.affine)
    assert found.meta["content"] == "kept"
    assert not found.pending_operations
    assert found.dtype == torch.float32


@pytest.mark.parametrize("tile", [1, 20, 150, 1000])
@pytest.mark.parametrize("axis", [1, 2, 3])
def test_tiles_give_the_same_bits(tile: int, axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(2, 5, 6, 7)
    places = np.linspace(-0.5, values.shape[axis], 11)
    whole = along(values, axis, places, "linear")
    monkeypatch.setattr(spacing, "_TILE", tile)
    assert torch.equal(along(values, axis, places, "linear"), whole)


@pytest.mark.parametrize(("old", "new"), [(3.0, 1.0), (1.0, 3.1), (1.0, 1.0), (2.0, 1.3)])
def test_a_mask_takes_the_nearest_voxels(old: float, new: float) -> None:
    mask = volume_of((9, 8, 7), (old, old, 1.0), 0)
    mask = MetaTensor((mask.as_tensor() > 0).float(), affine=mask.affine)
    found = Respaced((new, new, 1.0), {"mask": "nearest"})({"mask": mask})["mask"]
    expected = Spacing((new, new, 1.0), mode="nearest")(mask)
    assert found.shape == expected.shape
    assert set(found.unique().tolist()) <= {0.0, 1.0}
    # Half way between two voxels, rounding decides.
    assert (found.as_tensor() == expected.as_tensor()).float().mean() > 0.85


def test_a_sheared_volume_is_straightened_as_monai_does() -> None:
    volume = volume_of((8, 9, 10), (1.0, 1.0, 2.0), 1)
    affine = volume.affine.clone()
    affine[:3, 2] += 0.4 * affine[:3, 0]
    volume = MetaTensor(volume.as_tensor(), affine=affine)
    found = Respaced((1.0, 1.0, 1.0), {"image": "linear"})({"image": volume})["image"]
    expected = Spacing((1.0, 1.0, 1.0), mode="bilinear")(volume)
    assert torch.equal(found.as_tensor(), expected.as_tensor())
    torch.testing.assert_close(found.affine, expected.affine)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_beyond_the_border_its_edge_counts(interpolation: Interpolation) -> None:
    values = torch.tensor([[1.0, 2.0, 4.0]])
    found = along(values, 1, np.array([-3.0, 0.0, 2.0, 9.0]), interpolation)
    assert found.tolist() == [[1.0, 1.0, 4.0, 4.0]]
    assert along(values, 1, np.array([0.5, 1.25]), "linear").tolist() == [[1.5, 2.5]]
