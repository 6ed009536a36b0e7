"""Random changes of the grey values of a batch, each volume's by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.networks.layers.convutils import gaussian_1d
from torch import Tensor
from torch.nn.functional import pad

from ..seeds import derived_seed
from .augment import GAMMA, LARGEST_CHANGE, LARGEST_NOISE, SIGMA

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
            # Drawn by the CPU, for each kind of device would draw another noise.
            noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
            image.add_(noise.to(image), alpha=change.noise)
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
    for axis in range(3):
        lines = [gaussian_1d(torch.tensor(sigma[axis])) for sigma in sigmas]
        reach = max(len(line) for line in lines) // 2
        weights = torch.stack([pad(line, [reach - len(line) // 2] * 2) for line in lines])
        images = _weighted_along(images, weights.to(images), 2 + axis)
    return images


def _weighted_along(images: Tensor, weights: Tensor, axis: int) -> Tensor:
    # No convolution: a GPU may round its factors, or not, by how many volumes there are.
    reach, size = weights.shape[1] // 2, images.shape[axis]
    margins = [0] * 6
    margins[2 * (4 - axis)] = margins[2 * (4 - axis) + 1] = reach
    wide, total = pad(images, margins), torch.zeros_like(images)
    for first, weight in enumerate(weights.unbind(1)):
        total.addcmul_(wide.narrow(axis, first, size), weight.view(-1, 1, 1, 1, 1))
    return total


def _bent(images: Tensor, gammas: Sequence[float]) -> Tensor:
    low, high = (images.flatten(1).amin(1), images.flatten(1).amax(1))
    low, high = (value.view(-1, 1, 1, 1, 1) for value in (low, high))
    # The small number is MONAI's, against a volume of one value.
    share = (images - low) / (high - low + 1e-7)
    return share ** _by_volume(gammas, images) * (high - low) + low


def _by_volume(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, 1, 1, 1, 1)
