"""`volclass bench`: speed as ratios, each measured side by side in one process.

Absolute times say more about a machine than about a program, and are not given.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from .build import build_network
from .config import Config
from .config_file import load_config
from .features import extract
from .progress import Display, Silent
from .storage import make_folder, write_bytes, write_text

_ROUNDS = 3
_CASES = 192
_NETWORKS = ("poolformer3d_t", "poolformer3d_s12", "monai_resnet18")
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
    """Extraction from warm cache to finished file, against forward passes on loaded batches."""
    size = [_SIDE, _SIDE, _SIDE]
    words = [f"model.name={name}", f"preprocess.size={size}", "preprocess.crop=none"]
    config = load_config("base", [*words, "train.batch_size=8", "system.device=cpu"])
    first = folder / f"{name}.parquet"
    extract(config, [str(images)], first, Silent())
    network = build_network(config.model, 2).eval()
    count = _CASES // config.train.batch_size
    batches = [torch.randn(config.train.batch_size, 1, *size) for _ in range(count)]
    rates = []
    for number in range(_ROUNDS):
        # In turns, so that what else the machine does falls on both.
        bare = _seconds(partial(_forward, network, batches))
        ours = _seconds(partial(_again, config, images, folder / f"{name}_{number}.parquet"))
        rates.append(bare / ours)
        advance()
    return Ratio(name, statistics.median(rates), min(rates), max(rates))


def _forward(network: torch.nn.Module, batches: list[Tensor]) -> None:
    with torch.inference_mode():
        for batch in batches:
            network(batch)


def _again(config: Config, images: Path, out: Path) -> None:
    extract(config, [str(images)], out, Silent())


def _seconds(work: Callable[[], None]) -> float:
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
            f"deviation of every stage; against the same network on batches in memory. {_ROUNDS}",
            "rounds in turns.",
            "",
            "| network | throughput, part of the bare forward pass | range |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
