"""Extraction of features against bare forward passes of the same network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import nibabel as nib
import numpy as np
from torch import Tensor, nn

from models2d.slices import SliceClassifier
from models3d.contract import VolumeModel

from ..config_file import load_config
from ..features import extract
from ..progress import Silent
from ..storage import make_folder, write_bytes
from .ratio import ROUNDS, Ratio, ratio, seconds_of

Network = TypeVar("Network", bound=nn.Module)
Answer = TypeVar("Answer")

CASES = 192
SIDE = 64
NETWORKS = ("poolformer3d_t", "poolformer3d_s12", "monai_resnet18", "resnet18")

_TITLES = {"resnet18": f"resnet18, 2D on the {SIDE} slices of a volume"}


def write_volumes(folder: Path) -> Path:
    """Writes `CASES` volumes of noise, of `SIDE` voxels an axis; gives the folder."""
    make_folder(folder)
    generator = np.random.default_rng(0)
    for number in range(CASES):
        voxels = generator.integers(-1000, 1000, (SIDE, SIDE, SIDE), dtype=np.int16)
        write_bytes(
            folder / f"case_{number:03d}.nii", nib.Nifti1Image(voxels, np.eye(4)).to_bytes()
        )
    return folder


def extraction(name: str, images: Path, folder: Path, advance: Callable[[], None]) -> Ratio:
    """Extraction from warm cache to finished file, against the forward passes alone.

    Args:
        name: The network.
        images: Folder of the volumes.
        folder: For what is written.
        advance: Called after each round.
    """
    size = [SIDE, SIDE, SIDE]
    words = [f"model.name={name}", f"preprocess.size={size}", "preprocess.crop=none"]
    config = load_config("base", [*words, "train.batch_size=8", "system.device=cpu"])
    extract(config, [str(images)], folder / f"{name}.parquet", Silent())
    rates = []
    for number in range(ROUNDS):
        with _beside_bare_passes() as bare:
            out = folder / f"{name}_{number}.parquet"
            whole = seconds_of(partial(extract, config, [str(images)], out, Silent()))
        rates.append(bare.seconds / (whole - bare.seconds))
        advance()
    return ratio(_TITLES.get(name, name), rates)


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
        bare.seconds += seconds_of(partial(network, images))
        bare.inside = False
        return work(network, images)

    return both
