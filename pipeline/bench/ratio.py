"""Ratios of rates, from several rounds in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import InterruptedRunError, PreemptedError

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Ratio:
    """A comparison of two ways to do the same.

    Attributes:
        name: What was compared.
        median: Rate of ours as a part or multiple of the other's, median over the rounds.
        low: Smallest of the rounds.
        high: Largest of the rounds.
    """

    name: str
    median: float
    low: float
    high: float


def ratio(name: str, rounds: Sequence[float]) -> Ratio:
    """Sums up the rounds of a comparison."""
    return Ratio(name, statistics.median(rounds), min(rounds), max(rounds))


@contextmanager
def measuring() -> Iterator[None]:
    """Within the block, a training that is asked to stop says what a measurement can offer.

    Raises:
        InterruptedRunError: It was asked to; nothing can be resumed, so never PreemptedError.
    """
    try:
        yield
    except (PreemptedError, InterruptedRunError):
        why = "a measurement cannot go on where it stopped; finished tables are on the page"
        raise InterruptedRunError("stopped", why=why, remedy="start it again") from None


def seconds_of(work: Callable[[], object]) -> float:
    """Wall time of a piece of work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
