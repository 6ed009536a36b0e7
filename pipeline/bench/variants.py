"""Forward passes of ours fused, and of networks that torch compiles, beside ours as it is."""

from __future__ import annotations

import copy

import torch
from torch import nn

from models3d import PoolFormer3d

from ..build.machine import has_compiler
from .limits import Limits
from .networks import Setting, forward, in_turns, network_of
from .plain import plain_of
from .ratio import ROUNDS, Ratio


def variant_speeds(setting: Setting, rounds: int = ROUNDS) -> tuple[Ratio, ...]:
    """Time of other forms' forward passes in multiples of ours as it is.

    Args:
        setting: Network and volumes.
        rounds: How often, after a first pass that compiles and does not count.

    Returns:
        Ours with factors folded into its weights; where there is a compiler, the plain network
        and ours as torch compiles them.
    """
    ours = network_of(setting)
    fused = copy.deepcopy(ours)
    assert isinstance(fused, PoolFormer3d)
    fused.fuse()
    others: dict[str, nn.Module] = {"ours, fused": fused}
    if has_compiler():
        compiled = {"plain, compiled": plain_of(ours), "ours, compiled": copy.deepcopy(ours)}
        for network in compiled.values():
            network.compile()
        others |= compiled
    images = torch.randn(setting.batch, 1, *setting.size)
    found, _ = in_turns(forward, ours, others, images, rounds, Limits())
    return found
