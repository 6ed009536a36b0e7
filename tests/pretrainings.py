"""Small pretrainings for tests, and the data that they are made from."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import safetensors.torch
from conftest import SMALL
from torch import Tensor

from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.progress import Bar, Silent
from pipeline.storage import read_table

PRETRAINING = ("pretrain.block=2", "train.epochs=2", "model.supervision.stages=[]")


def encoder(folder: Path, fold: int = 0) -> dict[str, Tensor]:
    return safetensors.torch.load_file(folder / f"fold_{fold}" / "encoder.safetensors")


def on(manifest: Path, *overrides: str) -> Config:
    return load_config("base", [*SMALL, f"data.manifest={manifest}", *overrides])


def changed_copy(manifest: Path, folder: Path, change: Callable[[str], bool]) -> Path:
    """The data set with noise in the place of the volumes that `change` names."""
    shutil.copytree(manifest.parent, folder)
    for number, path in enumerate(sorted((folder / "images").iterdir())):
        if change(path.name.removesuffix(".nii.gz")):
            noise = np.random.default_rng(number).normal(0, 9, (8, 8, 8))
            image = nib.Nifti1Image(noise.astype(np.float32), np.diag([1.0, 1.0, 1.5, 1.0]))
            nib.save(image, path)
    return folder / manifest.name


def unlabelled_copy(manifest: Path, folder: Path, patients: str = "new") -> Path:
    """Other volumes of other people, without a column of labels."""
    copy = changed_copy(manifest, folder, lambda name: True)
    rows = read_table(copy)
    with copy.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "patient_id"])
        writer.writerows([row["image"], row["patient_id"].replace("p", patients)] for row in rows)
    return copy


class Stopping(Silent):
    """Asks its own process to stop as soon as an epoch is over."""

    def bar(self, name: str, total: int) -> Bar:
        """A bar that ends the run when it moves."""
        return _StoppingBar() if name.startswith("fold") else super().bar(name, total)


class _StoppingBar(Silent):
    def advance(self, amount: int = 1, note: str = "") -> None:
        """Sends the signal that a scheduler would send."""
        os.kill(os.getpid(), signal.SIGTERM)
