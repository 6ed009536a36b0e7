"""The MedMNIST 3D sets as a data source: official .npz files become NIfTI files and a manifest.

Yang et al. 2023, "MedMNIST v2", Scientific Data 10:41; the sets are published under CC BY 4.0.
A file is trusted by its MD5 alone. The sets come without geometry and without patients: voxels
count as cubes of 1 mm, the array's axes stand for x, y and z in their order, and which way they
point in the body is not known.
"""

from __future__ import annotations

import hashlib
import io
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from ...errors import ConfigError, DataError, StorageError
from ...storage import make_folder, read_json, sha256, write_bytes, write_json, write_table
from ..manifest_columns import nearest_name

VERSION = 1
"""Raised whenever the same .npz gives other files; older folders are then made anew."""
MANIFEST, RECORD, DOWNLOADS = "manifest.csv", "medmnist.json", "downloads"
COLUMNS = ("image", "label", "case_id", "split")
SPLITS = ("train", "val", "test")
_SECONDS = 30.0
"""Longest silence of the server; without a limit, a firewall that drops packets stops us."""


@dataclass(frozen=True, slots=True)
class MedmnistSet:
    """What MedMNIST 3.0.2 publishes about a set.

    Attributes:
        classes: Names; the place of a name is the label in the file.
        counts: Number of training, validation and test cases.
        md5: Digest of the .npz by voxels along an axis.
    """

    classes: tuple[str, ...]
    counts: tuple[int, int, int]
    md5: Mapping[int, str]


SETS = {
    "organmnist3d": MedmnistSet(
        (
            *("liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder"),
            *("heart", "lung-right", "lung-left", "spleen", "pancreas"),
        ),
        (971, 161, 610),
        {28: "a0c5a1ff56af4f155c46d46fbb45a2fe", 64: "58a2205adf14a9d0a189cb06dc78bf10"},
    ),
    "nodulemnist3d": MedmnistSet(
        ("benign", "malignant"),
        (1158, 165, 310),
        {28: "8755a7e9e05a4d9ce80a24c3e7a256f3", 64: "c47c5b7d457bf6332200d2ea6d64ecd8"},
    ),
    "fracturemnist3d": MedmnistSet(
        ("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"),
        (1027, 103, 240),
        {28: "6aa7b0143a6b42da40027a9dda61302f", 64: "f01d7e6316aedf4210da0da5b7437b42"},
    ),
    "adrenalmnist3d": MedmnistSet(
        ("normal", "hyperplasia"),
        (1188, 98, 298),
        {28: "bbd3c5a5576322bc4cdfea780653b1ce", 64: "17721accfe9fb005146a47d33bc54b2f"},
    ),
    "vesselmnist3d": MedmnistSet(
        ("vessel", "aneurysm"),
        (1335, 191, 382),
        {28: "b41fd4f7e7e2feedddb201585ecafa1b", 64: "6bb274a8846e1097066dcd64e2c4520f"},
    ),
    "synapsemnist3d": MedmnistSet(
        ("inhibitory synapse", "excitatory synapse"),
        (1230, 177, 352),
        {28: "1235b78a3cd6280881dd7850a78eadb6", 64: "43bd14ebf3af9d3dd072446fedc14d5e"},
    ),
}
"""All 3D sets; a test compares them with the installed `medmnist` package."""


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
    if _is_complete(name, size, folder):
        return folder / MANIFEST
    source = _downloaded(name, size, folder) if root is None else _found(name, size, root)
    make_folder(folder / "images")
    rows: list[dict[str, object]] = []
    digests: dict[str, JsonValue] = {}
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
    write_json(folder / RECORD, {**_origin(name, size), "sha256": digests})
    return folder / MANIFEST


def medmnist_note(name: str, size: int) -> str:
    """One line to print: the set, its official split, and what is not known about it."""
    counts = SETS[name].counts
    return (
        f"{name}, {size}^3: {sum(counts)} cases, official split {'/'.join(map(str, counts))}; "
        "MedMNIST publishes no patients"
    )


def file_name(name: str, size: int) -> str:
    """Name of the official file."""
    return f"{name}.npz" if size == 28 else f"{name}_{size}.npz"


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


def _is_complete(name: str, size: int, folder: Path) -> bool:
    try:
        record = read_json(folder / RECORD)
        if not isinstance(record, dict) or not isinstance(digests := record.get("sha256"), dict):
            return False
        if MANIFEST not in digests or record != {**_origin(name, size), "sha256": digests}:
            return False
        # All files of a set: 0.1 s at 28^3, 0.5 s at 64^3.
        return all(
            sha256((folder / file).read_bytes()) == digest for file, digest in digests.items()
        )
    except (OSError, StorageError):
        return False


def _found(name: str, size: int, root: Path) -> Path:
    """The official file in the user's folder."""
    path = root / file_name(name, size)
    remedy = f"{_by_hand(name, size)}; or set data.root=null to download it"
    try:
        _check_md5(path, name, size, remedy)
    except (FileNotFoundError, NotADirectoryError):
        near = nearest_name(path)
        if not root.is_dir():
            why = "data.root is not a folder"
        else:
            why = f"the nearest name there is {near}" if near else "no name there is like it"
        raise DataError(
            f"E_MISSING: there is no {path.name} in data.root",
            where=str(path),
            why=why,
            remedy=remedy,
        ) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"E_IO: {path.name} cannot be read", where=str(path), why=why) from None
    return path


def _check_md5(path: Path, name: str, size: int, remedy: str) -> None:
    with path.open("rb") as handle:
        # MD5 is what MedMNIST publishes: it tells damage and other versions, not forgery.
        digest = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False))
    expected = SETS[name].md5[size]
    if digest.hexdigest() != expected:
        raise DataError(
            f"E_MD5: {path.name} is not the official file",
            where=str(path),
            why=f"its MD5 is {digest.hexdigest()}, that of the official file is {expected}",
            remedy=remedy,
        )


def _by_hand(name: str, size: int) -> str:
    return (
        f"get {file_name(name, size)} (MD5 {SETS[name].md5[size]}) from the MedMNIST records on "
        "Zenodo, put it into a folder and set data.root=FOLDER"
    )


def _downloaded(name: str, size: int, folder: Path) -> Path:
    """The official file, fetched by the `medmnist` package; one that is there already is kept."""
    path = make_folder(folder.parent / DOWNLOADS) / file_name(name, size)
    if not path.is_file() or not _is_official(path, name, size):
        _fetch(name, size, path)
    return path


def _is_official(path: Path, name: str, size: int) -> bool:
    """False too for what a killed download left, which the package then fetches again."""
    try:
        _check_md5(path, name, size, remedy="")
    except (OSError, DataError):
        return False
    return True


def _fetch(name: str, size: int, path: Path) -> None:
    with _quiet():
        fetch = _downloader(name, size)
        try:
            fetch(split="val", root=str(path.parent), size=size, download=True)
            _check_md5(path, name, size, remedy=_by_hand(name, size))
        except (RuntimeError, OSError, ValueError) as error:
            # The package catches everything, Ctrl-C too, and raises a RuntimeError instead.
            cause = error.__context__ or error
            if not isinstance(cause, Exception):
                raise cause from None
            raise DataError(
                f"E_DOWNLOAD: {path.name} cannot be downloaded",
                where=f"data.name={name}, data.size={size}",
                why=str(cause) or type(cause).__name__,
                remedy=_by_hand(name, size),
            ) from error


def _downloader(name: str, size: int) -> Callable[..., object]:
    """The class of the set in the `medmnist` package."""
    try:
        # Here alone, since importing it makes a folder in the user's home.
        import medmnist

        package: Any = medmnist
        found: Callable[..., object] = getattr(package, package.INFO[name]["python_class"])
    except (ImportError, AttributeError, KeyError) as error:
        raise ConfigError(
            f"downloading {name} needs the medmnist package",
            where="data.root is not set",
            why=f"it cannot be used: {error}",
            remedy=f'pip install "volclass[medmnist]"; or {_by_hand(name, size)}',
        ) from error
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing of the package reaches the user's terminal, and a silent server is given up."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)
