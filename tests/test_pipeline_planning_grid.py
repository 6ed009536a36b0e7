"""Spacing and size by the volumes: what most have, manageable, and divisible by the strides."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.planning.fingerprint import Triple, Voxels
from pipeline.planning.grid import (
    MOST_VOXELS,
    MULTIPLE,
    Spacing,
    manageable,
    placed,
    rounded_size,
    spacing_for,
    voxels_in,
)

EDGE = st.floats(0.05, 20.0)
WIDTH = st.floats(0.5, 2000.0)


def test_the_spacing_is_the_median_along_each_axis() -> None:
    spacings = np.array([[1.0, 1.0, 1.0], [1.2, 1.0, 2.0], [3.0, 1.1, 2.5]])
    assert spacing_for(spacings) == Spacing((1.2, 1.0, 2.0))


def test_a_coarse_axis_gets_a_fine_value_of_those_that_occur() -> None:
    thick = [[0.7, 0.7, 5.0]] * 8
    thin = [[0.7, 0.7, 1.5]] * 2
    assert spacing_for(np.array([*thick, *thin])) == Spacing((0.7, 0.7, 1.5), coarse=2)
    assert spacing_for(np.array(thick)) == Spacing((0.7, 0.7, 5.0), coarse=2)


def test_thin_slices_are_never_made_thinner_than_the_other_edges() -> None:
    spacings = np.array([[1.0, 1.0, 4.0]] * 8 + [[1.0, 1.0, 0.3]] * 2)
    assert spacing_for(spacings).mm == (1.0, 1.0, 1.0)


def test_up_to_three_times_as_long_the_median_stays() -> None:
    spacings = np.array([[1.0, 1.0, 3.0]] * 8 + [[1.0, 1.0, 1.0]] * 2)
    assert spacing_for(spacings) == Spacing((1.0, 1.0, 3.0))


def test_of_anisotropic_voxels_the_short_edges_grow_first() -> None:
    found = manageable(Spacing((0.5, 0.5, 5.0)), np.array([200.0, 200.0, 100.0]))
    assert found.enlarged
    assert found.mm[2] == 5.0
    assert 1.0 < found.mm[0] == found.mm[1] < 2.0


@given(st.tuples(EDGE, EDGE, EDGE), st.tuples(WIDTH, WIDTH, WIDTH))
def test_the_size_is_manageable_and_holds_the_widths(mm: Triple, widths: Triple) -> None:
    wanted = spacing_for(np.array([mm]))
    found = manageable(wanted, np.array(widths))
    size = rounded_size(voxels_in(np.array(widths), found.mm))
    assert math.prod(size) <= MOST_VOXELS
    assert all(count % MULTIPLE == 0 and count >= MULTIPLE for count in size)
    assert (np.array(size) + 0.4 >= np.array(widths) / np.array(found.mm) - 1e-6).all()
    assert found.enlarged == (found.mm != wanted.mm)
    assert all(new >= old for new, old in zip(found.mm, wanted.mm, strict=True))


@given(
    st.tuples(*[st.integers(8, 400)] * 3),
    st.tuples(*[st.sampled_from((1, 2, 4, 8, 16, 32))] * 3),
)
def test_sizes_are_multiples_of_what_the_network_divides_by(
    voxels: Voxels, reductions: Voxels
) -> None:
    size = rounded_size(voxels, reductions)
    for count, wanted, reduction in zip(size, voxels, reductions, strict=True):
        assert count % min(reduction, MULTIPLE) == 0
        assert wanted <= count < wanted + MULTIPLE


def test_a_rounded_spacing_does_not_cost_eight_more_voxels() -> None:
    assert voxels_in(np.array([48.2, 48.5, 2.0]), (1.0, 1.0, 1.0)) == (48, 49, 8)


@given(st.lists(st.tuples(WIDTH, WIDTH, WIDTH), min_size=1, max_size=60))
def test_along_each_axis_95_percent_have_their_place(widths: list[Triple]) -> None:
    table = np.array(widths)
    held = (table <= placed(table)).mean(axis=0)
    assert (held >= 0.95).all()


@pytest.mark.parametrize("permutation", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_no_axis_is_special(permutation: tuple[int, int, int]) -> None:
    spacings = np.array([[0.7, 0.8, 5.0], [0.7, 0.8, 2.5], [0.7, 0.8, 5.0]])
    plain = spacing_for(spacings).mm
    turned = spacing_for(spacings[:, permutation]).mm
    assert turned == tuple(plain[axis] for axis in permutation)
