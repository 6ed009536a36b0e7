"""Many small trials in child processes: a hang or a crash costs one trial, not the measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .child import in_child

_BATCH = 100
_USUAL_SECONDS = 0.1


def unseen(_: int) -> None:
    """Shows no progress."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How one trial ended.

    Attributes:
        end: The word that the work gave, or `traceback`, `hang` or `died`.
        seconds: How long it took.
    """

    end: str
    seconds: float


def trials(
    work: Callable[[int], str], count: int, advance: Callable[[int], None], seconds: float = 5.0
) -> tuple[list[Trial], int]:
    """Does the work for 0, 1, ..., count - 1.

    A process does a hundred of them. Where it ends too early or takes too long, each of the
    hundred is done by a process of its own.

    Args:
        work: Gives a word for a number.
        count: How many numbers.
        advance: Called with how many more are done.
        seconds: Most time for one.

    Returns:
        The trials in their order, and the most memory in bytes that one process took beyond what it
        began with.
    """
    found: list[Trial] = []
    peak = 0
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        limit = seconds + _USUAL_SECONDS * len(numbers)
        ran = in_child(lambda numbers=numbers: _batch(work, numbers), list[Trial], limit)  # type: ignore[misc]  # bound at once
        peak = max(peak, ran.peak_bytes)
        if isinstance(ran.result, list):
            found += ran.result
        else:
            for number in numbers:
                one = in_child(lambda number=number: work(number), str, seconds)  # type: ignore[misc]  # bound at once
                peak = max(peak, one.peak_bytes)
                found.append(Trial(one.result, one.seconds))
        advance(len(numbers))
    return found, peak


def _batch(work: Callable[[int], str], numbers: Sequence[int]) -> list[Trial]:
    found = []
    for number in numbers:
        start = time.perf_counter()
        try:
            end = work(number)
        except Exception:  # which is counted, and never should be
            end = "traceback"
        found.append(Trial(end, time.perf_counter() - start))
    return found
