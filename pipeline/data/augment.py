"""Random steps on training volumes, each case's a function of (seed, epoch, case)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    Randomizable,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from monai.utils import MAX_SEED
from torch import Tensor

from ..config import AugmentConfig, PreprocessConfig
from ..seeds import derived_seed
from .moves import Moves

Result = TypeVar("Result")

#: Sigmas of a blur in voxels, largest deviation of noise, largest change of scale and shift, and
#: exponents on a volume's own range.
SIGMA = (0.25, 1.0)
LARGEST_NOISE, LARGEST_CHANGE = 0.1, 0.1
GAMMA = (0.7, 1.5)


class Augmentation:
    """Random changes of a volume; the same seed gives the same bits in any process and order.

    Args:
        moves: What moves its voxels, and those of its mask.
        grey_steps: MONAI's, on `image`; they change its values.
    """

    def __init__(self, moves: Moves, grey_steps: Sequence[Any]) -> None:
        self._moves = moves
        self._chain: Any = Compose(grey_steps)
        self._chain.set_random_state(seed=0)  # so that every step has a state of its own
        self._states = [list(_states_within(step)) for step in grey_steps]
        self._seeds = np.random.RandomState()

    def __call__(self, volume: Tensor, seed: int) -> Tensor:
        """Augments a volume (C, X, Y, Z), given the seed of this case in this epoch."""
        return self._changed(self._moves.draw(seed)(volume, "linear"), seed)

    def with_mask(self, volume: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The same, to the bit, and its mask (1, X, Y, Z) of 0 and 1 moved alike."""
        move = self._moves.draw(seed)
        return self._changed(move(volume, "linear"), seed), move(mask, "nearest")

    def _changed(self, volume: Tensor, seed: int) -> Tensor:
        if not self._states:
            return volume
        self._reseed(seed)
        with _untracked():
            changed: Tensor = self._chain({"image": volume})["image"]
        return changed.contiguous()

    def _reseed(self, seed: int) -> None:
        """What `Compose.set_random_state` does, to the bit.

        That makes new states, which takes almost half the time of a chain on a small volume.
        """
        self._seeds.seed(seed)
        for states in self._states:
            own = self._seeds.randint(MAX_SEED, dtype="uint32")
            for state in states:
                state.seed(own)


def _states_within(step: Randomizable) -> Iterator[np.random.RandomState]:
    """The random states of a step and of the steps that it is made of."""
    yield step.R
    for part in vars(step).values():
        if isinstance(part, Randomizable):
            yield from _states_within(part)


@contextmanager
def _untracked() -> Iterator[None]:
    """Without MONAI's record of each step, which nobody reads and which takes a third of them."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(tracked)


def quarter_turn_planes(preprocess: PreprocessConfig) -> list[tuple[int, int]]:
    """Pairs of axes that a quarter turn may exchange: same size and, where known, same spacing."""
    spacing = preprocess.spacing or (1.0, 1.0, 1.0)
    grid = list(zip(preprocess.size, spacing, strict=True))
    return [(a, b) for a, b in itertools.combinations(range(3), 2) if grid[a] == grid[b]]


def augmentation(config: AugmentConfig, preprocess: PreprocessConfig) -> Augmentation:
    """The random changes that the configuration describes."""
    return Augmentation(moves_of(config, preprocess), _grey_steps(config))


def moves_of(config: AugmentConfig, preprocess: PreprocessConfig) -> Moves:
    """Those of the random changes that move voxels."""
    return Moves(
        flip=config.flip,
        quarter_turns=config.rotate90,
        planes=tuple(quarter_turn_planes(preprocess)),
        affine=config.affine.probability,
        degrees=config.affine.degrees,
        scale=config.affine.scale,
    )


def augmentation_seed(seed: int, epoch: int, case_id: str) -> int:
    """Seed of a case in an epoch."""
    return derived_seed(seed, "augment", epoch, case_id)


def _grey_steps(config: AugmentConfig) -> list[Any]:
    steps: list[Any] = []
    if config.blur > 0:
        steps.append(
            RandGaussianSmoothd(
                "image", prob=config.blur, sigma_x=SIGMA, sigma_y=SIGMA, sigma_z=SIGMA
            )
        )
    if config.noise > 0:
        steps.append(RandGaussianNoised("image", prob=config.noise, std=LARGEST_NOISE))
    if config.intensity > 0:
        steps.append(RandScaleIntensityd("image", factors=LARGEST_CHANGE, prob=config.intensity))
        steps.append(RandShiftIntensityd("image", offsets=LARGEST_CHANGE, prob=config.intensity))
    if config.gamma > 0:
        steps.append(RandAdjustContrastd("image", prob=config.gamma, gamma=GAMMA))
    return steps


def single_threaded(work: Callable[[], Result]) -> Result:
    """Runs work with one thread, as loading processes do, so that it gives their bits."""
    threads = torch.get_num_threads()
    if threads == 1:
        return work()
    torch.set_num_threads(1)
    try:
        return work()
    finally:
        torch.set_num_threads(threads)
