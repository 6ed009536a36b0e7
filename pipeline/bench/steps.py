"""What heads, stems and mixers cost: training steps of one small network, each beside the plain."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from ..build import build_network
from ..config_file import load_config
from .ratio import ROUNDS, Ratio, ratio, seconds_of
from .training_step import training_step

#: Nano with a last-stage head, a convolution as its stem, and pooling; others are held against it.
_PLAIN = ("model.head={stages: last, pool: mean, foreground: false}", "model.stem={kind: conv}")
_VARIANTS = {
    "head over all stages, mean": (_PLAIN[1], "model.head={stages: all, pool: mean}"),
    "head over all stages, mean, maximum and deviation": (
        _PLAIN[1],
        "model.head={stages: all, pool: stats, foreground: false}",
    ),
    "the same over the foreground": (_PLAIN[1],),
    "pyramid stem": (_PLAIN[0],),
    "pyramid stem and head over all stages": (),
    "identity mixer": (*_PLAIN, "model.mixer=identity"),
    "depthwise convolution mixer": (*_PLAIN, "model.mixer=conv"),
}
_STEPS = 6
_CASES, _SIDE = 32, 28


def step_costs(advance: Callable[[], None]) -> list[Ratio]:
    """Time of a forward and backward pass, as a multiple of the plain network's.

    Step by step in turns, so that what else the machine does falls on all alike.

    Args:
        advance: Called after each round.
    """
    images = torch.randn(_CASES, 1, _SIDE, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    plain = _network(_PLAIN)
    networks = {name: _network(words) for name, words in _VARIANTS.items()}
    for network in (plain, *networks.values()):
        training_step(network, images)
    found: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(ROUNDS):
        taken, reference = dict.fromkeys(networks, 0.0), 0.0
        for _ in range(_STEPS):
            reference += seconds_of(partial(training_step, plain, images))
            for name, network in networks.items():
                taken[name] += seconds_of(partial(training_step, network, images))
        for name, seconds in taken.items():
            found[name].append(seconds / reference)
        advance()
    return [ratio(name, rounds) for name, rounds in found.items()]


def _network(words: tuple[str, ...]) -> nn.Module:
    config = load_config("benchmarks/adrenalmnist3d", words)
    return build_network(config.model, 2).train()
