"""The random steps of training on whole batches, on the device that trains.

What `augment.py` does to each volume in a loading process is done to all volumes of a batch at
once, for machines whose GPU waits for few cores. Each case's is a function of its seed here too:
moves are the very same, to rounding; grey values change by the same rules, drawn otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from monai.networks.layers.convutils import gaussian_1d
from torch import Tensor
from torch.nn.functional import conv3d, pad

from ..batches import Batch, LoadedStep, to_device
from ..seeds import derived_seed
from .augment import GAMMA, LARGEST_CHANGE, LARGEST_NOISE, SIGMA
from .batch_moves import moved
from .moves import Moves

Sigmas = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class GreyChange:
    """What becomes of the grey values of one volume, in this order.

    Attributes:
        sigmas: Of a Gaussian blur along X, Y, Z, in voxels; None for none.
        noise: Standard deviation of Gaussian noise.
        scale: A factor.
        shift: What is added.
        gamma: Exponent on the volume's own range; None for none.
    """

    sigmas: Sigmas | None = None
    noise: float = 0.0
    scale: float = 1.0
    shift: float = 0.0
    gamma: float | None = None


@dataclass(frozen=True, slots=True)
class GreyChances:
    """Probabilities of the steps that change grey values, from 0 to 1.

    Attributes:
        blur: Of a blur.
        noise: Of noise.
        intensity: Of a factor, and once more of a shift.
        gamma: Of an exponent.
    """

    blur: float
    noise: float
    intensity: float
    gamma: float

    def draw(self, seed: int) -> GreyChange:
        """The change that belongs to a seed."""
        chance = np.random.default_rng(derived_seed(seed, "grey"))
        blurred, noisy, scaled, shifted, bent = chance.random(5)
        x, y, z = chance.uniform(*SIGMA, 3)
        noise = chance.uniform(0.0, LARGEST_NOISE)
        scale, shift = chance.uniform(-LARGEST_CHANGE, LARGEST_CHANGE, 2)
        gamma = chance.uniform(*GAMMA)
        return GreyChange(
            sigmas=(x, y, z) if blurred < self.blur else None,
            noise=noise if noisy < self.noise else 0.0,
            scale=1.0 + scale if scaled < self.intensity else 1.0,
            shift=shift if shifted < self.intensity else 0.0,
            gamma=gamma if bent < self.gamma else None,
        )


class BatchAugmentation:
    """Random changes of the volumes of a batch; the same seeds give the same to rounding.

    Args:
        moves: What moves voxels, and those of masks.
        chances: Of the steps that change grey values.
    """

    def __init__(self, moves: Moves, chances: GreyChances) -> None:
        self._moves = moves
        self._chances = chances

    def __call__(self, batch: Batch) -> Batch:
        """Augments a batch whose cases have seeds; another one stays as it is."""
        if "seed" not in batch:
            return batch
        seeds: list[int] = batch["seed"].tolist()
        matrices = np.stack([self._moves.draw(seed).matrix for seed in seeds])
        changed = batch.copy()
        images = moved(batch["image"], matrices, "linear")
        changed["image"] = recoloured(images, [self._chances.draw(seed) for seed in seeds], seeds)
        if "mask" in batch:
            changed["mask"] = moved(batch["mask"], matrices, "nearest")
        return changed


def augmented_steps(
    steps: Iterable[LoadedStep], augment: BatchAugmentation, device: torch.device
) -> Iterator[LoadedStep]:
    """The steps, with their batches augmented on a device."""
    for step in steps:
        yield replace(step, batches=[augment(to_device(batch, device)) for batch in step.batches])


def recoloured(images: Tensor, changes: Sequence[GreyChange], seeds: Sequence[int]) -> Tensor:
    """Changes grey values, in place.

    Args:
        images: Shape (B, C, X, Y, Z), float32.
        changes: One a volume.
        seeds: One a volume; noise is drawn from it.

    Returns:
        The images.
    """
    blurred = [place for place, change in enumerate(changes) if change.sigmas is not None]
    if blurred:
        sigmas = [change.sigmas for change in changes if change.sigmas is not None]
        images[blurred] = smoothed(images[blurred], sigmas)
    for image, change, seed in zip(images, changes, seeds, strict=True):
        if change.noise > 0:
            generator = torch.Generator(images.device).manual_seed(seed)
            noise = torch.empty_like(image).normal_(generator=generator)
            image.add_(noise, alpha=change.noise)
    images.mul_(_by_volume([change.scale for change in changes], images))
    images.add_(_by_volume([change.shift for change in changes], images))
    bent = [place for place, change in enumerate(changes) if change.gamma is not None]
    if bent:
        gammas = [change.gamma for change in changes if change.gamma is not None]
        images[bent] = _bent(images[bent], gammas)
    return images


def smoothed(images: Tensor, sigmas: Sequence[Sigmas]) -> Tensor:
    """Blurs each volume by its own Gaussian; beyond the border there is 0, as in MONAI's filter.

    Args:
        images: Shape (B, C, X, Y, Z).
        sigmas: One a volume, in voxels along X, Y, Z.

    Returns:
        The same shape.
    """
    volumes, channels, *size = images.shape
    # As channels of one volume, each has a kernel of its own.
    side_by_side = images.reshape(1, volumes * channels, *size)
    for axis in range(3):
        lines = [gaussian_1d(torch.tensor(sigma[axis])) for sigma in sigmas]
        reach = max(len(line) for line in lines) // 2
        padded = [pad(line, [reach - len(line) // 2] * 2) for line in lines]
        kernels = torch.stack(padded).to(images).repeat_interleave(channels, 0)
        shape = [1, 1, 1]
        shape[axis] = -1
        side_by_side = conv3d(
            side_by_side,
            kernels.view(len(kernels), 1, *shape),
            padding=tuple(reach if own == axis else 0 for own in range(3)),
            groups=len(kernels),
        )
    return side_by_side.view_as(images)


def _bent(images: Tensor, gammas: Sequence[float]) -> Tensor:
    low, high = images.aminmax(dim=1, keepdim=True)
    for axis in (2, 3, 4):
        low, high = low.amin(axis, keepdim=True), high.amax(axis, keepdim=True)
    span = high - low
    # The small number is MONAI's, against a volume of one value.
    return ((images - low) / (span + 1e-7)) ** _by_volume(gammas, images) * span + low


def _by_volume(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, 1, 1, 1, 1)
