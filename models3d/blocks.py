"""MetaFormer blocks and the stages made of them.

Source: Yu et al. 2022, "MetaFormer Is Actually What You Need for Vision", arXiv 2111.11418.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .checkpointing import checkpointed
from .layers import (
    DropPath,
    LayerScale,
    MixerName,
    Mlp,
    NormName,
    Triple,
    make_mixer,
    make_norm,
)


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


class ConvEmbed(nn.Module):
    """Strided convolution to a coarser grid: the stem, and the step between two stages.

    Args:
        in_dim: number of channels in.
        out_dim: number of channels out.
        kernel: extents in voxels along X, Y, Z.
        stride: strides in voxels along X, Y, Z.
        padding: voxels along X, Y, Z; by default half of what the kernel exceeds the stride by,
            rounded up, which is 2 for the published stem (kernel 7, stride 4).

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
    ) -> None:
        super().__init__()
        if padding is None:
            x, y, z = (max(0, (k - s + 1) // 2) for k, s in zip(kernel, stride, strict=True))
            padding = (x, y, z)
        self.conv = nn.Conv3d(in_dim, out_dim, kernel, stride, padding)
        x, y, z = (max(1, k - 2 * p) for k, p in zip(kernel, padding, strict=True))
        self.min_size: Triple = (x, y, z)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_dim, X, Y, Z)`` to ``(B, out_dim, X', Y', Z')``."""
        embedded: Tensor = self.conv(x)
        return embedded


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
        x = x + self.layer_scale1(self.drop_path1(self.token_mixer(self.norm1(x))))
        x = x + self.layer_scale2(self.drop_path2(self.mlp(self.norm2(x))))
        return x


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
