"""Pooled features of a normed map on a CPU, from the map as it is.

A norm without weights is one line for each sample and channel, and so mean, maximum and deviation
of a normed map follow from those of the map: no normed grid is written, kept or read again. A map
is read as tokens ``(B, T, C)``, one row a voxel; equal to the layers to rounding.
"""

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from .moments import keep_averages_
from .token_branches import runs_by_tokens

#: Values that are read at once, 1 MiB of float32.
_CACHED = 1 << 18


class ChannelStatistics(torch.autograd.Function):
    """Statistics of each channel over the tokens of each sample; once differentiable."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, pivot: Tensor, share: Tensor | None) -> Tensor:
        """Measure tokens ``(B, T, C)``.

        Args:
            ctx: keeps what the backward pass takes.
            x: the tokens.
            pivot: ``(B, C)``, from which they are measured: about the means, so that channels that
                hardly vary keep their digits.
            share: ``(B, T)``, what part of a sample each token is, their sum 1; all alike for
                ``None``.

        Returns:
            ``(5, B, C)``: mean and variance of all tokens, all alike; then mean and deviation by
            share, and the maximum over the tokens that have any.
        """
        found = x.new_empty((5, x.shape[0], x.shape[2]))
        largest_at = x.new_empty(found.shape[1:], dtype=torch.int64)
        for some in _samples(x):
            part = None if share is None else share[some]
            largest_at[some] = _measure(x[some] - pivot[some, None], part, found[:, some])
        kept = () if share is None else (share,)
        ctx.save_for_backward(x, pivot, found, largest_at, *kept)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Give the gradient of the tokens; of equal maxima one takes it all."""
        saved: tuple[Tensor, ...] = ctx.saved_tensors  # type: ignore[attr-defined]
        x, pivot, found, largest_at = saved[:4]
        share = saved[4] if len(saved) > 4 else None
        mean, _, centre, deviation, _ = found
        by_mean, by_variance, by_centre, by_deviation, by_largest = gradient
        count = x.shape[1]
        # Of a variance the gradient is a line through the mean, and of a deviation too; one of 0
        # has no direction in which it grows.
        slope, level = by_variance * (2 / count), by_mean / count
        centre_slope = torch.where(deviation > 0, by_deviation / deviation, 0.0)
        if share is None:
            slope, level = slope + centre_slope / count, level + by_centre / count
        whole = torch.empty_like(x)
        for some in _samples(x):
            part, out = x[some] - pivot[some, None], whole[some]
            _line(part, mean[some], slope[some], level[some], out)
            if share is not None:
                line = torch.empty_like(part)
                _line(part, centre[some], centre_slope[some], by_centre[some], line)
                out.addcmul_(line, share[some, :, None])
        whole.scatter_add_(1, largest_at[:, None], by_largest[:, None])
        return whole, None, None


def has_statistics(
    norm: nn.Module, x: Tensor, weights: Tensor | None
) -> TypeGuard[nn.GroupNorm | nn.BatchNorm3d]:
    """Whether a map can be pooled without its being normed first.

    Args:
        norm: of the map.
        x: the map, ``(B, C, *grid)``.
        weights: how much each voxel counts; they must want no gradient.
    """
    learned = weights is not None and weights.requires_grad
    if learned or any(True for _ in norm.parameters()):
        return False
    # Of running averages, those of the usual kind.
    if getattr(norm, "momentum", 0.0) is None or getattr(norm, "running_mean", x) is None:
        return False
    if x.dtype not in (torch.float32, torch.float64):
        return False
    return runs_by_tokens(norm, x) and x.movedim(1, -1).is_contiguous()


def pooled_by_statistics(
    x: Tensor, norm: nn.GroupNorm | nn.BatchNorm3d, weights: Tensor | None
) -> Tensor:
    """Give what ``pool_voxels`` gives of the normed map for ``stats``.

    Args:
        x: the map, ``(B, C, *grid)``, with channels last in memory.
        norm: without weights; of one group, or by batch.
        weights: ``(B, 1, T)``, how much each voxel counts; all alike for ``None``.

    Returns:
        ``(B, 3C)``: all means, then all maxima, then all deviations.
    """
    tokens = x.movedim(1, -1).flatten(1, -2)
    share = None if weights is None else (weights / weights.sum(-1, keepdim=True)).flatten(1)
    share = None if share is None else share.to(x.dtype)
    pivot = tokens.detach().mean(1)
    found: Tensor = ChannelStatistics.apply(tokens, pivot, share)
    mean, variance, centre, deviation, largest = found.unbind()
    level, inverse = _moments(norm, mean, variance, pivot, tokens.shape[1])
    return torch.cat(
        ((centre - level) * inverse, (largest - level) * inverse, deviation * inverse), dim=1
    )


def _line(x: Tensor, centre: Tensor, slope: Tensor, level: Tensor, out: Tensor) -> None:
    # The difference first, as it may be far smaller than what it is of.
    torch.sub(x, centre[:, None], out=out)
    torch.addcmul(level[:, None], out, slope[:, None], out=out)


def _measure(x: Tensor, share: Tensor | None, found: Tensor) -> Tensor:
    """Fill ``(5, B, C)`` and give where the maxima are, ``(B, C)``."""
    mean = x.mean(1)
    centred = x - mean[:, None]
    variance = centred.square().mean(1)
    if share is None:
        largest, places = x.max(1)
        torch.stack((mean, variance, mean, variance.sqrt(), largest), out=found)
        return places
    row = share[:, None]
    centre = mean + (row @ centred)[:, 0]
    # Not from the variance, whose digits may be lost where the shared tokens hardly differ.
    deviation = (row @ torch.sub(x, centre[:, None], out=centred).square_())[:, 0].sqrt()
    uncounted = torch.where(share > 0, 0.0, -torch.inf).to(x.dtype)
    largest, places = torch.add(x, uncounted[..., None], out=centred).max(1)
    torch.stack((mean, variance, centre, deviation, largest), out=found)
    return places


def _moments(
    norm: nn.GroupNorm | nn.BatchNorm3d, mean: Tensor, variance: Tensor, pivot: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Mean, from the pivots, and inverse deviation that a norm takes, from those of channels."""
    if isinstance(norm, nn.BatchNorm3d) and not norm.training:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        return norm.running_mean - pivot, torch.rsqrt(norm.running_var + norm.eps)
    # What has one mean is measured from one origin, near its pivots.
    axis = 1 if isinstance(norm, nn.GroupNorm) else 0
    origin = pivot.mean(axis, keepdim=True)
    offset = pivot - origin
    mean = mean + offset
    level = mean.mean(axis, keepdim=True)
    whole = (variance + (mean - level).square()).mean(axis, keepdim=True)
    if isinstance(norm, nn.BatchNorm3d):
        average = (level + origin)[0].detach()
        keep_averages_(norm, average, whole[0].detach(), count * len(mean))
    return level - offset, torch.rsqrt(whole + norm.eps)


def _samples(x: Tensor) -> list[slice]:
    several = max(1, _CACHED // x[0].numel())
    return [slice(first, first + several) for first in range(0, len(x), several)]
