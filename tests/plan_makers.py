"""Data sets on disk for tests of plans: what the volumes are like is what matters."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from pipeline.build import check_network
from pipeline.config_file import load_config
from pipeline.plan import Plan, plan
from pipeline.planning.request import request_of
from pipeline.progress import Silent

#: Quick, and no part of what is planned.
QUICK = ("system.workers=0", "system.threads=1", "cv.folds=2")
SMALL = "model.options={depths: [1, 1, 1], dims: [4, 8, 8]}"

Triple = tuple[float, float, float]
Voxels = tuple[int, int, int]


def scan(
    path: Path,
    spacing: Triple = (1.0, 1.0, 1.0),
    shape: Voxels = (16, 16, 16),
    body: Voxels | None = None,
    *,
    ct: bool = False,
    seed: int = 0,
) -> None:
    """A body of `body` voxels in air, or all over the volume, with noise in both."""
    generator = np.random.default_rng(seed)
    voxels = generator.normal(20.0, 2.0, shape)
    inside = tuple(slice(None) if body is None else slice(1, 1 + n) for n in body or shape)
    voxels[inside] = generator.normal(200.0, 30.0, voxels[inside].shape)
    if ct:
        voxels = np.where(voxels < 60, -1000.0, np.rint(voxels - 160.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    nib.save(nib.Nifti1Image(voxels.astype(np.int16 if ct else np.float32), affine), path)


def manifest(folder: Path, rows: Sequence[tuple[str, str, str]]) -> Path:
    with (folder / "cases.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["image", "label", "patient_id"], *rows])
    return folder / "cases.csv"


def scans(
    folder: Path,
    spacings: Sequence[Triple] = ((1.0, 1.0, 1.0),),
    shapes: Sequence[Voxels] = ((16, 16, 16),),
    patients: int = 8,
    body: Voxels | None = None,
    *,
    ct: bool = False,
) -> Path:
    """One scan a patient, spacings and shapes in turn; the classes alternate."""
    rows = []
    for number in range(patients):
        spacing, shape = spacings[number % len(spacings)], shapes[number % len(shapes)]
        scan(folder / f"p{number}.nii", spacing, shape, body, ct=ct, seed=number)
        rows.append((f"p{number}.nii", "ab"[number % 2], f"P{number}"))
    return manifest(folder, rows)


def planned(cases: Path, out: Path, *overrides: str, fold: int | None = None) -> Plan:
    request = request_of(None, [str(cases), *QUICK, SMALL, *overrides])
    made = plan(request, out, Silent(), fold=fold)
    assert load_config(str(out)) == made.config  # what train reads is what was planned
    check_network(made.config)
    return made
