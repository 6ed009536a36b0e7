"""Volumes of noise with clinical variables for tests, and small configurations that read them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from conftest import SMALL

from pipeline.config import Config
from pipeline.config_file import load_config

PATIENTS = 24
FUSED = ("data.covariates=[marker, sex]", "augment.test_time=flips", "cv.refit=true")
Rows = list[dict[str, str]]


def written(path: Path, rows: Rows) -> Path:
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def noise_rows(folder: Path) -> Rows:
    """Volumes of pure noise; `marker` tells much of the label, `code` all, `sex` nothing."""
    made = []
    for patient in range(PATIENTS):
        random = np.random.default_rng([7, patient])
        voxels = random.normal(0, 1, (8, 8, 8)).astype(np.float32)
        path = folder / f"p{patient:02d}.nii.gz"
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
        made.append(
            {
                "image": str(path),
                "label": "ab"[patient % 2],
                "patient_id": f"p{patient:02d}",
                "marker": f"{40 + 10 * (patient % 2) + 6 * random.normal():.1f}",
                "sex": ("f", "m", "")[random.integers(3)],
                "code": ("C1", "D2")[patient % 2],
            }
        )
    made[5]["marker"] = "NA"
    return made


def config_of(manifest: Path, *overrides: str, small: Sequence[str] = SMALL) -> Config:
    return load_config(
        "base",
        [
            *small,
            f"data.manifest={manifest}",
            f"data.root={manifest.parent}",
            "data.allow_outside_root=true",
            "train.epochs=8",
            "train.patience=8",
            "train.batch_size=8",
            "train.lr=0.02",
            "train.ema=0.8",
            *overrides,
        ],
    )


def auroc(run: Path) -> float:
    metrics = json.loads((run / "report/metrics.json").read_text())["metrics"]
    found: float = metrics["auroc"]["estimate"]
    return found
