"""What a machine can do at most, measured beside what is done: products and copies."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models3d.blocks import Block, ConvEmbed
from models3d.products import linear

from .ratio import seconds_of

_SIDE = 1024
_COPIED = 1 << 24


class Limits:
    """A matrix product and a copy, timed as often as networks are.

    Attributes:
        product: Fastest product so far, in operations a second.
        copy: Fastest copy so far, in bytes read and written a second.
    """

    def __init__(self) -> None:
        self._factor = torch.randn(_SIDE, _SIDE)
        self._from, self._to = torch.randn(_COPIED), torch.empty(_COPIED)
        self.product = self.copy = 0.0

    def measure(self) -> None:
        """Times each once more."""
        # Two libraries multiply, and which of them is faster depends on the machine.
        products = (lambda: self._factor @ self._factor, lambda: linear(self._factor, self._factor))
        seconds = min(map(seconds_of, products))
        self.product = max(self.product, 2 * _SIDE**3 / seconds)
        seconds = seconds_of(lambda: self._to.copy_(self._from))
        self.copy = max(self.copy, 2 * self._from.nbytes / seconds)


def traffic(network: nn.Module, images: Tensor) -> int:
    """Bytes that a forward pass of a PoolFormer moves at least, beside its weights.

    Each branch of a block, and each step to a coarser grid, reads its input and writes its output.

    Args:
        network: Ours.
        images: What it reads.
    """
    moved = 0

    def count(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        branches = 2 if isinstance(module, Block) else 1
        moved += branches * (given[0].nbytes + output.nbytes)

    layers = [layer for layer in network.modules() if isinstance(layer, Block | ConvEmbed)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return moved


def operations(network: nn.Module, images: Tensor) -> int:
    """Multiplications and additions of convolutions and products in a forward pass.

    Args:
        network: Of torch's own layers; products of `models3d.products` are not counted.
        images: What it reads.
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(images)
    return int(counter.get_total_flops())
