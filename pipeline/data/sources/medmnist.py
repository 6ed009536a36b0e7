"""The MedMNIST 3D sets as a data source: official .npz files become NIfTI files and a manifest.

Yang et al. 2023, "MedMNIST v2", Scientific Data 10:41; the sets are published under CC BY 4.0.
A file is trusted by its MD5 alone. The sets come without geometry and without patients: voxels
count as cubes of 1 mm, the array's axes stand for x, y and z in their order, and which way they
point in the body is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from ...storage import make_folder, sha256, write_bytes, write_table
from .medmnist_files import downloaded_file, found_file
from .medmnist_sets import SETS
from .record import is_whole, write_record

VERSION = 1
"""Raised whenever the same .npz gives other files; older folders are then made anew."""
MANIFEST, RECORD = "manifest.csv", "medmnist.json"
COLUMNS = ("image", "label", "case_id", "split")
SPLITS = ("train", "val", "test")


def write_medmnist(
    name: str,
    size: int,
    root: Path | None,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes a set as NIfTI files with a manifest, or reuses a folder that already holds it.

    The record `medmnist.json` is written last and names the SHA-256 of every file, so a folder
    that was left half written or damaged is made anew; the .npz is needed only then.

    Args:
        name: Key of `SETS`.
        size: Voxels along each axis, 28 or 64.
        root: Folder that holds the official .npz; None downloads it to `folder/../downloads`.
        folder: Receives `images/`, `manifest.csv` and `medmnist.json`.
        progress: Called with the volumes done and the volumes in all, after each volume.

    Returns:
        Path of the manifest.

    Raises:
        ConfigError: A download is needed and the `medmnist` package is not installed.
        DataError: The .npz is missing, is another file, or cannot be downloaded.
        StorageError: A file cannot be written.
    """
    if is_whole(folder / RECORD, _origin(name, size), MANIFEST):
        return folder / MANIFEST
    source = downloaded_file(name, size, folder) if root is None else found_file(name, size, root)
    make_folder(folder / "images")
    rows: list[dict[str, object]] = []
    digests: dict[str, str] = {}
    total = sum(SETS[name].counts)
    for split, number, voxels, label in _cases(source):
        case_id = f"{split}_{number:04d}"
        image = f"images/{case_id}.nii"
        content = _nifti_bytes(voxels)
        write_bytes(folder / image, content)
        row = (image, SETS[name].classes[label], case_id, split)
        rows.append(dict(zip(COLUMNS, row, strict=True)))
        digests[image] = sha256(content)
        if progress is not None:
            progress(len(rows), total)
    write_table(folder / MANIFEST, COLUMNS, rows)
    digests[MANIFEST] = sha256((folder / MANIFEST).read_bytes())
    write_record(folder / RECORD, _origin(name, size), digests)
    return folder / MANIFEST


def _cases(source: Path) -> Iterator[tuple[str, int, npt.NDArray[np.uint8], int]]:
    """Split, number, voxels and label of each case; one split at a time is in memory."""
    with np.load(source, allow_pickle=False) as archive:
        for split in SPLITS:
            images, labels = archive[f"{split}_images"], archive[f"{split}_labels"]
            for number, (voxels, label) in enumerate(zip(images, labels.ravel(), strict=True)):
                yield split, number, voxels, int(label)


def _nifti_bytes(voxels: npt.NDArray[np.uint8]) -> bytes:
    """An uncompressed NIfTI-1 file: level 1 of gzip takes up to 2.7 times as long to write."""
    image = nib.Nifti1Image(voxels, np.eye(4))
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def _origin(name: str, size: int) -> dict[str, JsonValue]:
    return {"version": VERSION, "name": name, "size": size, "md5": SETS[name].md5[size]}
