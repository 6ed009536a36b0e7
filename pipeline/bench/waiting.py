"""Epochs as they are trained against the same steps on volumes that wait in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

from .. import train
from ..batches import LoadedStep
from ..config_file import load_config
from ..crossval import cross_validate
from ..progress import Silent
from ..training.fold import FoldTraining
from ..training.loop import fit
from .ratio import ROUNDS, Ratio, measuring, ratio

_COMMON = ("data.phantoms.patients=800", "system.workers=2", "system.device=cpu")
#: Networks with their volumes, and with the augmentation that costs most.
EPOCHS = {
    "poolformer3d_n, 28^3, batch 32": (
        *("preprocess.size=[28,28,28]", "train.batch_size=32", "model.name=poolformer3d_n"),
        *("model.stem={kind: pyramid}", "model.head={stages: all, pool: stats}"),
        "augment.affine={probability: 0.5, degrees: 15, scale: 0.1}",
    ),
    "poolformer3d_t, 64^3, batch 8": (
        *("preprocess.spacing=[1,1,1]", "preprocess.size=[64,64,64]", "train.batch_size=8"),
        "augment.affine={probability: 0.5, degrees: 15, scale: 0.1}",
    ),
}
#: Seconds within which loading processes fill their queues and come to rest.
_REST = 2.0


def waiting_costs(folder: Path, advance: Callable[[], None]) -> list[Ratio]:
    """Wall time of the steps of an epoch, in multiples of the same steps without loading.

    Args:
        folder: For what is written.
        advance: Called after each network.
    """
    found = []
    for number, (name, words) in enumerate(EPOCHS.items()):
        clock = _Clock()
        with patch.object(train, "fit", clock.fit):
            train_fold([*_COMMON, *words], 2 * ROUNDS + 1, folder / str(number))
        found.append(ratio(name, clock.ratios()))
        advance()
    return found


def train_fold(settings: Sequence[str], epochs: int, out: Path) -> None:
    """Trains a fold of the quickstart for so many epochs.

    Args:
        settings: What is different.
        epochs: None of them is spared.
        out: For what is written.
    """
    words = [*settings, f"train.epochs={epochs}", f"train.patience={epochs}"]
    with measuring():
        cross_validate(load_config("quickstart", words), out, Silent(), fold=0)


class _Clock:
    """Takes the time of the steps of each epoch, of every other one with its volumes in memory.

    The last step of an epoch does not count, for validation and checkpoint follow within it.
    """

    def __init__(self) -> None:
        self._seconds: list[float] = []

    def fit(self, run: FoldTraining, steps: Iterable[LoadedStep]) -> None:
        """Trains as ever, on steps that are watched."""
        fit(run, self._watched(iter(steps)))

    def ratios(self) -> list[float]:
        """Each epoch's time over that of the one before it, whose volumes were in memory."""
        # The first epoch warms up.
        ahead, live = self._seconds[1::2], self._seconds[2::2]
        return [each / before for before, each in zip(ahead, live, strict=True)]

    def _watched(self, steps: Iterator[LoadedStep]) -> Iterator[LoadedStep]:
        while True:
            epoch = _one_epoch(steps)
            if len(self._seconds) % 2:
                epoch = iter(list(epoch))
                time.sleep(_REST)
            started = ended = time.perf_counter()
            loaded = None
            for loaded in epoch:
                if loaded.plan.last:
                    self._seconds.append(ended - started)
                yield loaded
                ended = time.perf_counter()
            if loaded is None:
                return


def _one_epoch(steps: Iterator[LoadedStep]) -> Iterator[LoadedStep]:
    for loaded in steps:
        yield loaded
        if loaded.plan.last:
            return
