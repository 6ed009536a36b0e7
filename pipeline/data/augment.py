"""Random steps on training volumes, each case's a function of (seed, epoch, case)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    Randomizable,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from monai.utils import MAX_SEED
from torch import Tensor

from ..config import AugmentConfig, PreprocessConfig
from ..seeds import derived_seed

Result = TypeVar("Result")

#: What spatial steps move: the volume, and its mask where there is one.
_KEYS = ("image", "mask")


class Augmentation:
    """A random chain; the same seed gives the same bits in any process and any order.

    Args:
        steps: MONAI's, on `image` and, if they move voxels, `mask`.
    """

    def __init__(self, steps: Sequence[Any]) -> None:
        self._chain: Any = Compose(steps)
        self._chain.set_random_state(seed=0)  # so that every step has a state of its own
        self._states = [list(_states_within(step)) for step in steps]
        self._seeds = np.random.RandomState()

    def __call__(self, volume: Tensor, seed: int) -> Tensor:
        """Augments a volume (C, X, Y, Z), given the seed of this case in this epoch."""
        return self._run({"image": volume}, seed)["image"]

    def with_mask(self, volume: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The same, to the bit, and its mask (1, X, Y, Z) of 0 and 1 moved alike."""
        moved = self._run({"image": volume, "mask": mask}, seed)
        return moved["image"], moved["mask"]

    def _run(self, volumes: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
        self._reseed(seed)
        with _untracked():
            return {key: result.contiguous() for key, result in self._chain(volumes).items()}

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
    """The random chain that the configuration describes."""
    return Augmentation([*_spatial_steps(config, preprocess), *_grey_steps(config)])


def augmentation_seed(seed: int, epoch: int, case_id: str) -> int:
    """Seed of a case in an epoch."""
    return derived_seed(seed, "augment", epoch, case_id)


def _spatial_steps(config: AugmentConfig, preprocess: PreprocessConfig) -> list[Any]:
    steps: list[Any] = []
    keys: dict[str, Any] = {"keys": _KEYS, "allow_missing_keys": True}
    if config.flip > 0:
        steps += [RandFlipd(**keys, prob=config.flip, spatial_axis=axis) for axis in range(3)]
    if config.rotate90 > 0:
        planes = quarter_turn_planes(preprocess)
        steps += [
            RandRotate90d(**keys, prob=config.rotate90, spatial_axes=plane, lazy=False)
            for plane in planes
        ]
    if config.affine.probability > 0:
        angle, scale = math.radians(config.affine.degrees), config.affine.scale
        steps.append(
            RandAffined(
                **keys,
                prob=config.affine.probability,
                rotate_range=(angle,) * 3,
                scale_range=(scale,) * 3,
                mode=("bilinear", "nearest"),
                padding_mode="border",
            )
        )
    return steps


def _grey_steps(config: AugmentConfig) -> list[Any]:
    steps: list[Any] = []
    if config.blur > 0:
        sigma = (0.25, 1.0)
        steps.append(
            RandGaussianSmoothd(
                "image", prob=config.blur, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma
            )
        )
    if config.noise > 0:
        steps.append(RandGaussianNoised("image", prob=config.noise, std=0.1))
    if config.intensity > 0:
        steps.append(RandScaleIntensityd("image", factors=0.1, prob=config.intensity))
        steps.append(RandShiftIntensityd("image", offsets=0.1, prob=config.intensity))
    if config.gamma > 0:
        steps.append(RandAdjustContrastd("image", prob=config.gamma, gamma=(0.7, 1.5)))
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
