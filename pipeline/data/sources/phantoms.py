"""The embedded data source: CT-like NIfTI volumes with a manifest, made from a seed.

A volume is a pure function of (seed, patient, scan), so neither the order of writing nor the
number of patients changes it. Classes, sites and numbers of scans are balanced against each
other: neither site nor geometry nor grey values betray the class, only the lesion's shape does.
Patients of both classes have a lesion of one size, so each volume comes with a mask of it.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydantic import JsonValue
from scipy import ndimage

from ...config import PhantomConfig
from ...storage import make_folder, sha256, write_bytes, write_table
from .phantom_shapes import Doubles, Margin, draw_anatomy, rotation
from .record import is_whole, write_record

Voxel = TypeVar("Voxel", np.int16, np.uint8)

VERSION = 2
"""Raised whenever the same config gives other bytes; older folders are then made anew."""
MANIFEST, RECORD = "manifest.csv", "phantoms.json"
COLUMNS = (
    *("image", "label", "patient_id", "case_id", "site", "mask"),
    *("lesion_x", "lesion_y", "lesion_z", "lesion_mm"),
)
ORIENTATIONS = ("RAS", "LPS", "LAS", "RPI", "PIR", "SRA", "LIP", "ASL")
"""Directions in which the stored axes grow; half of them permute the body's axes."""
FIELD_MM = 80.0


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital's scanner: noise and grey value offset in HU, grain of the noise in mm."""

    noise: float
    offset: float
    kernel_mm: float


SITES = {"A": Site(noise=8.0, offset=0.0, kernel_mm=0.4), "B": Site(12.0, 12.0, 0.7)}


@dataclass(frozen=True, slots=True)
class PhantomScan:
    """One volume and the truth about it.

    Attributes:
        voxels: Grey values in HU, int16, in the stored order of axes.
        mask: 1 where at least half of a voxel is lesion, else 0, uint8, in the same order.
        affine: Voxel indices to RAS+ millimetres, shape (4, 4).
        margin: The class.
        site: Key of `SITES`.
        lesion: Centre of the lesion in RAS+ millimetres, shape (3,).
        lesion_mm: Diameter of the ball that has the lesion's volume.
    """

    voxels: npt.NDArray[np.int16]
    mask: npt.NDArray[np.uint8]
    affine: Doubles
    margin: Margin
    site: str
    lesion: Doubles
    lesion_mm: float


def write_phantoms(
    config: PhantomConfig, folder: Path, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Writes the volumes and their manifest, or reuses a folder that already holds them.

    The record `phantoms.json` is written last and names the SHA-256 of every file, so a folder
    that was left half written, damaged or made for another config is made anew.

    Args:
        config: Numbers of patients and scans, and the seed.
        folder: Receives `images/`, `masks/`, `manifest.csv` and `phantoms.json`.
        progress: Called with the volumes done and the volumes in all, after each volume.

    Returns:
        Path of the manifest.

    Raises:
        StorageError: A file cannot be written.
    """
    if is_whole(folder / RECORD, _origin(config), MANIFEST):
        return folder / MANIFEST
    for name in ("images", "masks"):
        make_folder(folder / name)
    cases = [
        (patient, scan)
        for patient in range(config.patients)
        for scan in range(scans_of(patient, config.scans))
    ]
    rows: list[dict[str, object]] = []
    digests: dict[str, str] = {}
    for done, (patient, scan) in enumerate(cases, start=1):
        phantom = make_phantom(config.seed, patient, scan)
        row = _row(phantom, patient, scan)
        for column, content in (("image", nifti_bytes(phantom)), ("mask", mask_bytes(phantom))):
            write_bytes(folder / str(row[column]), content)
            digests[str(row[column])] = sha256(content)
        rows.append(row)
        if progress is not None:
            progress(done, len(cases))
    write_table(folder / MANIFEST, COLUMNS, rows)
    digests[MANIFEST] = sha256((folder / MANIFEST).read_bytes())
    write_record(folder / RECORD, _origin(config), digests)
    return folder / MANIFEST


def scans_of(patient: int, most: int) -> int:
    """Number of scans of a patient, from 1 to `most`: the same in all four of a block."""
    return 1 + patient // 4 % most


def group_of(seed: int, patient: int) -> tuple[Margin, str]:
    """Class and site of a patient.

    Of two patients one has each class, in random order; sites change from pair to pair. So any
    even number of patients is balanced, and four in a row hold every combination once.
    """
    pair, place = divmod(patient, 2)
    swapped = int(_generator(seed, pair, stream=0).integers(2))
    margin: Margin = "spiculated" if place != swapped else "smooth"
    return margin, "AB"[pair % 2]


def make_phantom(seed: int, patient: int, scan: int) -> PhantomScan:
    """Makes one volume, as a pure function of its arguments (each at least 0)."""
    margin, site = group_of(seed, patient)
    anatomy = draw_anatomy(_generator(seed, patient, stream=1), margin)
    rng = _generator(seed, patient, stream=2 + scan)
    in_plane = round(rng.uniform(1.2, 1.6), 2)
    spacing = np.array([in_plane, in_plane, round(rng.uniform(1.5, 3.0), 2)])
    shape = np.ceil(FIELD_MM / spacing).astype(int) + rng.integers(0, 4, 3)
    origin = rng.uniform(-150.0, 150.0, 3).round(1)
    middle = origin + spacing * (shape - 1) / 2 + rng.uniform(-2.0, 2.0, 3)
    turn = rotation(np.deg2rad(rng.uniform(-12.0, 12.0, 3)))
    # world = middle + turn @ patient, so the patient's coordinates need the transpose
    world = [origin[i] + spacing[i] * np.arange(shape[i]) - middle[i] for i in range(3)]
    x, y, z = np.meshgrid(*world, indexing="ij", sparse=True)
    points = np.stack([turn[0, i] * x + turn[1, i] * y + turn[2, i] * z for i in range(3)])
    points = points.astype(np.float32)
    scanned = _scanned(anatomy.hounsfield(points), spacing, SITES[site], rng)
    axes = str(rng.choice(ORIENTATIONS))
    voxels, affine = stored(scanned, spacing, origin, axes)
    marked = (anatomy.lesion_cover(points) >= 0.5).astype(np.uint8)
    mask, _ = stored(marked, spacing, origin, axes)
    lesion = middle + turn @ anatomy.lesion_centre
    return PhantomScan(voxels, mask, affine, margin, site, lesion, anatomy.lesion_mm)


def _scanned(
    ideal: npt.NDArray[np.float32], spacing: Doubles, site: Site, rng: np.random.Generator
) -> npt.NDArray[np.int16]:
    """What the site's scanner makes of the ideal grey values: noise, offset, whole HU.

    The kernel shapes the noise only. Blurring the lesion as well would grey a large surface more
    than a small one, and so show the class in the histogram.
    """
    grain = rng.standard_normal(ideal.shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(grain, site.kernel_mm / spacing)
    noise = grain * np.float32(site.noise / grain.std())
    return np.clip(np.rint(ideal + noise + site.offset), -1024, 3071).astype(np.int16)


def stored(
    voxels: npt.NDArray[Voxel], spacing: Doubles, origin: Doubles, axes: str
) -> tuple[npt.NDArray[Voxel], Doubles]:
    """Flips and permutes a RAS+ volume into another order of axes, and makes its affine.

    Args:
        voxels: Volume whose axes grow to the right, front and top.
        spacing: Voxel size in mm, shape (3,).
        origin: Centre of the first voxel in mm, shape (3,).
        axes: Direction in which each stored axis grows, e.g. `LPS`.

    Returns:
        The stored volume, and its affine to RAS+ millimetres, shape (4, 4).
    """
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = 0.0, origin
    order = ["RAS".find(letter) if letter in "RAS" else "LPI".find(letter) for letter in axes]
    for column, (axis, letter) in enumerate(zip(order, axes, strict=True)):
        backwards = letter in "LPI"
        affine[axis, column] = -spacing[axis] if backwards else spacing[axis]
        if backwards:
            affine[axis, 3] += spacing[axis] * (voxels.shape[axis] - 1)
            voxels = np.flip(voxels, axis)
    return np.ascontiguousarray(voxels.transpose(order)), affine


def nifti_bytes(phantom: PhantomScan) -> bytes:
    """The compressed NIfTI-1 file of a phantom: equal phantoms give equal bytes."""
    return _nifti_bytes(phantom.voxels, phantom.affine)


def mask_bytes(phantom: PhantomScan) -> bytes:
    """The same of the mask of its lesion."""
    return _nifti_bytes(phantom.mask, phantom.affine)


def _nifti_bytes(voxels: npt.NDArray[Voxel], affine: Doubles) -> bytes:
    image = nib.Nifti1Image(voxels, affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    # Noise hardly compresses, so a higher level costs time and gains nothing.
    return gzip.compress(image.to_bytes(), compresslevel=4, mtime=0)


def _row(phantom: PhantomScan, patient: int, scan: int) -> dict[str, object]:
    patient_id = f"phantom_{patient:04d}"
    case_id = f"{patient_id}_{scan}"
    lesion = (round(float(value), 2) for value in (*phantom.lesion, phantom.lesion_mm))
    names = (f"images/{case_id}.nii.gz", phantom.margin, patient_id, case_id, phantom.site)
    mask = f"masks/{case_id}.nii.gz"
    return dict(zip(COLUMNS, (*names, mask, *lesion), strict=True))


def _origin(config: PhantomConfig) -> dict[str, JsonValue]:
    return {"version": VERSION, "config": config.model_dump(mode="json")}


def _generator(seed: int, index: int, stream: int) -> np.random.Generator:
    """Independent random numbers for each (seed, index, stream)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, stream)))
