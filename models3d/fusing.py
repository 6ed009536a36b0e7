"""Folding of a block's factors into its weights, for inference."""

import torch
from torch import nn

from .blocks import Block
from .layers import LayerScale, PoolMixer


@torch.no_grad()
def fuse_block(block: Block) -> None:
    """Fold layer scales, and the weights of the norm before the MLP, into the weights beside them.

    Values stay equal to rounding; ``LayerScale`` becomes the identity. In place, for evaluation:
    trained on, the block would move differently.

    Args:
        block: with any mixer and norm.
    """
    norm, first, second = block.norm2, block.mlp.fc1, block.mlp.fc2
    assert isinstance(norm.weight, nn.Parameter)
    assert isinstance(norm.bias, nn.Parameter)
    assert first.bias is not None
    assert second.bias is not None
    first.bias.add_(first.weight.flatten(1) @ norm.bias)
    first.weight.mul_(norm.weight.view(1, -1, 1, 1, 1))
    norm.weight.fill_(1.0)
    norm.bias.zero_()
    if isinstance(block.layer_scale2, LayerScale):
        second.weight.mul_(block.layer_scale2.scale.view(-1, 1, 1, 1, 1))
        second.bias.mul_(block.layer_scale2.scale)
        block.layer_scale2 = nn.Identity()
    if isinstance(block.layer_scale1, LayerScale) and isinstance(block.token_mixer, PoolMixer):
        # The mixer is linear and takes each channel by itself, so the factor may come before it.
        for parameter in (block.norm1.weight, block.norm1.bias):
            assert isinstance(parameter, nn.Parameter)
            parameter.mul_(block.layer_scale1.scale)
        block.layer_scale1 = nn.Identity()
