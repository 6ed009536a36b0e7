"""Epochs on the slice features of a frozen 2D network against epochs end to end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from ..config_file import load_config
from ..crossval import cross_validate
from ..progress import Bar, Silent
from .ratio import ROUNDS, Ratio, measuring, ratio

_EPOCHS = {False: 4, True: 20}


def frozen_epochs(folder: Path, advance: Callable[[], None]) -> Ratio:
    """Whole epochs, validation and checkpoints included, without the first one of each.

    Args:
        folder: For what is written.
        advance: Called after each round.
    """
    rounds = []
    for number in range(ROUNDS):
        plain = _seconds_an_epoch(folder / f"plain_{number}", frozen=False)
        frozen = _seconds_an_epoch(folder / f"frozen_{number}", frozen=True)
        rounds.append(plain / frozen)
        advance()
    return ratio("resnet18, attention over 8 slices", rounds)


def _seconds_an_epoch(out: Path, *, frozen: bool) -> float:
    epochs = _EPOCHS[frozen]
    words = [f"train.epochs={epochs}", f"train.patience={epochs}", "system.device=cpu"]
    words += [f"model.slices.frozen={str(frozen).lower()}", "report.bootstrap=100"]
    clock = _Clock()
    with measuring():
        cross_validate(load_config("slices/resnet18_attention", words), out, clock, fold=0)
    later = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]
    return statistics.mean(later)


class _Clock(Silent):
    """Notes when each epoch of the fold ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def bar(self, name: str, total: int) -> Bar:
        """Listens to the bar of the fold alone."""
        return _Ticks(self.times) if name == "fold 0" else Silent()


class _Ticks(Silent):
    def __init__(self, times: list[float]) -> None:
        self._times = times

    def advance(self, amount: int = 1, note: str = "") -> None:
        """An epoch ended."""
        self._times.append(time.perf_counter())
