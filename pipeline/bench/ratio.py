"""Ratios of rates, from several rounds in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def in_pairs(
    ours: Callable[[], float],
    others: Mapping[str, Callable[[], float]],
    rounds: int,
    before_round: Callable[[], object] = lambda: None,
) -> tuple[Ratio, ...]:
    """Others' time in multiples of ours, each beside a pass of ours of its own.

    Args:
        ours: Makes a pass and gives its seconds.
        others: The same, by name.
        rounds: How often, after a pass of each that does not count.
        before_round: Done before each round.
    """
    for clock in (ours, *others.values()):
        clock()
    found: dict[str, list[float]] = {name: [] for name in others}
    for number in range(rounds):
        before_round()
        for name, other in others.items():
            pair = (ours, other)
            # In turns first and second, for the machine may grow slower or faster meanwhile.
            seconds = {place: pair[place]() for place in ((0, 1), (1, 0))[number % 2]}
            found[name].append(seconds[1] / seconds[0])
    return tuple(ratio(name, values) for name, values in found.items())


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
