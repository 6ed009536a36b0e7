"""The plain PoolFormer: every layer as torch has it, one after the other.

What ours is held against, in speed and in value: weights are shared, answers equal to rounding.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from models3d import VolumeModel
from models3d.blocks import Block, ConvEmbed


class PlainBlock(nn.Module):
    """A block with the pooling mixer, of torch's own layers.

    Args:
        block: Its parts are taken over.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.scale1, self.scale2 = block.layer_scale1, block.layer_scale2
        self.pool = nn.AvgPool3d(3, stride=1, padding=1, count_include_pad=False)
        self.mlp = nn.Sequential(block.mlp.fc1, nn.GELU(), block.mlp.fc2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, X, Y, Z)`` to the same shape; each axis has at least 3 voxels."""
        normed = self.norm1(x)
        x = x + self.scale1(self.pool(normed) - normed)
        mapped: Tensor = x + self.scale2(self.mlp(self.norm2(x)))
        return mapped


def plain_of(model: VolumeModel) -> VolumeModel:
    """A copy of a PoolFormer with pooling mixers, made of plain layers."""
    plain = copy.deepcopy(model)
    for name, module in [*plain.named_modules()]:
        parent, _, own = name.rpartition(".")
        if isinstance(module, Block):
            setattr(plain.get_submodule(parent), own, PlainBlock(module))
        elif isinstance(module, ConvEmbed):
            setattr(plain.get_submodule(parent), own, module.conv)
    return plain
