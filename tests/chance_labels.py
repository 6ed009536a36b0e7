"""Runs whose labels are drawn by chance for each patient: nothing can be learnt of unseen ones."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

import numpy as np
from conftest import SMALL
from leak_makers import save_volume, write_rows
from scipy.stats import t

from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.evaluation.metrics import validation_auroc
from pipeline.progress import Silent
from pipeline.storage import read_table

PATIENTS, SCANS, FOLDS = 12, 2, 2
#: Under which so few volumes teach what can be learnt of them; the control shows that they do.
_SETTINGS = (
    "train.epochs=4",
    "train.batch_size=2",
    "train.lr=0.02",
    "train.ema=0",
    "train.warmup=0",
    "model.drop_path=0",
    "augment={flip: 0, rotate90: 0, noise: 0, blur: 0, gamma: 0, intensity: 0}",
    "augment.affine.probability=0",
    f"cv.folds={FOLDS}",
)
#: `none`, or `mark`: the label lies in the voxels, as a scanner that saw one class alone leaves it.
Leak = Literal["none", "mark"]


def write_noise(folder: Path) -> None:
    """Volumes of noise around each patient's own level, every one with a marked twin."""
    for patient in range(PATIENTS):
        for scan in range(SCANS):
            generator = np.random.default_rng([5, patient, scan])
            voxels = generator.normal(0, 1, (8, 8, 8)).astype(np.float32)
            voxels[:4] += np.random.default_rng([6, patient]).normal(0, 2)
            save_volume(folder / f"p{patient:02d}_{scan}.nii.gz", voxels)
            voxels[:, 4:] += 8
            save_volume(folder / f"p{patient:02d}_{scan}_marked.nii.gz", voxels)


def chance_aurocs(noise: Path, out: Path, seeds: int, leak: Leak = "none") -> list[float]:
    """Mean AUROC over the folds of a run for each seed, whose labels are drawn for each patient.

    Args:
        noise: Folder of the volumes of `write_noise`; manifests and a cache are added to it.
        out: Folder of the runs.
        seeds: How many runs are made, with the seeds from 0.
        leak: What gives the labels away.
    """
    return [_auroc(noise, out / leak, seed, leak) for seed in range(seeds)]


def interval(values: list[float]) -> tuple[float, float]:
    """95 % interval of the mean, by Student."""
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def _auroc(noise: Path, out: Path, seed: int, leak: Leak) -> float:
    labels = ["a", "b"] * (PATIENTS // 2)
    random.Random(seed).shuffle(labels)
    rows = []
    for patient, label in enumerate(labels):
        ending = "_marked" if (leak, label) == ("mark", "b") else ""
        for scan in range(SCANS):
            name = f"p{patient:02d}"
            image = f"{name}_{scan}{ending}.nii.gz"
            rows.append({"image": image, "label": label, "patient_id": name})
    manifest = write_rows(noise / f"{leak}_{seed}.csv", rows)
    more = [f"seed={seed}", f"data.manifest={manifest}", f"system.cache_dir={noise / 'cache'}"]
    cross_validate(load_config("base", [*SMALL, *_SETTINGS, *more]), out / str(seed), Silent())
    return float(np.mean([_fold_auroc(out / str(seed), fold) for fold in range(FOLDS)]))


def _fold_auroc(run: Path, fold: int) -> float:
    rows = read_table(run / f"fold_{fold}" / "predictions.csv")
    truth = np.array([row["label"] == "b" for row in rows], dtype=np.int64)
    scores = np.array([[float(row["p_a"]), float(row["p_b"])] for row in rows])
    area = validation_auroc(truth, scores)
    assert area is not None
    return area
