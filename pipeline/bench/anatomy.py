"""Where the time of an epoch goes, from the cache to the gradient."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar
from unittest.mock import patch

from .. import train
from ..batches import LoadedStep
from ..data import dataset
from ..data.augment import Augmentation
from ..data.volumes import VolumeStore
from ..training.fold import FoldTraining
from ..training.loop import fit
from .waiting import EPOCHS, train_fold

Given = ParamSpec("Given")
Result = TypeVar("Result")

#: In the order in which a volume meets them; the last but one is all else of loading.
PARTS = ("reading", "augmenting", "stacking", "other loading", "steps")
_COMMON = ("data.phantoms.patients=200", "system.workers=0", "system.device=cpu")


@dataclass(frozen=True, slots=True)
class EpochParts:
    """An epoch taken apart.

    Attributes:
        name: Network and volumes.
        shares: Of its time, by part.
    """

    name: str
    shares: dict[str, float]


def epoch_parts(folder: Path, advance: Callable[[], None]) -> list[EpochParts]:
    """The parts of a second epoch, loaded by the process that trains, so that nothing overlaps.

    Args:
        folder: For what is written.
        advance: Called after each network.
    """
    found = []
    for number, (name, words) in enumerate(EPOCHS.items()):
        clock = _Parts()
        with clock.watching():
            train_fold([*_COMMON, *words], 2, folder / str(number))
        found.append(EpochParts(name, clock.shares()))
        advance()
    return found


class _Parts:
    """Takes the time of what is done to load and to make the steps of the second epoch.

    The last step does not count, for validation and checkpoint follow within it.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._of_this_step: dict[str, float] = defaultdict(float)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block, what a training calls to load and to make its steps is timed."""
        with (
            patch.object(
                VolumeStore, "fetch_known", self._timed(PARTS[0], VolumeStore.fetch_known)
            ),
            patch.object(Augmentation, "__call__", self._timed(PARTS[1], Augmentation.__call__)),
            patch.object(dataset, "_collate", self._timed(PARTS[2], dataset._collate)),
            patch.object(train, "fit", self._fit),
        ):
            yield

    def shares(self) -> dict[str, float]:
        """What each part took of the whole."""
        whole = sum(self._seconds.values())
        return {part: seconds / whole for part, seconds in self._seconds.items()}

    def _fit(self, run: FoldTraining, steps: Iterable[LoadedStep]) -> None:
        fit(run, self._watched(iter(steps)))

    def _timed(self, part: str, work: Callable[Given, Result]) -> Callable[Given, Result]:
        @wraps(work)
        def timed(*args: Given.args, **kwargs: Given.kwargs) -> Result:
            started = time.perf_counter()
            result = work(*args, **kwargs)
            self._of_this_step[part] += time.perf_counter() - started
            return result

        return timed

    def _watched(self, steps: Iterator[LoadedStep]) -> Iterator[LoadedStep]:
        while True:
            self._of_this_step.clear()  # of what validation read
            started = time.perf_counter()
            loaded = next(steps, None)
            if loaded is None:
                return
            parts = dict(self._of_this_step)
            ready = time.perf_counter()
            parts[PARTS[3]] = ready - started - sum(parts.values())
            yield loaded
            parts[PARTS[4]] = time.perf_counter() - ready
            if loaded.plan.epoch > 0 and not loaded.plan.last:
                for part, seconds in parts.items():
                    self._seconds[part] += seconds
