"""The two branches of a block on a CPU: norm, pooling or MLP, scale and sum in few passes.

The layers of ``Block``, one after the other, read, write and keep the whole grid many times. Here a
grid is read as tokens ``(B, T, C)``, one row a voxel, so that norm and MLP are two plain matrix
products, done tile by tile so that hidden values stay in cache; and each branch keeps its input
alone and computes the rest again, but for few hidden values of wide layers. Equal to the layers
to rounding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .layers import Triple
from .moments import Moments
from .products import add_outer_, linear
from .token_entry import Part, entry_of
from .token_pooling import counts_of_windows, sums_of_windows

#: Hidden values of a tile: 4 MiB of float32, about what two cores keep close.
_TILE = 1 << 20
#: Values that are pooled at once, 4 MiB of float32; and how many together where there are more.
_CACHED, _POOLED = 1 << 20, 1 << 18

#: Channels from which on hidden values are stored for the backward pass, each of which takes as
#: many products to compute again; and up to how many, 16 MiB of float32, so that memory stays
#: that of the inputs.
_WIDE, _STORED = 128, 1 << 22

_aten = torch.ops.aten


@dataclass(frozen=True)
class Pooling:
    """What the pooling branch knows beside its tensors.

    Attributes:
        grid: voxels along X, Y, Z.
        window: odd extents of the window in voxels along X, Y, Z.
        moments: of the branch's input.
    """

    grid: Triple
    window: Triple
    moments: Moments


class PoolBranch(torch.autograd.Function):
    """``x + keep * scale * (average(n) - n)`` with ``n`` the normed ``x``.

    A norm is the same line for all voxels of a channel, and the average of a constant is the
    constant, so the branch is ``x + factor * (average(x) - x)``: the norm's shift cancels.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        keep: Tensor,
        weight: Tensor,
        bias: Tensor,
        scale: Tensor,
        pooling: Pooling,
    ) -> Tensor:
        """Map tokens ``(B, T, C)``.

        Args:
            ctx: keeps what the backward pass takes.
            x: the tokens.
            keep: ``(B, 1)``, what drop path leaves of the branch.
            weight: ``(C)``, of the norm.
            bias: ``(C)``, of the norm; it has no effect.
            scale: ``(C)``.
            pooling: what is known beside.
        """
        ctx.save_for_backward(x, keep, weight, scale)
        ctx.pooling = pooling  # type: ignore[attr-defined]  # torch's way to keep what is no tensor
        factor = pooling.moments.inverse * weight * scale * keep
        factor = factor.expand(x.shape[0], -1)[:, None]
        out = torch.empty_like(x)
        counts = counts_of_windows(pooling.grid, pooling.window, x.dtype)
        for some in _samples(x):
            average = sums_of_windows(grid_of(x[some], pooling.grid), pooling.window).div_(counts)
            torch.lerp(x[some], tokens_of(average), factor[some], out=out[some])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of x, weight and scale."""
        x, keep, weight, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        pooling: Pooling = ctx.pooling  # type: ignore[attr-defined]
        moments = pooling.moments
        gradient = gradient.contiguous()
        factor = (moments.inverse * weight * scale * keep).expand(x.shape[0], -1)[:, None]
        whole, by_factor = torch.empty_like(x), x.new_empty(x.shape[0], x.shape[2])
        counts = counts_of_windows(pooling.grid, pooling.window, x.dtype)
        for some in _samples(x):
            arriving = gradient[some]
            # The factor, one number a channel, may come after what spreads along the grid.
            shares = grid_of(arriving, pooling.grid) / counts
            change = tokens_of(sums_of_windows(shares, pooling.window)).sub_(arriving)
            torch.sum(change * x[some], 1, out=by_factor[some])
            torch.addcmul(arriving, change, factor[some], out=whole[some])
        by_inverse = moments.gather(by_factor * weight * scale * keep)
        moments.add_gradient_(whole, x, torch.zeros_like(by_inverse), by_inverse)
        by_product = by_factor * moments.inverse * keep
        by_weight, by_scale = (by_product * scale).sum(0), (by_product * weight).sum(0)
        return whole, None, by_weight, torch.zeros_like(weight), by_scale, None


class MlpBranch(torch.autograd.Function):
    """``x + keep * scale * mlp(n)`` with ``n`` the normed ``x``."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        keep: Tensor,
        weight: Tensor,
        bias: Tensor,
        in_weight: Tensor,
        in_bias: Tensor,
        out_weight: Tensor,
        out_bias: Tensor,
        scale: Tensor,
        moments: Moments,
        recorded: bool,
    ) -> Tensor:
        """Map tokens ``(B, T, C)``.

        Args:
            ctx: keeps what the backward pass takes.
            x: the tokens.
            keep: ``(B, 1)``, what drop path leaves of the branch.
            weight: ``(C)``, of the norm.
            bias: ``(C)``, of the norm.
            in_weight: ``(H, C)``.
            in_bias: ``(H)``.
            out_weight: ``(C, H)``.
            out_bias: ``(C)``.
            scale: ``(C)``.
            moments: of ``x``.
            recorded: whether a backward pass may come.
        """
        needed: tuple[bool, ...] = ctx.needs_input_grad  # type: ignore[attr-defined]  # torch sets it
        stores = recorded and any(needed) and _stores(x, in_weight.shape[0])
        stored = []
        ctx.moments = moments  # type: ignore[attr-defined]  # torch's way to keep what is no tensor
        entry = entry_of(x, moments, weight, bias, in_weight, in_bias)
        factor = scale * keep
        out = torch.empty_like(x)
        for part in _tiles(x, in_weight.shape[0]):
            before = entry.hidden(part)
            if stores:
                stored.append(before)
            hidden = _aten.gelu(before) if stores else _aten.gelu_(before)
            mapped = linear(hidden, out_weight, out_bias).view_as(x[part])
            torch.addcmul(x[part], mapped, factor[part[0], None], out=out[part])
        ctx.save_for_backward(
            x, keep, weight, bias, in_weight, in_bias, out_weight, out_bias, scale, *stored
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of x, of norm, MLP and scale."""
        saved: tuple[Tensor, ...] = ctx.saved_tensors  # type: ignore[attr-defined]
        x, keep, weight, bias, in_weight, in_bias, out_weight, out_bias, scale, *stored = saved
        moments: Moments = ctx.moments  # type: ignore[attr-defined]
        gradient = gradient.contiguous()
        entry = entry_of(x, moments, weight, bias, in_weight, in_bias)
        all_kept = bool((keep == 1).all())
        back = out_weight * scale[:, None]
        whole = torch.empty_like(x)
        outer, outer_bias = torch.zeros_like(out_weight), torch.zeros_like(out_bias)
        tiles = [*_tiles(x, in_weight.shape[0])]
        befores: Sequence[Tensor | None] = stored or [None] * len(tiles)
        for part, known in zip(tiles, befores, strict=True):
            arriving = gradient[part] if all_kept else gradient[part] * keep[part[0], None]
            rows = arriving.flatten(0, 1)
            before = entry.hidden(part) if known is None else known
            by_before = _aten.gelu_backward(linear(rows, back.T), before)
            add_outer_(outer, rows, (_aten.gelu_ if known is None else _aten.gelu)(before))
            outer_bias.add_(rows.sum(0))
            entry.back(gradient, by_before, part, whole)
        by_line, by_weight, by_bias = entry.gradients()
        by_mean, by_inverse = moments.by_line(by_line, weight)
        moments.add_gradient_(whole, x, by_mean, by_inverse)
        return (
            whole,
            None,
            moments.by_weight(by_line),
            by_line.level.sum(0),
            by_weight,
            by_bias,
            outer * scale[:, None],
            outer_bias * scale,
            (outer * out_weight).sum(1) + outer_bias * out_bias,
            None,
            None,
        )


def _stores(x: Tensor, hidden: int) -> bool:
    """Whether hidden values of ``(B, T, C)`` are stored: where it saves much, and they are few."""
    return x.shape[2] >= _WIDE and x.shape[0] * x.shape[1] * hidden <= _STORED


def _samples(x: Tensor) -> Iterator[slice]:
    """Samples of ``(B, T, C)`` that are pooled together: few, where all do not stay in cache."""
    several = len(x) if x.numel() <= _CACHED else max(1, _POOLED // x[0].numel())
    for first in range(0, x.shape[0], several):
        yield slice(first, first + several)


def _tiles(x: Tensor, hidden: int) -> Iterator[Part]:
    """Samples and tokens of tiles of ``(B, T, C)``, each of them one piece of memory."""
    batch, tokens = x.shape[:2]
    rows = max(1, _TILE // hidden)
    samples = max(1, rows // tokens)
    for first in range(0, batch, samples):
        for start in range(0, tokens, rows):
            yield slice(first, first + samples), slice(start, start + rows)


def grid_of(tokens: Tensor, grid: Triple) -> Tensor:
    """``(B, T, C)`` as ``(B, C, X, Y, Z)``, the same memory."""
    return tokens.view(tokens.shape[0], *grid, -1).movedim(-1, 1)


def tokens_of(grid: Tensor) -> Tensor:
    """``(B, C, X, Y, Z)`` as ``(B, T, C)``, the same memory where channels are last in it."""
    return grid.movedim(1, -1).flatten(1, 3).contiguous()
