"""A small set of volumes in which nothing is wrong, and ways to spoil it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipeline.config import Config
from pipeline.config_file import load_config

nib: Any = nibabel  # has no types for what is used here
Voxels = NDArray[np.float32]
SHAPE = (20, 18, 16)
SPACING = (2.0, 2.0, 2.5)
SETTINGS = (
    "preprocess.spacing=null",
    "preprocess.size=[8, 8, 8]",
    "preprocess.crop=none",
    "cv.folds=2",
    "cv.validation=0.3",
    "system.workers=0",
    "system.threads=1",
    "report.bootstrap=100",
)


@dataclass
class Scans:
    """Rows of a manifest and their volumes, to be changed before they are audited.

    Attributes:
        folder: Where they lie; several sets may share it, and the volumes in it.
        out: Where audits go.
        key: Starts the names of this set's own files.
        rows: Cells by column.
        cache: The cache folder; by default beside an audit.
    """

    folder: Path
    out: Path
    key: str = ""
    rows: list[dict[str, str]] = field(default_factory=list)
    cache: Path | None = None

    def add(
        self,
        patient: str,
        label: str,
        voxels: Voxels,
        *,
        spacing: tuple[float, float, float] = SPACING,
        axes: tuple[int, int, int] = (1, 1, 1),
        site: str = "",
        split: str = "",
        name: str | None = None,
    ) -> Path:
        """Writes a volume and its row; `axes` are the signs of the file's own axes."""
        case_id = f"scan{len(self.rows):02d}"
        name = name or f"{self.key}{case_id}.nii.gz"
        affine = np.diag([*(s * a for s, a in zip(spacing, axes, strict=True)), 1.0])
        nib.save(nib.Nifti1Image(voxels, affine), self.folder / name)
        row = {"image": name, "case_id": case_id, "label": label, "patient_id": patient}
        self.rows.append({**row, "site": site, "split": split})
        return self.folder / name

    def replace(self, place: int, change: Callable[[bytes], bytes]) -> None:
        """Gives a row a changed copy of its file."""
        row = self.rows[place]
        content = (self.folder / row["image"]).read_bytes()
        row["image"] = f"{self.key}changed{place:02d}.nii.gz"
        (self.folder / row["image"]).write_bytes(change(content))

    def voxels(self, place: int) -> Voxels:
        """Grey values of the volume in a row."""
        image = nib.load(self.folder / self.rows[place]["image"])
        return np.asarray(image.dataobj, dtype=np.float32)

    def write(self) -> Path:
        """Writes the manifest."""
        path = self.folder / f"{self.key}manifest.csv"
        with path.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        return path

    def config(self, *overrides: str) -> Config:
        """Settings for an audit of them, which is quick."""
        return load_config("base", [*self.overrides(), *overrides])

    def overrides(self) -> list[str]:
        """The same as arguments of the command line."""
        kept = [] if self.cache is None else [f"system.cache_dir={self.cache}"]
        return [*SETTINGS, *kept, f"data.manifest={self.write()}"]

    def twin(self, key: str, out: Path) -> Scans:
        """A set of the same volumes whose rows may be changed."""
        rows = [dict(row) for row in self.rows]
        return Scans(self.folder, out, key, rows, self.folder.parent / "cache")


def blobs(seed: int, shape: tuple[int, int, int] = SHAPE) -> Voxels:
    """A picture like no other: smooth noise with a range of 0 to 1000."""
    noise = np.random.default_rng([seed, 7]).normal(size=shape)
    smooth = gaussian_filter(noise, 2.0)
    scaled = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.asarray(1000.0 * scaled, dtype=np.float32)


def clean_scans(folder: Path, patients: int = 10) -> Scans:
    """Two scans a patient, two classes, nothing to find."""
    folder.mkdir(parents=True, exist_ok=True)
    scans = Scans(folder, folder.parent)
    for patient in range(patients):
        for scan in range(2):
            scans.add(f"p{patient:02d}", "ab"[patient % 2], blobs(10 * patient + scan))
    return scans


def noisy(voxels: Voxels, seed: int = 0) -> Voxels:
    """The same picture with a little noise."""
    noise = np.random.default_rng(seed).normal(0.0, 20.0, voxels.shape)
    return np.asarray(voxels + noise, dtype=np.float32)


def split_by_patient(scans: Scans) -> None:
    """A split in which every patient has one part."""
    for row in scans.rows:
        row["split"] = "test" if row["patient_id"] in ("p00", "p01", "p02") else "train"


def truncated(scans: Scans) -> None:
    """A file that ends too early."""
    scans.replace(3, lambda content: content[:-200])


def same_other_patient(scans: Scans) -> None:
    """The same file under another patient."""
    scans.add("new", "a", scans.voxels(0))


def same_other_geometry(scans: Scans) -> None:
    """The same voxels of another size, under another patient."""
    scans.add("new", "a", scans.voxels(0), spacing=(2.1, 2.0, 2.5))


def same_other_label(scans: Scans) -> None:
    """The same voxels with another label."""
    scans.add("p00", "b", scans.voxels(0))


def same_other_split(scans: Scans) -> None:
    """The same voxels in the other part of the split."""
    split_by_patient(scans)
    scans.add("p00", "a", scans.voxels(0), split="train")


def near_other_patient(scans: Scans) -> None:
    """A noisy copy under another patient."""
    scans.add("new", "a", noisy(scans.voxels(0)))


def near_other_label(scans: Scans) -> None:
    """A noisy copy with another label."""
    scans.add("p00", "b", noisy(scans.voxels(0)))


def near_other_split(scans: Scans) -> None:
    """A noisy copy in the other part of the split."""
    split_by_patient(scans)
    scans.add("p00", "a", noisy(scans.voxels(0)), split="train")


def straddling(scans: Scans) -> None:
    """A patient in both parts of the split."""
    split_by_patient(scans)
    scans.rows[0]["split"] = "train"


def too_few(scans: Scans) -> None:
    """A class of one patient."""
    scans.rows = [row for row in scans.rows if row["label"] == "a" or row["patient_id"] == "p01"]


def shortcut(scans: Scans) -> None:
    """A spacing of its own for each class."""
    rows, scans.rows = scans.rows, []
    for place, row in enumerate(rows):
        coarse = (2.0, 2.0, 2.5 if row["label"] == "a" else 3.0)
        voxels = blobs(place)
        scans.add(row["patient_id"], row["label"], voxels, spacing=coarse)
