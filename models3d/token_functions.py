"""The two branches of a block on a CPU: norm, pooling or MLP, scale and sum in few passes.

The layers of ``Block``, one after the other, read, write and keep the whole grid many times. Here a
grid is read as tokens ``(B, T, C)``, one
row a voxel, so that the MLP is two plain matrix products, done tile by tile so that its hidden
values stay in cache; and each branch keeps its input alone and computes the rest again. Equal to
the layers to rounding.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .layers import Triple, average_pool, spread_average
from .moments import Moments

#: Hidden values of a tile: 2 MiB of float32, about what a core keeps close.
_TILE = 1 << 19

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
        grid = grid_of(x, pooling.grid)
        average = average_pool(grid, pooling.window)
        return torch.lerp(x, tokens_of(average), factor[:, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of x, weight and scale."""
        x, keep, weight, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        pooling: Pooling = ctx.pooling  # type: ignore[attr-defined]
        moments = pooling.moments
        gradient = gradient.contiguous()
        # The factor, one number a channel, may come after what spreads along the grid.
        spread = spread_average(grid_of(gradient, pooling.grid), pooling.window)
        change = tokens_of(spread).sub_(gradient)
        by_factor = (change * x).sum(1)
        whole = torch.addcmul(gradient, change, (moments.inverse * weight * scale * keep)[:, None])
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
        """
        ctx.save_for_backward(
            x, keep, weight, bias, in_weight, in_bias, out_weight, out_bias, scale
        )
        ctx.moments = moments  # type: ignore[attr-defined]
        slope, level = _lines(x, *moments.line(weight, bias))
        factor = scale * keep
        shift = factor * out_bias
        entry = _with_bias(in_weight, in_bias)
        out = torch.empty_like(x)
        for part in _tiles(x, in_weight.shape[0]):
            rows = _normed(x, part, slope, level)
            hidden = _aten.gelu_(rows @ entry)
            mapped = (hidden @ out_weight.T).view_as(x[part])
            torch.addcmul(x[part], mapped, factor[part[0], None], out=out[part])
            out[part].add_(shift[part[0], None])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of x, of norm, MLP and scale."""
        saved: tuple[Tensor, ...] = ctx.saved_tensors  # type: ignore[attr-defined]
        x, keep, weight, bias, in_weight, in_bias, out_weight, out_bias, scale = saved
        moments: Moments = ctx.moments  # type: ignore[attr-defined]
        gradient = gradient.contiguous()
        slope, level = _lines(x, *moments.line(weight, bias))
        back = out_weight * scale[:, None]
        by_normed = torch.empty_like(x)
        entry = _with_bias(in_weight, in_bias)
        entry_gradient = torch.zeros_like(entry)
        outer, outer_bias = torch.zeros_like(out_weight), torch.zeros_like(out_bias)
        for part in _tiles(x, in_weight.shape[0]):
            rows = _normed(x, part, slope, level)
            kept = (gradient[part] * keep[part[0], None]).flatten(0, 1)
            before = rows @ entry
            by_hidden = kept @ back
            by_before = _aten.gelu_backward(by_hidden, before)
            outer.addmm_(kept.T, _aten.gelu_(before))
            outer_bias.add_(kept.sum(0))
            entry_gradient.addmm_(rows.T, by_before)
            torch.mm(by_before, in_weight, out=by_normed[part].flatten(0, 1))
        total = by_normed.sum(1)
        product = (by_normed * x).sum(1)
        whole = torch.addcmul(gradient, by_normed, slope[:, None])
        by_mean = moments.gather(-total * slope)
        by_inverse = moments.gather((product - moments.mean * total) * weight)
        moments.add_gradient_(whole, x, by_mean, by_inverse)
        return (
            whole,
            None,
            ((product - moments.mean * total) * moments.inverse).sum(0),
            total.sum(0),
            entry_gradient[:-1].T,
            entry_gradient[-1],
            outer * scale[:, None],
            outer_bias * scale,
            (outer * out_weight).sum(1) + outer_bias * out_bias,
            None,
        )


def _with_bias(weight: Tensor, bias: Tensor) -> Tensor:
    """``(C + 1, H)``: a bias as weight of a further channel spares the product a pass."""
    return torch.cat((weight.T, bias[None]))


def _normed(x: Tensor, part: tuple[slice, slice], slope: Tensor, level: Tensor) -> Tensor:
    """The rows of a tile, normed, with a further channel of ones: ``(rows, C + 1)``."""
    tile = x[part]
    normed = x.new_empty((*tile.shape[:2], tile.shape[2] + 1))
    normed[..., -1] = 1.0
    torch.addcmul(level[part[0], None], tile, slope[part[0], None], out=normed[..., :-1])
    return normed.flatten(0, 1)


def _lines(x: Tensor, slope: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    return slope.expand(x.shape[0], -1), level.expand(x.shape[0], -1)


def _tiles(x: Tensor, hidden: int) -> Iterator[tuple[slice, slice]]:
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
