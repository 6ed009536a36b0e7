"""Where the time of a pass goes, by torch's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch.profiler import ProfilerActivity, profile

_TOP = 10
_PASSES = 5


class Operator(NamedTuple):
    """A torch operator.

    Attributes:
        name: As torch calls it, e.g. `aten::mm`.
        share: Its own time, without the operators that it calls, as a part of all.
        calls: How often a pass calls it.
    """

    name: str
    share: float
    calls: float


def top_operators(work: Callable[[], object]) -> list[Operator]:
    """The operators that take most of a pass, the slowest first.

    Args:
        work: A pass.
    """
    work()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(_PASSES):
            work()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    slowest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:_TOP]
    return [
        Operator(event.key, event.self_cpu_time_total / total, event.count / _PASSES)
        for event in slowest
    ]
