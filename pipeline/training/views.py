"""Test-time augmentation: a volume seen from several sides, and the mean of what the network says.

The views are symmetries of the grid: mirrored axes, and axes exchanged where they agree in size
and spacing. Of a cube there are 48, the symmetries of the octahedron.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

#: Maps a batch (B, C, X, Y, Z) to the same volumes seen from another side.
View = Callable[[Tensor], Tensor]


def symmetries(planes: Sequence[tuple[int, int]]) -> list[View]:
    """All views of a grid, the volume as it is first.

    Args:
        planes: Pairs of axes (0 to 2) that may be exchanged; none leaves the eight flips.
    """
    exchangeable = {frozenset(plane) for plane in planes}
    orders = [
        order
        for order in itertools.permutations(range(3))
        if all(a == b or frozenset((a, b)) in exchangeable for a, b in enumerate(order))
    ]
    flips = [
        [axis for axis in range(3) if mask[axis]]
        for mask in itertools.product((False, True), repeat=3)
    ]
    return [_view(order, mirrored) for order in orders for mirrored in flips]


def _view(order: tuple[int, ...], mirrored: Sequence[int]) -> View:
    axes = [axis + 2 for axis in mirrored]
    turned = [0, 1, *(axis + 2 for axis in order)]
    return lambda images: torch.flip(images.permute(turned), axes).contiguous()


def mean_logits(
    network: nn.Module, images: Tensor, views: Sequence[View], beside: Sequence[Tensor] = ()
) -> Tensor:
    """The mean over all views of the logits of a network that returns them last.

    Args:
        network: Returns `(*stages, logits)`.
        images: (B, C, X, Y, Z).
        views: None of them for the volumes as they are.
        beside: What the network reads beside them, the same from every side.

    Returns:
        (B, K) float32.
    """
    if not views:
        return torch.as_tensor(network(images, *beside)[-1]).float()
    return torch.stack([network(view(images), *beside)[-1].float() for view in views]).mean(0)
