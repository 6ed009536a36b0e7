"""MetaFormer blocks and the stages made of them.

Source: Yu et al. 2022, "MetaFormer Is Actually What You Need for Vision", arXiv 2111.11418.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from .checkpointing import checkpointed
from .layers import (
    BorderName,
    Borders,
    DropPath,
    LayerScale,
    MixerName,
    Mlp,
    NormName,
    PoolMixer,
    Triple,
    make_mixer,
    make_norm,
)
from .strided import strided_conv
from .token_branches import add_mapped, add_pooled, runs_by_tokens


@dataclass(frozen=True)
class BlockOptions:
    """What all blocks of a network share.

    Attributes:
        mixer: kind of token mixer.
        pool_window: odd extents of the pooling mixer in voxels along X, Y, Z.
        norm: kind of norm.
        layer_scale: first value of the layer scale; ``None`` for no layer scale.
        dropout: probability of dropping a value inside the MLP, in [0, 1).
    """

    mixer: MixerName
    pool_window: Triple
    norm: NormName
    layer_scale: float | None
    dropout: float


def to_borders(value: BorderName | Sequence[BorderName]) -> Borders:
    """Give what lies beyond the border for each axis, from one name for all axes or three.

    Args:
        value: ``zeros`` or ``edge``, or three of these in the order X, Y, Z.

    Raises:
        ValueError: not one or three of the names.
    """
    names = (value, value, value) if isinstance(value, str) else value
    if (
        not isinstance(names, Sequence)
        or len(names) != 3
        or any(name not in get_args(BorderName) for name in names)
    ):
        choices = " or ".join(get_args(BorderName))
        msg = f"padding takes {choices}, or three of these for X, Y, Z; got {value!r}"
        raise ValueError(msg)
    return names[0], names[1], names[2]


def repeat_edges(x: Tensor, voxels: Triple) -> Tensor:
    """Repeat the outermost voxels beyond the border.

    Args:
        x: ``(B, C, X, Y, Z)``, left unchanged.
        voxels: how many to add on both sides along X, Y, Z.

    Returns:
        The larger grid; ``x`` itself where there is nothing to add.
    """
    # Not functional.pad: its backward pass in replicate mode is not deterministic on a GPU.
    for axis, count in enumerate(voxels, start=2):
        if count > 0:
            shape = list(x.shape)
            shape[axis] = count
            first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
            x = torch.cat((first.expand(shape), x, last.expand(shape)), axis)
    return x


class ConvEmbed(nn.Module):
    """Strided convolution to a coarser grid: the stem, and the step between two stages.

    Args:
        in_dim: number of channels in.
        out_dim: number of channels out.
        kernel: extents in voxels along X, Y, Z.
        stride: strides in voxels along X, Y, Z.
        padding: voxels along X, Y, Z; by default half of what the kernel exceeds the stride by,
            rounded up, which is 2 for the published stem (kernel 7, stride 4).
        borders: what the padding holds along X, Y, Z: zeros, or the nearest voxel.

    Attributes:
        min_size: smallest grid in voxels along X, Y, Z that gives an output.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        kernel: Triple,
        stride: Triple,
        padding: Triple | None = None,
        borders: Borders = ("zeros", "zeros", "zeros"),
    ) -> None:
        super().__init__()
        if padding is None:
            x, y, z = (max(0, (k - s + 1) // 2) for k, s in zip(kernel, stride, strict=True))
            padding = (x, y, z)
        x, y, z = (p if b == "edge" else 0 for p, b in zip(padding, borders, strict=True))
        self.repeated: Triple = (x, y, z)
        x, y, z = (p - r for p, r in zip(padding, self.repeated, strict=True))
        self.conv = nn.Conv3d(in_dim, out_dim, kernel, stride, (x, y, z))
        x, y, z = (max(1, k - 2 * p) for k, p in zip(kernel, padding, strict=True))
        self.min_size: Triple = (x, y, z)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_dim, X, Y, Z)`` to ``(B, out_dim, X', Y', Z')``."""
        return strided_conv(self.conv, repeat_edges(x, self.repeated))


class Block(nn.Module):
    """One MetaFormer block: token mixer and MLP, each normed before and added to its input.

    Args:
        dim: number of channels.
        hidden: number of channels inside the MLP.
        drop_path: probability of dropping a branch, in [0, 1).
        options: what all blocks share.
    """

    def __init__(self, dim: int, hidden: int, drop_path: float, options: BlockOptions) -> None:
        super().__init__()
        self.norm1 = make_norm(options.norm, dim)
        self.token_mixer = make_mixer(options.mixer, dim, options.pool_window)
        self.layer_scale1 = _make_scale(options.layer_scale, dim)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = make_norm(options.norm, dim)
        self.mlp = Mlp(dim, hidden, options.dropout)
        self.layer_scale2 = _make_scale(options.layer_scale, dim)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, dim, X, Y, Z)`` to the same shape."""
        if runs_by_tokens(self.norm1, x) and isinstance(self.token_mixer, PoolMixer):
            window = self.token_mixer.window
            x = add_pooled(x, self.norm1, self.layer_scale1, self.drop_path1, window)
        else:
            x = x + self.layer_scale1(self.drop_path1(self.token_mixer(self.norm1(x))))
        if runs_by_tokens(self.norm2, x) and not self.mlp.drops:
            return add_mapped(x, self.norm2, self.mlp, self.layer_scale2, self.drop_path2)
        mapped: Tensor = x + self.layer_scale2(self.drop_path2(self.mlp(self.norm2(x))))
        return mapped


def _make_scale(init: float | None, dim: int) -> nn.Module:
    return nn.Identity() if init is None else LayerScale(dim, init)


class Stage(nn.Module):
    """A step to a coarser grid, then blocks.

    Args:
        downsample: the step; the identity for the first stage.
        dim: number of channels after the step.
        hidden: number of channels inside the MLPs.
        drop_paths: drop path rate of each block; their number is the depth.
        options: what all blocks share.
    """

    def __init__(
        self,
        downsample: nn.Module,
        dim: int,
        hidden: int,
        drop_paths: Sequence[float],
        options: BlockOptions,
    ) -> None:
        super().__init__()
        self.grad_checkpointing = False
        self.downsample = downsample
        self.blocks = nn.Sequential(*(Block(dim, hidden, rate, options) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, X, Y, Z)`` to ``(B, dim, X', Y', Z')``."""
        x = self.downsample(x)
        for block in self.blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpointed([block], x)
            else:
                x = block(x)
        return x
