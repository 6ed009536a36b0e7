"""Local thickness: what the definition says, on any grid, and of known shapes what they measure."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.data.thickness import Lengths, Mask, Spacing, widths

CUBES: Spacing = (1.0, 1.0, 1.0)
SPACINGS: tuple[Spacing, ...] = (CUBES, (0.7, 0.7, 2.5), (1.0, 2.0, 2.0), (3.0, 0.5, 1.1))

masks = arrays.arrays(np.bool_, st.tuples(*[st.integers(1, 7)] * 3))


def ball(radius: float, side: int = 33) -> Mask:
    away = np.indices((side,) * 3) - side // 2
    return np.asarray(np.square(away).sum(axis=0) < radius**2)


def thickness_by_definition(mask: Mask, spacing: Spacing) -> Lengths:
    """Every ball about every voxel, asked of every voxel; half a voxel off the diameter."""
    size = np.array(spacing)
    inside = np.argwhere(mask)
    outside = np.argwhere(~np.pad(mask, 1)) - 1
    found = np.zeros(mask.shape)
    for centre in inside:
        ways = (outside - centre) * size
        lengths = np.linalg.norm(ways, axis=1)
        nearest = np.isclose(lengths, lengths.min(), rtol=1e-9)
        radius = lengths.min()
        # Of several nearest voxels any may be meant: here, the one across the longest edge.
        edge = np.linalg.norm(ways[nearest] * size, axis=1).max() / radius
        held = inside[np.linalg.norm((inside - centre) * size, axis=1) < radius - 1e-9]
        places = tuple(held.T)
        found[places] = np.maximum(found[places], 2 * radius - edge / 2)
    return found


@given(masks)
@settings(deadline=None, max_examples=60)
def test_thickness_is_what_the_definition_says(mask: Mask) -> None:
    for spacing in (CUBES, (0.7, 0.7, 0.7)):
        found = widths(mask, spacing).thickness
        assert found == pytest.approx(thickness_by_definition(mask, spacing), abs=1e-6)


@given(masks)
@settings(deadline=None, max_examples=30)
def test_thickness_of_long_voxels_differs_from_the_definition_by_ties_alone(mask: Mask) -> None:
    for spacing in SPACINGS[1:]:
        found = widths(mask, spacing).thickness
        tie = (max(spacing) - min(spacing)) / 2
        expected = thickness_by_definition(mask, spacing)
        assert (found >= expected - 1e-6).all()
        assert (found <= expected + tie + 1e-6).all()


@given(masks, st.sampled_from(SPACINGS))
@settings(deadline=None, max_examples=60)
def test_widths_are_above_0_within_the_shape_alone(mask: Mask, spacing: Spacing) -> None:
    found = widths(mask, spacing)
    for lengths in (found.depth, found.thickness):
        assert lengths.shape == mask.shape
        assert np.isfinite(lengths).all()
        assert ((lengths > 0) == mask).all()


@given(masks)
@settings(deadline=None, max_examples=30)
def test_turning_a_shape_turns_its_widths(mask: Mask) -> None:
    turned = widths(np.ascontiguousarray(mask[::-1].transpose(2, 0, 1)), CUBES)
    plain = widths(mask, CUBES)
    assert turned.thickness == pytest.approx(plain.thickness[::-1].transpose(2, 0, 1))
    assert turned.depth == pytest.approx(plain.depth[::-1].transpose(2, 0, 1))


@pytest.mark.parametrize(("spacing", "axis"), list(itertools.product(SPACINGS, range(3))))
@pytest.mark.parametrize("voxels", [1, 2, 3, 4])
def test_a_plate_is_as_thick_as_it_is(voxels: int, spacing: Spacing, axis: int) -> None:
    shape = [int(24 / size) for size in spacing]
    mask = np.zeros(shape, dtype=np.bool_)
    where: list[slice] = [slice(None)] * 3
    where[axis] = slice(1, 1 + voxels)
    mask[tuple(where)] = True
    middle = [side // 2 for side in shape]
    middle[axis] = 1
    found = widths(mask, spacing).thickness[tuple(middle)]
    # Half a voxel either way, but for a plate so coarse that its border is nearer than its faces.
    assert found == pytest.approx(voxels * spacing[axis], abs=spacing[axis] / 2 + 1e-6)


@pytest.mark.parametrize("radius", [2, 4, 7, 11])
def test_a_ball_is_as_thick_as_its_diameter(radius: int) -> None:
    mask = ball(radius)
    found = widths(mask, CUBES)
    assert found.thickness.max() == pytest.approx(2 * radius, abs=1)
    # All but the roughness of its surface lies in the largest ball.
    assert (found.thickness[mask] == found.thickness.max()).mean() > 0.9
    assert found.depth[16, 16, 16] == found.depth.max() > found.depth[16, 16, 15]


def test_the_border_of_the_volume_ends_a_shape() -> None:
    full = np.ones((9, 9, 9), dtype=np.bool_)
    assert widths(full, CUBES).depth.max() == 5.0
    found = widths(np.pad(full, 3), CUBES)
    assert (found.thickness[3:-3, 3:-3, 3:-3] == widths(full, CUBES).thickness).all()


@pytest.mark.parametrize("shape", [(4, 4), (0, 4, 4), (1, 4, 4, 4)])
def test_a_mask_that_is_no_volume_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(X, Y, Z\)"):
        widths(np.ones(shape, dtype=np.bool_), CUBES)
