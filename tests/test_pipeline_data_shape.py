"""A foreground in numbers: true of shapes that are known, finite for all others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import stats

from pipeline.data.intensity import foreground, zscore
from pipeline.data.shape import (
    DEPTH_BINS,
    SHAPE_NAMES,
    THICKNESS_BINS,
    shape_key,
    shape_values,
)
from pipeline.data.thickness import Mask, Spacing

Volume = NDArray[np.float32]
CUBES: Spacing = (1.0, 1.0, 1.0)
SPACINGS: tuple[Spacing, ...] = (CUBES, (0.7, 0.7, 2.5), (1.0, 2.0, 2.0), (3.0, 0.5, 1.1))

sides = st.tuples(*[st.integers(1, 7)] * 3)
volumes = arrays.arrays(np.float32, sides, elements=st.floats(-(2.0**100), 2.0**100, width=32))


def values_of(volume: Mask | Volume, spacing: Spacing = CUBES) -> dict[str, float]:
    found = shape_values(volume.astype(np.float32), spacing)
    return dict(zip(SHAPE_NAMES, found, strict=True))


def ball(radius: float, side: int = 33) -> Mask:
    away = np.indices((side,) * 3) - side // 2
    return np.asarray(np.square(away).sum(axis=0) < radius**2)


def grown(side: int, hole: int) -> Mask:
    """A cube of `side` in a margin of 2, from whose middle a cube of `hole` is taken."""
    mask = np.zeros((side + 4,) * 3, dtype=np.bool_)
    mask[2:-2, 2:-2, 2:-2] = True
    first = 2 + (side - hole) // 2
    mask[(slice(first, first + hole),) * 3] = False
    return mask


@pytest.mark.parametrize("shape", [(4, 4), (0, 4, 4), (1, 4, 4, 4)])
def test_what_is_no_volume_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(X, Y, Z\)"):
        shape_values(np.zeros(shape, dtype=np.float32), CUBES)


@pytest.mark.parametrize("spacing", [(1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (np.nan, 1.0, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing: Spacing) -> None:
    with pytest.raises(ValueError, match="spacings in mm"):
        shape_values(ball(3, 9).astype(np.float32), spacing)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_volume_that_is_not_finite_is_refused(value: float) -> None:
    volume = ball(3, 9).astype(np.float32)
    volume[0, 0, 0] = value
    with pytest.raises(ValueError, match="not finite"):
        shape_values(volume, CUBES)


@given(volumes, st.sampled_from(SPACINGS))
@settings(deadline=None, max_examples=150)
def test_every_volume_has_as_many_finite_values(volume: Volume, spacing: Spacing) -> None:
    found = shape_values(volume, spacing)
    assert len(found) == len(SHAPE_NAMES) == len(set(SHAPE_NAMES))
    assert np.isfinite(found).all()
    named = dict(zip(SHAPE_NAMES, found, strict=True))
    for what in ("thickness_share", "depth_share"):
        total = sum(value for name, value in named.items() if name.startswith(what))
        assert total == pytest.approx(float(volume.min() < volume.max()))
    for name in ("form_elongation", "form_flatness", "form_box_share", "form_largest_part"):
        assert 0.0 <= named[name] <= 1.0 + 1e-9


@pytest.mark.parametrize("value", [-3.0, 0.0, 0.1, 1e30])
def test_a_volume_of_one_value_has_no_foreground(value: float) -> None:
    found = shape_values(np.full((5, 6, 7), value, dtype=np.float32), CUBES)
    assert found == (0.0,) * len(SHAPE_NAMES)


def test_a_volume_that_is_nearly_all_foreground_is_measured() -> None:
    mask = np.ones((9, 9, 9), dtype=np.bool_)
    mask[0, 0, 0] = False
    found = values_of(mask)
    assert found["form_share"] == pytest.approx(728 / 729)
    assert found["thickness_p50"] > 6
    assert found["form_euler"] == pytest.approx(np.log(2))


def test_a_single_voxel_is_measured() -> None:
    mask = np.zeros((5, 5, 5), dtype=np.bool_)
    mask[2, 2, 2] = True
    found = values_of(mask, (1.0, 2.0, 3.0))
    assert [found[f"form_box_{axis}"] for axis in "xyz"] == [1.0, 2.0, 3.0]
    assert found["form_diameter"] == pytest.approx(np.cbrt(36 / np.pi))
    assert found["form_elongation"] == found["form_flatness"] == 0.0


def test_the_foreground_is_that_of_the_preprocessing() -> None:
    volume = np.random.default_rng(0).normal(0, 1, (8, 9, 10)).astype(np.float32)
    mask = foreground(torch.from_numpy(volume)).numpy()
    assert values_of(volume)["form_share"] == mask.mean()
    forms = [name for name in SHAPE_NAMES if not name.startswith("grey")]
    assert [values_of(volume)[name] for name in forms] == [values_of(mask)[name] for name in forms]


def test_form_does_not_depend_on_the_scale_of_grey_values() -> None:
    volume = np.random.default_rng(1).normal(0, 1, (8, 8, 8)).astype(np.float32)
    plain, scaled = values_of(volume), values_of(100.0 + 16.0 * volume)
    for name in SHAPE_NAMES:
        if not name.startswith("grey"):
            assert plain[name] == scaled[name], name


def test_a_binary_volume_has_no_grey_values() -> None:
    found = values_of(ball(5) * np.float32(255))
    assert {found[name] for name in SHAPE_NAMES if name.startswith("grey")} == {0.0}
    assert found["thickness_mean"] > 8


def test_lengths_grow_with_the_spacing_and_shares_do_not() -> None:
    mask = np.random.default_rng(2).random((9, 9, 9)) > 0.3
    plain, wide = values_of(mask), values_of(mask, (2.5, 2.5, 2.5))
    of_lengths = ("mean", "deviation", "diameter", "surface", "axis", "box_x", "box_y", "box_z")
    for name in SHAPE_NAMES:
        kind, _, rest = name.partition("_")
        length = kind != "grey" and (rest.endswith(of_lengths) or rest[1:].isdigit())
        factor = 2.5 if length else 1.0
        assert wide[name] == pytest.approx(factor * plain[name], abs=1e-9), name


def test_a_thin_and_a_thick_shape_fall_into_other_bins() -> None:
    thin, thick = values_of(grown(15, 13)), values_of(ball(13))
    assert thin["thickness_share_0"] > 0.9
    assert thin["depth_share_0"] > 0.9
    assert sum(thick[f"thickness_share_{number}"] for number in range(21, 25)) > 0.9
    assert thick["thickness_share_0"] < 0.05


def test_rounding_puts_no_length_into_another_bin() -> None:
    lengths = np.sqrt(np.arange(1, 4000))
    for found, bins in ((2 * lengths - 0.5, THICKNESS_BINS), (lengths, DEPTH_BINS)):
        assert (np.diff(bins) > 0).all()
        assert np.abs(found[:, None] - np.array(bins)).min() > 1e-5


def test_a_ball_is_round_and_a_rod_is_not() -> None:
    rod = np.zeros((33, 33, 33), dtype=np.bool_)
    rod[14:19, 14:19, 2:31] = True
    found, long = values_of(ball(14)), values_of(rod)
    assert found["form_sphericity"] == pytest.approx(1.0, abs=0.02)
    assert found["form_diameter"] == pytest.approx(28, abs=0.5)
    assert found["form_surface"] == pytest.approx(np.sqrt(4 * np.pi) * 14, rel=0.02)
    assert found["form_elongation"] == pytest.approx(1.0)
    assert found["form_flatness"] == pytest.approx(1.0)
    assert long["form_sphericity"] < 0.75
    assert long["form_elongation"] == pytest.approx(np.sqrt(24 / 840))
    assert long["form_box_share"] == 1.0


def test_parts_are_counted_and_corners_connect() -> None:
    mask = np.zeros((9, 9, 9), dtype=np.bool_)
    mask[1, 1, 1] = mask[2, 2, 2] = mask[3, 3, 3] = True
    assert values_of(mask)["form_parts"] == pytest.approx(np.log(2))
    mask[7, 7, 7] = True
    assert values_of(mask)["form_parts"] == pytest.approx(np.log(3))
    assert values_of(mask)["form_largest_part"] == 0.75


@pytest.mark.parametrize("kind", ["cube", "cavity", "ring", "two rings"])
def test_holes_are_counted(kind: str) -> None:
    mask = grown(7, 0)
    if kind == "cavity":
        mask = grown(7, 3)
    if "ring" in kind:
        mask[4, 4, :] = False
    if kind == "two rings":
        mask[6, 6, :] = False
    number = {"cube": 1, "cavity": 2, "ring": 0, "two rings": -1}[kind]
    expected = np.sign(number) * np.log1p(abs(number))
    assert values_of(mask)["form_euler"] == pytest.approx(expected)


def test_grey_values_are_those_of_the_foreground() -> None:
    volume = np.random.default_rng(3).gamma(2.0, 10.0, (12, 12, 12)).astype(np.float32)
    inside = volume[volume > volume.mean()].astype(np.float64)
    found = values_of(volume)
    assert found["grey_mean"] == pytest.approx(inside.mean(), rel=1e-4)
    assert found["grey_deviation"] == pytest.approx(inside.std(), rel=1e-4)
    assert found["grey_skewness"] == pytest.approx(stats.skew(inside))
    assert found["grey_kurtosis"] == pytest.approx(stats.kurtosis(inside))
    assert found["grey_p0"] == pytest.approx(inside.min(), rel=1e-4)
    assert found["grey_p50"] == pytest.approx(np.median(inside), rel=1e-4)
    counts = np.histogram(inside, 32)[0]
    assert found["grey_entropy"] == pytest.approx(stats.entropy(counts, base=2))


def test_the_rounding_of_a_normalised_volume_tells_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        volume = torch.randn((1, 16, 16, 16), generator=generator)
        found = values_of(zscore(volume)(volume)[0].numpy())
        assert found["grey_mean"] == 0.0
        assert found["grey_deviation"] == pytest.approx(1.0, abs=5e-4)


def test_the_key_names_what_decides_the_numbers() -> None:
    assert all(name in shape_key() for name in ("scipy", "SimpleITK", "numpy"))
