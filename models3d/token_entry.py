"""Norm and first layer of an MLP on tokens, tile by tile, forward and backward.

Source of the gradients: Ioffe & Szegedy 2015, "Batch Normalization", arXiv 1502.03167, section 3;
Wu & He 2018, "Group Normalization", arXiv 1803.08494.
"""

from functools import cached_property
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from .moments import Line, Moments
from .products import add_outer_, linear

#: Samples and tokens of a tile.
Part: TypeAlias = tuple[slice, slice]


class Entry(Protocol):
    """A norm, which is a line for each channel, and the layer ``(H, C)`` behind it."""

    def hidden(self, part: Part) -> Tensor:
        """Give what the layer makes of a tile of the tokens, ``(rows, H)``."""

    def back(self, gradient: Tensor, by_hidden: Tensor, part: Part, out: Tensor) -> None:
        """Take the gradient of a tile, ``(rows, H)``.

        Args:
            gradient: what goes past the branch, ``(B, T, C)``.
            by_hidden: the gradient of what ``hidden`` gives.
            part: the tile.
            out: ``(B, T, C)``; of the tile the sum of both is written.
        """

    def gradients(self) -> tuple[Line, Tensor, Tensor]:
        """Give the gradients of the norm's line, and of the layer's weight and bias."""


def entry_of(
    x: Tensor, moments: Moments, weight: Tensor, bias: Tensor, layer: Tensor, layer_bias: Tensor
) -> Entry:
    """Choose the way with the least work.

    Args:
        x: tokens ``(B, T, C)``.
        moments: of ``x``.
        weight: ``(C)``, of the norm.
        bias: ``(C)``, of the norm.
        layer: ``(H, C)``.
        layer_bias: ``(H)``.
    """
    line = moments.line(weight, bias)
    # With one sample of few tokens, scaling the weight costs more than scaling the tokens.
    few = len(x) == 1 and x.shape[1] < len(layer)
    if len(line.slope) == 1 and not few:
        return _OneLine(x, line, layer, layer_bias)
    return _LineOfEach(x, line, layer, layer_bias)


class _OneLine:
    """All samples have one line, which goes into weight and bias: no normed grid is written."""

    def __init__(self, x: Tensor, line: Line, layer: Tensor, layer_bias: Tensor) -> None:
        self.x, self.line, self.layer = x, line, layer
        self.weight = line.slope[0] * layer
        self.bias = line.level[0] @ layer.T + layer_bias

    # Sums of the backward pass: zeros as large as the weights are left out where none comes.
    @cached_property
    def by_weight(self) -> Tensor:
        return torch.zeros_like(self.weight)

    @cached_property
    def by_bias(self) -> Tensor:
        return torch.zeros_like(self.bias)

    def hidden(self, part: Part) -> Tensor:
        """See ``Entry``."""
        return linear(self.x[part].flatten(0, 1), self.weight, self.bias)

    def back(self, gradient: Tensor, by_hidden: Tensor, part: Part, out: Tensor) -> None:
        """See ``Entry``."""
        tile = self.x[part]
        add_outer_(self.by_weight, by_hidden, tile.flatten(0, 1))
        self.by_bias.add_(by_hidden.sum(0))
        torch.add(gradient[part], linear(by_hidden, self.weight.T).view_as(tile), out=out[part])

    def gradients(self) -> tuple[Line, Tensor, Tensor]:
        """See ``Entry``."""
        # What sums over all voxels would give is in the gradients of weight and bias.
        by_slope = (self.by_weight * self.layer).sum(0)
        by_layer = torch.outer(self.by_bias, self.line.level[0])
        by_layer.addcmul_(self.by_weight, self.line.slope[0])
        return Line(by_slope[None], (self.by_bias @ self.layer)[None]), by_layer, self.by_bias


class _LineOfEach:
    """Each sample has a line of its own, and a weight of each would be more than its tokens."""

    def __init__(self, x: Tensor, line: Line, layer: Tensor, layer_bias: Tensor) -> None:
        self.x, self.line, self.layer, self.bias = x, line, layer, layer_bias
        self.last: tuple[Part, Tensor] | None = None

    @cached_property
    def by_layer(self) -> Tensor:
        return torch.zeros_like(self.layer)

    @cached_property
    def by_bias(self) -> Tensor:
        return torch.zeros_like(self.bias)

    @cached_property
    def by_line(self) -> Line:
        return Line(torch.zeros_like(self.line.slope), torch.zeros_like(self.line.level))

    def _normed(self, part: Part) -> Tensor:
        # Asked for a second time where hidden values were computed again.
        if self.last is None or self.last[0] != part:
            slope, level = (each[part[0], None] for each in self.line)
            self.last = part, torch.addcmul(level, self.x[part], slope).flatten(0, 1)
        return self.last[1]

    def hidden(self, part: Part) -> Tensor:
        """See ``Entry``."""
        return linear(self._normed(part), self.layer, self.bias)

    def back(self, gradient: Tensor, by_hidden: Tensor, part: Part, out: Tensor) -> None:
        """See ``Entry``."""
        add_outer_(self.by_layer, by_hidden, self._normed(part))
        self.by_bias.add_(by_hidden.sum(0))
        tile = self.x[part]
        by_normed = linear(by_hidden, self.layer.T).view_as(tile)
        self.by_line.level[part[0]].add_(by_normed.sum(1))
        torch.addcmul(gradient[part], by_normed, self.line.slope[part[0], None], out=out[part])
        self.by_line.slope[part[0]].add_(by_normed.mul_(tile).sum(1))

    def gradients(self) -> tuple[Line, Tensor, Tensor]:
        """See ``Entry``."""
        return self.by_line, self.by_layer, self.by_bias
