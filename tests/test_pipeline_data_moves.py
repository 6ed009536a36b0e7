"""Flips, quarter turns and affine moves as one step, beside the libraries that do them singly."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Affine
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from pipeline.data import resampling
from pipeline.data.moves import Move, Moves, quarter_turn, rotation
from pipeline.data.resampling import Interpolation, resampled

PLANES = ((0, 1), (0, 2), (1, 2))
Matrix = NDArray[np.float64]


def by_torch(volume: Tensor, matrix: Matrix, interpolation: Interpolation) -> Tensor:
    """The same by `grid_sample`, which names axes the other way round and counts half widths."""
    half = np.array(volume.shape[:0:-1]) / 2
    turned = matrix[::-1, ::-1] * half[None] / half[:, None]
    theta = torch.from_numpy(np.concatenate([turned, np.zeros((3, 1))], axis=1)).float()[None]
    grid = affine_grid(theta, [1, *volume.shape], align_corners=False)
    mode = {"linear": "bilinear", "nearest": "nearest"}[interpolation]
    moved = grid_sample(volume[None], grid, mode, padding_mode="border", align_corners=False)
    return moved[0]


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 12)] * 3),
    channels=st.integers(1, 2),
    seed=st.integers(0, 2**32 - 1),
    tile=st.sampled_from([1, 50, 1 << 16]),
)
def test_resampling_equals_that_of_torch(
    size: tuple[int, int, int], channels: int, seed: int, tile: int
) -> None:
    chance = np.random.default_rng(seed)
    volume = torch.from_numpy(chance.random((channels, *size), dtype=np.float32))
    matrix = rotation(chance.uniform(-180, 180, 3)) @ np.diag(chance.uniform(0.5, 1.5, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "_TILE", tile)
        found = resampled(volume, matrix, "linear")
        torch.testing.assert_close(found, by_torch(volume, matrix, "linear"), rtol=0, atol=1e-5)
        marks = torch.arange(volume.numel(), dtype=torch.float32).view(volume.shape)
        same = resampled(marks, matrix, "nearest") == by_torch(marks, matrix, "nearest")
        # Half way between two voxels, rounding decides.
        assert same.float().mean() > 0.9


@pytest.mark.parametrize("degrees", [(20.0, 0.0, 0.0), (0.0, -15.0, 0.0), (9.0, 25.0, -30.0)])
def test_an_affine_move_is_that_of_monai(degrees: tuple[float, float, float]) -> None:
    volume = torch.rand(1, 11, 9, 10)
    scale = (1.1, 0.9, 1.05)
    angles = tuple(float(angle) for angle in np.radians(degrees))
    move: Any = Affine(
        rotate_params=angles, scale_params=scale, padding_mode="border", image_only=True
    )
    found = resampled(volume, rotation(np.array(degrees)) @ np.diag(scale), "linear")
    torch.testing.assert_close(found, torch.as_tensor(move(volume)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("plane", "count"), [*itertools.product(PLANES, (1, 2, 3))])
def test_a_quarter_turn_is_that_of_torch(plane: tuple[int, int], count: int) -> None:
    volume = torch.rand(1, 5, 5, 5)
    expected = torch.rot90(volume, count, [1 + axis for axis in plane])
    move = Move(quarter_turn(plane, count), turns_only=True)
    assert torch.equal(move(volume, "linear"), expected)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_turns_without_an_affine_move_interpolate_nothing(seed: int) -> None:
    move = Moves(0.5, 0.5, PLANES, 0.0, 15.0, 0.1).draw(seed)
    volume = torch.rand(1, 6, 6, 6)
    moved = move(volume, "linear")
    assert move.turns_only
    assert torch.equal(moved.flatten().sort().values, volume.flatten().sort().values)
    torch.testing.assert_close(moved, resampled(volume, move.matrix, "linear"), rtol=0, atol=1e-5)


def test_one_step_does_what_its_parts_do_in_turn() -> None:
    move = Moves(1.0, 1.0, PLANES, 1.0, 15.0, 0.1).draw(3)
    chance = np.random.default_rng(3)
    chance.random(3)
    volume = torch.rand(1, 8, 8, 8)
    expected = volume.flip(1, 2, 3)
    for plane in PLANES:
        chance.random()
        expected = torch.rot90(expected, int(chance.integers(1, 4)), [1 + a for a in plane])
    chance.random()
    angles = chance.uniform(-15.0, 15.0, 3)
    scales = 1.0 + chance.uniform(-0.1, 0.1, 3)
    expected = by_torch(expected, rotation(angles) @ np.diag(scales), "linear")
    torch.testing.assert_close(move(volume, "linear"), expected, rtol=0, atol=1e-5)


def test_moves_are_drawn_as_often_as_they_are_asked_for() -> None:
    moves = Moves(0.5, 0.25, PLANES[:1], 0.3, 10.0, 0.1)
    drawn = [moves.draw(seed) for seed in range(4000)]
    assert sum(not move.turns_only for move in drawn) / len(drawn) == pytest.approx(0.3, abs=0.03)
    turns = Counter(move.matrix.tobytes() for move in drawn if move.turns_only)
    assert len(turns) == 16  # four quarter turns in one plane, and mirrors: all that can come
    flipped = sum(np.linalg.det(move.matrix) < 0 for move in drawn) / len(drawn)
    assert flipped == pytest.approx(0.5, abs=0.03)


def test_a_move_leaves_the_volume_and_shares_no_memory_with_it() -> None:
    volume = torch.rand(1, 4, 4, 4)
    before = volume.clone()
    for move in (Move(np.eye(3), True), Move(rotation(np.array([5.0, 0.0, 0.0])), False)):
        move(volume, "linear").add_(1.0)
        assert torch.equal(volume, before)
