"""Oblique stacks whose positions were rounded are upright; tilted and uneven ones are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_makers import everywhere, place, save, slices
from pipeline.data.formats.dispatch import read_volume
from volume_makers import refusal

pytestmark = pytest.mark.usefixtures("in_this_process")

Directions = NDArray[np.float64]


def directions(seed: int) -> Directions:
    """Any orthonormal directions, of a row, a column and their normal: rows of (3, 3)."""
    found = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0].T
    found[2] = np.cross(found[0], found[1])
    return np.asarray(found, dtype=np.float64)


def oblique(
    axes: Directions,
    heights: Sequence[float],
    digits: int,
    *,
    cosines: int = 6,
    lean: float = 0.0,
) -> list[Dataset]:
    """Slices at heights along the normal, with so many digits; each leans by a part of them."""
    start = np.random.default_rng(len(heights)).uniform(-100, 100, 3)
    orientation = [round(float(number), cosines) for number in axes[:2].ravel()]
    made = slices(len(heights), orientation=orientation, size=(4, 3))
    for item, height in zip(made, heights, strict=True):
        place(item, np.round(start + height * (axes[2] + lean * axes[1]), digits))
    return made


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    stack=st.sampled_from([(5, 3.0, 1), (30, 1.0, 1), (5, 0.5, 2), (12, 4.0, 1), (8, 0.5, 1)]),
    cosines=st.sampled_from([3, 6]),
)
def test_positions_that_were_rounded_make_one_upright_stack(
    seed: int,
    stack: tuple[int, float, int],
    cosines: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    (count, spacing, digits), axes = stack, directions(seed)
    heights = [spacing * number for number in range(count)]
    made = oblique(axes, heights, digits, cosines=cosines)
    volume = read_volume(save(tmp_path_factory.mktemp("scan"), made))
    assert not volume.findings
    step = volume.original_affine[:3, 2] * (-1.0, -1.0, 1.0)
    first = volume.original_affine[:3, 3] * (-1.0, -1.0, 1.0)
    ends = first + np.outer([0, count - 1], step)
    stated = np.array([made[0].ImagePositionPatient, made[-1].ImagePositionPatient], dtype=float)
    assert np.linalg.norm(ends - stated, axis=1).max() < 0.1 * 3**0.5 + 2e-3 * heights[-1]
    aside = np.degrees(np.arcsin(np.linalg.norm(np.cross(step, axes[2])) / np.linalg.norm(step)))
    assert aside < 0.2  # a tenth of a degree, and what three digits make of the directions
    assert np.linalg.norm(step) == pytest.approx(spacing, abs=0.18 / (count - 1))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    degrees=st.floats(1.0, 30.0),
    spacing=st.sampled_from([2.5, 3.0, 5.0]),
    digits=st.sampled_from([1, 2, 6]),
)
def test_a_tilted_gantry_is_refused_in_any_direction(
    seed: int,
    degrees: float,
    spacing: float,
    digits: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    heights = [spacing * number for number in range(12)]
    lean = float(np.tan(np.radians(degrees)))
    made = oblique(directions(seed), heights, digits, lean=lean)
    assert refusal(save(tmp_path_factory.mktemp("scan"), made)).code == "E_DICOM_TILT"


@pytest.mark.parametrize("sine", [0.125, 0.005])
def test_directions_at_either_side_of_a_half_are_one(sine: float, tmp_path: Path) -> None:
    made = slices(6, size=(4, 3))
    cosine = (1 - sine**2) ** 0.5
    for number, item in enumerate(made):
        nearly = sine + (-1) ** number * 1e-7
        item.ImageOrientationPatient = [cosine, nearly, 0, -nearly, cosine, 0]
    assert read_volume(save(tmp_path / "scan", made)).voxels.shape == (3, 4, 6)


def test_spacings_at_either_side_of_a_half_are_one(tmp_path: Path) -> None:
    made = slices(6, size=(4, 3))
    for number, item in enumerate(made):
        item.PixelSpacing = [0.78125 + (-1) ** number * 1e-7] * 2
    assert read_volume(save(tmp_path / "scan", made)).voxels.shape == (3, 4, 6)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    missing=st.integers(1, 8),
    spacing=st.sampled_from([0.6, 1.0, 3.0]),
)
def test_a_missing_slice_of_an_oblique_stack_is_seen_through_rounding(
    seed: int, missing: int, spacing: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    heights = [spacing * number for number in range(10) if number != missing]
    made = oblique(directions(seed), heights, 1)
    assert refusal(save(tmp_path_factory.mktemp("scan"), made)).code == "E_SLICE_GAP"


@pytest.mark.parametrize(
    ("pixel", "accepted"), [(0.7, True), (0.01, False)], ids=["a scan", "a microscope"]
)
def test_how_much_is_rounding_depends_on_the_size_of_voxels(
    pixel: float, accepted: bool, tmp_path: Path
) -> None:
    heights = [0.05 * number for number in range(5)]
    made = oblique(np.eye(3), heights, 6, lean=0.3)  # 0.06 mm in all
    everywhere(PixelSpacing=[pixel, pixel])(made)
    folder = save(tmp_path / "scan", made)
    if accepted:
        step = read_volume(folder).original_affine[:3, 2]
        np.testing.assert_allclose(step, [0, 0, 0.05], atol=1e-9)
    else:
        assert refusal(folder).code == "E_DICOM_TILT"


def test_a_slice_of_an_axial_stack_may_be_a_tenth_of_a_millimetre_off(tmp_path: Path) -> None:
    for off, code in ((0.09, ""), (0.11, "E_SLICE_GAP")):
        heights = [3.0 * number for number in range(10)]
        heights[4] += off
        folder = save(tmp_path / f"{off}", oblique(np.eye(3), heights, 6))
        if code:
            assert refusal(folder).code == code
        else:
            assert not read_volume(folder).findings
