"""Masks as an auxiliary target: the decoder that draws them, and what judges it."""

from __future__ import annotations

import torch
from monai.losses import DiceCELoss
from torch import Tensor

from models3d import UNetDecoder

from ..config import ModelConfig
from ..training.task import MaskPart
from .network import IN_CHANNELS, Network

#: Background and structure.
_MASK_CLASSES = 2
#: Most channels of the decoder, which is there to teach the stages and is thrown away.
_WIDTH = 16


def build_mask_part(config: ModelConfig, network: Network) -> MaskPart | None:
    """The decoder of a network's stages and its loss, or None where masks are no target."""
    if config.masks.weight == 0:
        return None
    channels = network.feature_info.channels()
    decoder = UNetDecoder(channels, IN_CHANNELS, _MASK_CLASSES, width=min(_WIDTH, channels[0]))
    return MaskPart(decoder, dice_and_entropy, config.masks.weight)


def dice_and_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """MONAI's Dice loss plus cross-entropy, (B,): each case's alone.

    MONAI gives the mean over a batch only, so each case is a batch of its own. A mask without any
    voxel, as augmentation may leave it, has a loss too: it falls as the structure's probability
    does.

    Args:
        logits: (B, 2, X, Y, Z), background and structure.
        masks: (B, 1, X, Y, Z), 1 in the structure and 0 elsewhere.
    """
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    cases = zip(logits.unsqueeze(1), masks.unsqueeze(1), strict=True)
    return torch.stack([loss(*case) for case in cases])
