"""`volclass bench`: speed as ratios, each measured side by side in one process.

Absolute times say more about a machine than about a program, and are not given.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import nibabel as nib
import numpy as np
import torch
from torch import Tensor, nn

from models2d.slices import SliceClassifier
from models3d.contract import VolumeModel

from .config_file import load_config
from .features import extract
from .progress import Display, Silent
from .storage import make_folder, write_bytes, write_text

Network = TypeVar("Network", bound=nn.Module)
Answer = TypeVar("Answer")

_ROUNDS = 3
_CASES = 192
_NETWORKS = ("poolformer3d_t", "poolformer3d_s12", "monai_resnet18", "resnet18")
_SIDE = 64


@dataclass(frozen=True, slots=True)
class Ratio:
    """A comparison of two ways to do the same.

    Attributes:
        name: What was compared.
        median: Rate of ours as a part of the other's, median over the rounds.
        low: Smallest of the rounds.
        high: Largest of the rounds.
    """

    name: str
    median: float
    low: float
    high: float


def bench(out: Path, display: Display) -> list[Ratio]:
    """Measures, and writes a page of tables.

    Args:
        out: The Markdown file to write.
        display: Where progress is shown.

    Raises:
        StorageError: The page cannot be written.
    """
    bar = display.bar("measuring", len(_NETWORKS) * _ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        images = _write_volumes(Path(folder) / "images")
        ratios = [_extraction(name, images, Path(folder), bar.advance) for name in _NETWORKS]
    make_folder(out.parent)
    write_text(out, _page(ratios))
    return ratios


def _write_volumes(folder: Path) -> Path:
    make_folder(folder)
    generator = np.random.default_rng(0)
    for number in range(_CASES):
        voxels = generator.integers(-1000, 1000, (_SIDE, _SIDE, _SIDE), dtype=np.int16)
        write_bytes(
            folder / f"case_{number:03d}.nii", nib.Nifti1Image(voxels, np.eye(4)).to_bytes()
        )
    return folder


def _extraction(name: str, images: Path, folder: Path, advance: Callable[[], None]) -> Ratio:
    """Extraction from warm cache to finished file, against the forward passes alone."""
    size = [_SIDE, _SIDE, _SIDE]
    words = [f"model.name={name}", f"preprocess.size={size}", "preprocess.crop=none"]
    config = load_config("base", [*words, "train.batch_size=8", "system.device=cpu"])
    extract(config, [str(images)], folder / f"{name}.parquet", Silent())
    rates = []
    for number in range(_ROUNDS):
        with _beside_bare_passes() as bare:
            out = folder / f"{name}_{number}.parquet"
            whole = _seconds(partial(extract, config, [str(images)], out, Silent()))
        rates.append(bare.seconds / (whole - bare.seconds))
        advance()
    return Ratio(name, statistics.median(rates), min(rates), max(rates))


@dataclass(slots=True)
class _Bare:
    """Time of the bare forward passes so far."""

    seconds: float = 0.0
    inside: bool = False


@contextmanager
def _beside_bare_passes() -> Iterator[_Bare]:
    """Within the block, whatever a network is asked for follows a bare pass of the same batch.

    Batch by batch in turns, so that what else the machine does falls on both alike.
    """
    bare = _Bare()
    with (
        patch.object(VolumeModel, "forward", _preceded(VolumeModel.forward, bare)),
        patch.object(
            SliceClassifier, "stage_vectors", _preceded(SliceClassifier.stage_vectors, bare)
        ),
    ):
        yield bare


def _preceded(
    work: Callable[[Network, Tensor], Answer], bare: _Bare
) -> Callable[[Network, Tensor], Answer]:
    def both(network: Network, images: Tensor) -> Answer:
        """Takes the time of a pass whose result nobody uses, then does the work."""
        if bare.inside:
            return work(network, images)
        bare.inside = True
        bare.seconds += _seconds(partial(network, images))
        bare.inside = False
        return work(network, images)

    return both


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _page(ratios: list[Ratio]) -> str:
    rows = [f"| {r.name} | {r.median:.2f} | {r.low:.2f} to {r.high:.2f} |" for r in ratios]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `make bench`. Every figure is a ratio of two things measured in turns in",
            "one process; absolute times are left out, since they tell of the machine.",
            "",
            f"Machine: {platform.machine()}, {torch.get_num_threads()} threads, without a GPU;"
            f" torch {torch.__version__.split('+')[0]}.",
            "",
            "## Feature extraction against bare forward passes",
            "",
            f"`volclass features` on {_CASES} cached volumes of {_SIDE}^3 voxels, from the first",
            "check of the files to the finished Parquet file with mean, maximum and standard",
            "deviation of every stage; against a bare forward pass of the same network on the",
            f"same batch, in turns batch by batch. Median and range of {_ROUNDS} rounds.",
            "",
            "| network | throughput, part of the bare forward pass | range |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
