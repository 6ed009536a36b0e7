"""The branches of a block on a CPU by tokens, from the layers that hold their weights."""

from typing import TypeGuard

import torch
from torch import Tensor, nn

from .layers import DropPath, LayerScale, Mlp, Triple
from .moments import moments_of
from .recording import records_operators
from .token_functions import MlpBranch, PoolBranch, Pooling, grid_of, tokens_of


def runs_by_tokens(norm: nn.Module, x: Tensor) -> TypeGuard[nn.GroupNorm | nn.BatchNorm3d]:
    """Whether a branch with this norm can take the short way.

    Not on a GPU, where kernels of their own are faster, nor in mixed precision; not where
    operators are recorded, for an exported or compiled network is made of plain layers.

    Args:
        norm: the branch's norm.
        x: ``(B, C, X, Y, Z)``.
    """
    if not isinstance(norm, nn.GroupNorm | nn.BatchNorm3d):
        return False
    # Of one number there is no deviation: torch's own layer says so.
    one = x.shape[0] == x[0, 0].numel() == 1
    alone = one and isinstance(norm, nn.BatchNorm3d) and norm.training
    special = records_operators() or torch.is_autocast_enabled("cpu")
    return x.device.type == "cpu" and not (special or alone)


def add_pooled(
    x: Tensor,
    norm: nn.GroupNorm | nn.BatchNorm3d,
    scale: nn.Module,
    drop_path: DropPath,
    window: Triple,
) -> Tensor:
    """Add the pooling branch to ``(B, C, X, Y, Z)``; the result has channels last in memory."""
    tokens = tokens_of(x)
    grid = (x.shape[2], x.shape[3], x.shape[4])
    pooling = Pooling(grid, window, moments_of(norm, tokens.detach()))
    out: Tensor = PoolBranch.apply(
        tokens,
        drop_path.factors(tokens),
        norm.weight,
        norm.bias,
        _factors(scale, norm.weight),
        pooling,
    )
    return grid_of(out, grid)


def add_mapped(
    x: Tensor,
    norm: nn.GroupNorm | nn.BatchNorm3d,
    mlp: Mlp,
    scale: nn.Module,
    drop_path: DropPath,
) -> Tensor:
    """Add the MLP branch to ``(B, C, X, Y, Z)``; the result has channels last in memory."""
    tokens = tokens_of(x)
    out: Tensor = MlpBranch.apply(
        tokens,
        drop_path.factors(tokens),
        norm.weight,
        norm.bias,
        mlp.fc1.weight.flatten(1),
        mlp.fc1.bias,
        mlp.fc2.weight.flatten(1),
        mlp.fc2.bias,
        _factors(scale, norm.weight),
        moments_of(norm, tokens.detach()),
        torch.is_grad_enabled(),
    )
    return grid_of(out, (x.shape[2], x.shape[3], x.shape[4]))


def _factors(scale: nn.Module, like: Tensor) -> Tensor:
    return scale.scale if isinstance(scale, LayerScale) else torch.ones_like(like)
