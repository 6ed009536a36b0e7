"""Two worlds that differ in the test part of one fold alone: its voxels, labels and columns."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import safetensors.torch
from conftest import SMALL, TIMES, write_volumes
from torch import Tensor

from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.progress import Silent
from pipeline.split import split
from pipeline.storage import read_table

nib: Any = nibabel  # has no types for what is used here
Rows = list[dict[str, str]]
FOLD = 0


@dataclass(frozen=True)
class World:
    """A data set, and the frozen folds that belong to it."""

    manifest: Path
    folds: str

    def config(self, *overrides: str, small: Sequence[str] = SMALL) -> Config:
        """Small settings on its data."""
        return load_config("base", [*small, f"data.manifest={self.manifest}", *overrides])

    def folder(self, path: Path) -> Path:
        """A run folder with its folds, and nothing else."""
        path.mkdir(parents=True)
        (path / "folds.json").write_text(self.folds)
        return path


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Writes a manifest."""
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def save_volume(path: Path, voxels: np.ndarray[Any, np.dtype[Any]]) -> Path:
    """Writes grey values or a mask on the grid of the small volumes."""
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 1.5, 1.0])), path)
    return path


def case_of(row: Mapping[str, str]) -> str:
    """The id that the case of a row gets from its file."""
    return Path(row["image"]).name.removesuffix(".nii.gz")


def true_world(folder: Path) -> World:
    """Volumes whose brighter half is the label, with masks of it and two clinical variables."""
    folder.mkdir()
    rows = read_table(write_volumes(folder))
    (folder / "masks").mkdir()
    for number, row in enumerate(rows):
        left = row["label"] == "left"
        mask = np.zeros((8, 8, 8), dtype=np.uint8)
        mask[slice(None, 4) if left else slice(4, None)] = 1
        row["mask"] = row["image"].replace("images", "masks")
        save_volume(folder / row["mask"], mask)
        row["age"] = f"{50 + 8 * left + number % 7}"
        row["sex"] = "fm"[number % 3 == 0]
    manifest = write_rows(folder / "manifest.csv", rows)
    config = load_config("base", [*SMALL, f"data.manifest={manifest}"])
    out = folder.parent / f"{folder.name}_folds"
    out.mkdir()
    split(config, out, Silent())
    return World(manifest, (out / "folds.json").read_text())


def false_world(world: World, folder: Path) -> World:
    """The same, but for the test part of the first fold: noise, other labels, masks and columns."""
    document = json.loads(world.folds)
    test = set(document["folds"][FOLD]["test"])
    shutil.copytree(world.manifest.parent, folder)
    rows = read_table(world.manifest)
    touched = [row for row in rows if case_of(row) in test]
    labels = [row["label"] for row in touched]
    random.Random(1).shuffle(labels)
    for number, (row, label) in enumerate(zip(touched, labels, strict=True)):
        generator = np.random.default_rng([99, number])
        noise = generator.normal(500, 90, (8, 8, 8)).astype(np.float32)
        save_volume(folder / row["image"], noise)
        save_volume(folder / row["mask"], generator.integers(0, 2, (8, 8, 8)).astype(np.uint8))
        row.update(label=label, age=f"{1000 * number}", sex="mf"[number % 2])
        document["cases"][case_of(row)]["label"] = label
    del document["sha256"]
    return World(write_rows(folder / "manifest.csv", rows), json.dumps(document))


def learnt(run: Path) -> dict[str, dict[str, Tensor]]:
    """Every tensor of every checkpoint of the first fold, by file; its name tells the epoch."""
    files = sorted((run / f"fold_{FOLD}").rglob("*.safetensors"))
    return {str(path.relative_to(run)): safetensors.torch.load_file(path) for path in files}


def states(run: Path) -> dict[str, object]:
    """What the checkpoints of the first fold hold beside tensors; times are left out."""
    found: dict[str, object] = {}
    for path in sorted((run / f"fold_{FOLD}").rglob("*.safetensors")):
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        state = json.loads(header["__metadata__"]["volclass"])["state"]
        found[str(path.relative_to(run))] = _without_times(state)
    return found


def courses(run: Path) -> dict[str, Rows]:
    """The logs of the first fold, with the epoch that was chosen; times are left out."""
    return {
        str(path.relative_to(run)): [
            {name: cell for name, cell in row.items() if name not in TIMES}
            for row in read_table(path)
        ]
        for path in sorted((run / f"fold_{FOLD}").rglob("log.csv"))
    }


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_times(part) for k, part in value.items() if k not in TIMES}
    return [_without_times(part) for part in value] if isinstance(value, list) else value


def changed(rows: Rows, change: Callable[[dict[str, str]], dict[str, str]]) -> Rows:
    """Rows with new cells in the place of some."""
    return [{**row, **change(row)} for row in rows]
