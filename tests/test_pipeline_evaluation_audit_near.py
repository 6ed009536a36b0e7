"""Copies in sets of lookalikes: the true ones are found, and nobody else is accused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from audit_makers import Voxels
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from pipeline.data.thumbnail import signature_of
from pipeline.evaluation.audit_near import Likeness, near_rows

GUIDE = Path(__file__).parent.parent.joinpath("docs", "guide.md").read_text(encoding="utf-8")
SHAPE = (44, 52, 40)
COUNT = 24


def body(seed: int = 0) -> NDArray[np.float64]:
    """What all volumes of a registered set have in common: one outline, one anatomy."""
    noise = gaussian_filter(np.random.default_rng([seed, 1]).normal(size=SHAPE), 4.0)
    middle = (np.array(SHAPE) / 2)[:, None, None, None]
    inside = (((np.indices(SHAPE) - middle) / (0.85 * middle)) ** 2).sum(axis=0) < 1
    return np.asarray((noise / noise.std() * 150.0 + 600.0) * inside)


def registered(count: int = COUNT) -> list[Voxels]:
    """Volumes in one space; each has differences of its own inside the outline, and noise."""
    common, made = body(), []
    for number in range(count):
        generator = np.random.default_rng([number, 2])
        own = gaussian_filter(generator.normal(size=SHAPE), 2.5)
        grain = generator.normal(0.0, 20.0, SHAPE)
        made.append(((common + own / own.std() * 40.0 + grain) * (common > 0)).astype(np.float32))
    return made


VOLUMES = registered()
SIGNATURES = np.stack([signature_of(voxels) for voxels in VOLUMES])


def with_copies(*copies: Voxels) -> Likeness:
    own = [signature_of(np.ascontiguousarray(voxels)) for voxels in copies]
    return near_rows(np.stack([*SIGNATURES, *own]))


def noisy(voxels: Voxels, share: float = 0.1, seed: int = 5) -> Voxels:
    noise = np.random.default_rng(seed).normal(0.0, share * voxels.std(), voxels.shape)
    return (voxels + noise).astype(np.float32)


def test_registered_volumes_are_no_copies_of_each_other() -> None:
    found = near_rows(SIGNATURES)
    assert (found.pairs, found.crowded) == ((), ())
    assert found.nearest is not None
    assert found.nearest > 0.5


COPIES: dict[str, Callable[[Voxels], Voxels]] = {
    "noise": lambda voxels: noisy(voxels, 0.05),
    "mirrored": lambda voxels: noisy(voxels[::-1]),
    "units": lambda voxels: noisy(3.0 * voxels + 100.0),
    "voxel size": lambda voxels: np.asarray(zoom(voxels, 0.8, order=1), dtype=np.float32),
    "inverted": lambda voxels: noisy(1500.0 - voxels),
    "rotated": lambda voxels: noisy(np.rot90(voxels, 1, (0, 1))),
    "rotated twice": lambda voxels: noisy(np.rot90(np.rot90(voxels, 1, (0, 2)), 1, (1, 2))),
}


@pytest.mark.parametrize("change", list(COPIES))
def test_the_one_copy_among_registered_volumes_is_found(change: str) -> None:
    found = with_copies(COPIES[change](VOLUMES[3]))
    (pair,) = found.pairs
    assert (pair.first, pair.second) == (3, COUNT)
    assert pair.inverted == (change == "inverted")
    assert pair.turn.is_permuted == change.startswith("rotated")
    assert pair.turn.axes == (("x",) if change == "mirrored" else pair.turn.axes)
    assert found.crowded == ()


def test_each_of_several_copied_volumes_is_found() -> None:
    found = with_copies(*(noisy(VOLUMES[place]) for place in range(10)))
    assert sorted((pair.first, pair.second) for pair in found.pairs) == [
        (place, COUNT + place) for place in range(10)
    ]


def test_many_copies_of_one_volume_are_told_as_too_alike_and_not_passed_over() -> None:
    found = with_copies(*(noisy(VOLUMES[0], 0.02, seed) for seed in range(9)))
    assert found.pairs == ()
    assert set(found.crowded) == {0, *range(COUNT, COUNT + 9)}


def test_a_second_anatomy_in_the_set_makes_no_pairs() -> None:
    other = [
        np.asarray(voxels - body() + body(9), dtype=np.float32) for voxels in registered(40)[28:]
    ]
    found = with_copies(*other)
    assert found.pairs == ()


@pytest.mark.parametrize("change", ["noise", "half the voxels", "window", "a slice less"])
def test_copies_in_a_few_volumes_of_one_outline_are_missed_as_the_guide_says(change: str) -> None:
    places = np.indices((24, 24, 24)) - 11.5
    depth = np.sqrt((places**2).sum(axis=0))
    outline = np.where(depth < 9, 10.0, 0.0) + np.where(depth < 5, 4.0, 0.0)
    volumes = []
    for number in range(4):
        own = gaussian_filter(np.random.default_rng([number, 3]).normal(size=outline.shape), 2.5)
        volumes.append((outline + 0.5 * own / own.std()).astype(np.float32))
    copies: dict[str, Voxels] = {
        "noise": noisy(volumes[0], 0.05),
        "half the voxels": np.asarray(zoom(volumes[0], 0.5, order=1), dtype=np.float32),
        "window": np.clip(volumes[0], *np.percentile(volumes[0], (5, 95))),
        "a slice less": np.ascontiguousarray(volumes[0][..., :-1]),
    }
    signatures = [signature_of(voxels) for voxels in (*volumes, copies[change])]
    assert near_rows(np.stack(signatures)).pairs == ()
    (row,) = [line for line in GUIDE.splitlines() if line.startswith("| `W_NEAR_LABEL`")]
    assert "as far as such a copy is nearer to its original than other volumes are" in row


@pytest.mark.parametrize("count", [3, 4, 6])
def test_few_volumes_of_one_space_are_no_copies(count: int) -> None:
    assert near_rows(SIGNATURES[:count]).pairs == ()
