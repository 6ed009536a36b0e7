"""Where the time of a forward pass goes, by torch's operators."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

_TOP = 10
_PASSES = 5


class Operator(NamedTuple):
    """A torch operator.

    Attributes:
        name: As torch calls it, e.g. `aten::mm`.
        share: Its own time, without the operators that it calls, as a part of all.
        calls: How often a forward pass calls it.
    """

    name: str
    share: float
    calls: float


def top_operators(network: nn.Module, images: Tensor) -> list[Operator]:
    """The operators that take most of a forward pass, the slowest first.

    Args:
        network: Set to evaluation.
        images: What it takes.
    """
    network.eval()
    with torch.no_grad():
        network(images)
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            for _ in range(_PASSES):
                network(images)
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    slowest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:_TOP]
    return [
        Operator(event.key, event.self_cpu_time_total / total, event.count / _PASSES)
        for event in slowest
    ]
