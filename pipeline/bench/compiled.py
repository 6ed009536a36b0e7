"""Forward passes of networks that torch compiles, beside ours as it is."""

from __future__ import annotations

import copy

import torch

from ..build.machine import has_compiler
from .limits import Limits
from .networks import Setting, forward, in_turns, network_of
from .plain import plain_of
from .ratio import ROUNDS, Ratio


def compiled_speeds(setting: Setting, rounds: int = ROUNDS) -> tuple[Ratio, ...]:
    """Time of compiled forward passes in multiples of ours as it is.

    Args:
        setting: Network and volumes.
        rounds: How often, after a first pass that compiles and does not count.

    Returns:
        The plain network's and ours; nothing where there is no compiler.
    """
    if not has_compiler():
        return ()
    ours = network_of(setting)
    others = {"plain, compiled": plain_of(ours), "ours, compiled": copy.deepcopy(ours)}
    for network in others.values():
        network.compile()
    images = torch.randn(setting.batch, 1, *setting.size)
    found, _ = in_turns(forward, ours, others, images, rounds, Limits())
    return found
