"""Strides by spacing and size: near to cubes, never down to one voxel, and as networks have it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models3d import create_model
from models3d.poolformer import PoolFormer3d
from pipeline.planning.fingerprint import Triple, Voxels
from pipeline.planning.strides import Shape, Strides, shape_of, strides_for

NAMES = ("poolformer3d_n", "poolformer3d_t", "poolformer3d_s12")
EDGE = st.floats(0.1, 12.0)
SPACING = st.tuples(EDGE, EDGE, EDGE)
SIZE = st.tuples(*[st.integers(2, 200)] * 3)


@pytest.mark.parametrize("name", [*NAMES, "poolformer3d_s24", "poolformer3d_m48"])
def test_the_builds_are_those_of_the_registered_networks(name: str) -> None:
    with torch.device("meta"):
        reductions = create_model(name).feature_info.reduction()
    shape = shape_of(name)
    own = strides_for((1.0, 1.0, 1.0), (256, 256, 256), shape)
    assert own.reductions == tuple(reductions)
    assert own.stem_setting(shape) == {"kernel": None, "stride": None}
    assert own.steps_setting() is None


def test_an_option_sets_the_number_of_stages() -> None:
    assert shape_of("poolformer3d_t", 5) == Shape(5, 2)


def test_a_coarse_axis_waits_until_the_others_have_caught_up() -> None:
    patches = strides_for((1.0, 1.0, 3.3), (48, 48, 16), shape_of("poolformer3d_t"))
    assert patches == Strides((4, 4, 1), ((2, 2, 2),) * 3)
    assert patches.kernel == (7, 7, 3)
    thick = strides_for((0.7, 0.7, 7.0), (128, 128, 24), shape_of("poolformer3d_t"))
    assert thick == Strides((4, 4, 1), ((2, 2, 1), (2, 2, 2), (2, 2, 2)))
    assert thick.stem_setting(shape_of("poolformer3d_t"))["stride"] == [4, 4, 1]


def test_an_axis_of_few_voxels_is_not_halved_to_one() -> None:
    found = strides_for((1.0, 1.0, 1.0), (64, 64, 6), shape_of("poolformer3d_t"))
    assert [grid[2] for grid in found.grids((64, 64, 6))] == [3, 2, 2, 2]


@given(SPACING, SIZE, st.sampled_from(NAMES))
def test_no_stage_is_one_voxel_wide(spacing: Triple, size: Voxels, name: str) -> None:
    strides = strides_for(spacing, size, shape_of(name))
    assert all(count >= 2 for grid in strides.grids(size) for count in grid)


@given(SPACING, st.sampled_from(NAMES))
def test_where_there_is_room_cells_differ_by_a_stride_at_most(spacing: Triple, name: str) -> None:
    if max(spacing) > 4 * min(spacing):
        return
    strides = strides_for(spacing, (512, 512, 512), shape_of(name))
    for cell in strides.cells(spacing):
        assert max(cell) <= 2.0 * min(cell) + 1e-6


@given(SPACING, st.sampled_from(NAMES))
def test_anisotropic_cells_end_nearer_to_cubes_than_by_halving(spacing: Triple, name: str) -> None:
    if max(spacing) <= 2 * min(spacing):
        return
    strides = strides_for(spacing, (512, 512, 512), shape_of(name))
    # Halving all axes alike keeps the voxels' own elongation.
    assert elongation(strides.cells(spacing)[-1]) < elongation(spacing) + 1e-6


def elongation(cell: Triple) -> float:
    return math.log(max(cell) / min(cell))


@settings(max_examples=30, deadline=None)
@given(SPACING, st.tuples(*[st.integers(2, 40)] * 3), st.sampled_from((2, 4)))
def test_the_grids_are_those_of_the_network(spacing: Triple, size: Voxels, stem: int) -> None:
    shape = Shape(3, stem)
    strides = strides_for(spacing, size, shape)
    network = PoolFormer3d(
        (1, 1, 1),
        (2, 2, 2),
        stem_kernel=strides.kernel,
        stem_stride=strides.stem,
        strides=strides.steps,
    )
    with torch.no_grad():
        *stages, _ = network.eval()(torch.zeros(1, 1, *size))
    assert [tuple(stage.shape[2:]) for stage in stages] == strides.grids(size)
