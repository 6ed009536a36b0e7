"""How long a command takes to start: whole processes beside one that imports torch alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from ..config_file import load_config
from ..crossval import cross_validate
from ..data.cache import CachedVolume
from ..data.cases import Case
from ..data.dataset import Batches, VolumeDataset
from ..errors import StorageError
from ..progress import Silent
from .ratio import ROUNDS, Ratio, measuring, ratio, seconds_of
from .reading import write_image

_TORCH = "import torch"
LOADING = "first batch of two loading processes"
_OURS = "from pipeline.cli import main; main()"
#: A run of the smallest network that answers as a real one does, trained as shortly as can be.
_RUN = (
    *("data.phantoms.patients=12", "cv.folds=2", "train.epochs=1", "train.patience=1"),
    *("model.name=poolformer3d_t", "report.bootstrap=100", "system.device=cpu"),
)


def starting_costs(folder: Path, advance: Callable[[], None]) -> list[Ratio]:
    """Time of processes from start to end, in multiples of one that imports torch.

    The last is that of loading processes until their first batch.

    Args:
        folder: For what is written.
        advance: Called after each round.

    Raises:
        StorageError: A process failed.
    """
    run, volume = folder / "run", write_image(folder / "int16.nii.gz", (96, 96, 48))
    with measuring():
        cross_validate(load_config("quickstart", list(_RUN)), run, Silent())
    answers = ("predict", str(run), str(volume), "--out", str(folder / "predictions.csv"))
    processes = {
        "`volclass --help`": (_OURS, "--help"),
        "`import monai.transforms`": ("import monai.transforms",),
        "`volclass predict` of one volume": (_OURS, *answers),
    }
    clocks: dict[str, Callable[[], float]] = {
        name: partial(seconds_of, partial(_process, words)) for name, words in processes.items()
    }
    clocks[LOADING] = _seconds_to_first_batch
    found: dict[str, list[float]] = {name: [] for name in clocks}
    for clock in clocks.values():  # once, for files that the system has not in memory yet
        clock()
    for _ in range(ROUNDS):
        for name, clock in clocks.items():
            reference = seconds_of(partial(_process, (_TORCH,)))
            found[name].append(clock() / reference)
        advance()
    return [ratio(name, rounds) for name, rounds in found.items()]


class _Blank:
    """Volumes that cost nothing to read."""

    def fetch_known(self, case: Case, content: str) -> CachedVolume:
        return CachedVolume(torch.zeros(1, 28, 28, 28), (1.0, 1.0, 1.0), content)


def _seconds_to_first_batch() -> float:
    cases = [Case(str(number), str(number), Path()) for number in range(4)]
    contents = {case.case_id: case.case_id for case in cases}
    dataset = VolumeDataset(cases, contents, (), _Blank())
    loaded = iter(Batches(dataset, [[(0, number)] for number in range(len(cases))], workers=2))
    # The processes end when the batches are let go, which is after the clock has stopped.
    return seconds_of(partial(next, loaded))


def _process(words: Sequence[str]) -> str:
    """What a process prints."""
    done = subprocess.run(
        [sys.executable, "-c", *words], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StorageError("a process that is measured failed", why=done.stderr[-500:])
    return done.stdout
