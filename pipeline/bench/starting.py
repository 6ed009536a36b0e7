"""How long a command takes to start: whole processes beside one that imports torch alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ..config_file import load_config
from ..crossval import cross_validate
from ..errors import StorageError
from ..progress import Silent
from .ratio import ROUNDS, Ratio, measuring, ratio, seconds_of
from .reading import write_image

_TORCH = "import torch"
_OURS = "from pipeline.cli import main; main()"
#: A run of the smallest network that answers as a real one does, trained as shortly as can be.
_RUN = (
    *("data.phantoms.patients=12", "cv.folds=2", "train.epochs=1", "train.patience=1"),
    *("model.name=poolformer3d_t", "report.bootstrap=100", "system.device=cpu"),
)


def starting_costs(folder: Path, advance: Callable[[], None]) -> list[Ratio]:
    """Time of processes from start to end, in multiples of one that imports torch.

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
    found: dict[str, list[float]] = {name: [] for name in processes}
    for words in processes.values():  # once, for files that the system has not in memory yet
        _process(words)
    for _ in range(ROUNDS):
        for name, words in processes.items():
            torch = seconds_of(partial(_process, (_TORCH,)))
            found[name].append(seconds_of(partial(_process, words)) / torch)
        advance()
    return [ratio(name, rounds) for name, rounds in found.items()]


def _process(words: Sequence[str]) -> str:
    """What a process prints."""
    done = subprocess.run(
        [sys.executable, "-c", *words], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise StorageError("a process that is measured failed", why=done.stderr[-500:])
    return done.stdout
