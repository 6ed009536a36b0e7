"""Mean and deviation that a norm takes of tokens, and their part of its backward pass."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

#: Values of a block of a large sample, and columns as which it is read.
_BLOCK, _COLUMNS = 1 << 17, 64

Over: TypeAlias = Literal["sample", "batch", "nothing"]


class Line(NamedTuple):
    """Slope and intercept of each channel, or their gradients, ``(B or 1, C)``."""

    slope: Tensor
    level: Tensor


@dataclass(frozen=True)
class Moments:
    """What a norm subtracts and divides by.

    Attributes:
        mean: ``(B, 1)``, ``(1, C)``.
        inverse: one over the deviation, shaped as ``mean``.
        over: what they were taken over: each ``sample``, each channel of the ``batch``, or
            ``nothing`` of the input, which is how a batch norm evaluates.
    """

    mean: Tensor
    inverse: Tensor
    over: Over

    def line(self, weight: Tensor, bias: Tensor) -> Line:
        """Give the norm as slope and intercept of each sample and channel."""
        slope = self.inverse * weight
        return Line(slope, bias - self.mean * slope)

    def by_line(self, by_line: Line, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Give the gradients of mean and inverse, shaped as they are, from those of the line."""
        by_mean = self.gather(-by_line.level * self.inverse * weight)
        return by_mean, self.gather((by_line.slope - self.mean * by_line.level) * weight)

    def by_weight(self, by_line: Line) -> Tensor:
        """Give the gradient of the norm's weight, ``(C)``, from those of the line."""
        return ((by_line.slope - self.mean * by_line.level) * self.inverse).sum(0)

    def gather(self, values: Tensor) -> Tensor:
        """Sum ``(B, C)`` to the shape of the moments."""
        return values.sum(1 if self.over == "sample" else 0, keepdim=True)

    def add_gradient_(
        self, gradient: Tensor, x: Tensor, by_mean: Tensor, by_inverse: Tensor
    ) -> None:
        """Add to the gradient of ``x`` what comes through the moments, in place.

        Args:
            gradient: tokens ``(B, T, C)``.
            x: what the moments were taken of, ``(B, T, C)``.
            by_mean: the gradient of the mean, shaped as it, the inverse held still.
            by_inverse: the gradient of the inverse, shaped as it.
        """
        if self.over == "nothing":
            return
        count = x.numel() // self.mean.numel()
        steepness = -by_inverse * self.inverse.pow(3) / count
        level = by_mean / count - steepness * self.mean
        gradient.addcmul_(x, steepness[:, None]).add_(level[:, None])


def moments_of(norm: nn.GroupNorm | nn.BatchNorm3d, tokens: Tensor) -> Moments:
    """Take the moments that a norm takes; a batch norm in training keeps its running averages.

    Args:
        norm: of one group, or by batch.
        tokens: ``(B, T, C)``.
    """
    if isinstance(norm, nn.GroupNorm):
        mean, variance = _moments(tokens.flatten(1))
        return Moments(mean[:, None], torch.rsqrt(variance + norm.eps)[:, None], "sample")
    if not norm.training:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        inverse = torch.rsqrt(norm.running_var + norm.eps)
        # A copy: a later step in training may change the average before the backward pass.
        return Moments(norm.running_mean[None].clone(), inverse[None], "nothing")
    return _of_batch(norm, tokens)


def _of_batch(norm: nn.BatchNorm3d, tokens: Tensor) -> Moments:
    columns = tokens.flatten(0, 1)
    mean = columns.mean(0)
    variance = (columns - mean).square_().mean(0)
    keep_averages_(norm, mean, variance, len(columns))
    return Moments(mean[None], torch.rsqrt(variance + norm.eps)[None], "batch")


def keep_averages_(norm: nn.BatchNorm3d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update the running averages of a batch norm, in place, as it does in training.

    Args:
        norm: the norm.
        mean: ``(C)``.
        variance: ``(C)``, of the ``count`` voxels themselves.
        count: of how many voxels of the batch.
    """
    assert norm.num_batches_tracked is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    large = len(rows) > 0 and rows.shape[1] >= _BLOCK and rows.shape[1] % _COLUMNS == 0
    if large and rows.dtype == torch.float32:
        return _moments_by_blocks(rows)
    # Two passes, each summed pairwise: var_mean takes many times as long on a CPU.
    mean = rows.mean(1)
    return mean, (rows - mean[:, None]).square_().mean(1)


def _moments_by_blocks(rows: Tensor) -> tuple[Tensor, Tensor]:
    # What a batch norm takes of its channels, which writes no grid; of columns of blocks, which are
    # short, for each is summed one value after the other. The variance of all is the mean of theirs
    # and the variance of their means.
    columns = rows.view(len(rows), -1, _COLUMNS)
    lengths = [len(block) for block in torch.split(columns[0], _BLOCK // _COLUMNS)]
    parts = [
        torch.batch_norm_update_stats(block, None, None, 0.0)
        for sample in columns
        for block in torch.split(sample, lengths)
    ]
    found = (torch.stack(each) for each in zip(*parts, strict=True))
    means, variances = (each.view(len(rows), -1, _COLUMNS) for each in found)
    share = rows.new_tensor(lengths)[:, None] / rows.shape[1]
    mean = (means * share).sum((1, 2))
    spread = variances + (means - mean[:, None, None]).square_()
    return mean, (spread * share).sum((1, 2))
