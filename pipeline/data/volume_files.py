"""Which files are volumes, by name alone: what a folder holds, and what a case may be called.

A folder with DICOM images in it is a volume too; as these have any name or none, their first bytes
tell. What a file really is decides its content, when it is read (`pipeline.data.formats.dispatch`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import DataError
from .formats.dicom_folder import holds_dicom

#: Endings of the files that name a volume, longest first. Of a header and its voxels in two files
#: (`.hdr` and `.img`, `.mhd` and `.raw`, `.nhdr` and `.raw`) the header names the volume.
VOLUME_SUFFIXES = (
    *(".nii.gz", ".hdr.gz", ".nii", ".hdr"),
    *(".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh"),
)
#: The second file of a pair; a user may name it in place of the header.
VOXEL_SUFFIXES = (".img.gz", ".img")


def stem_of(name: str) -> str:
    """A file's name without the ending that says it is a volume."""
    endings = (*VOLUME_SUFFIXES, *VOXEL_SUFFIXES, ".dcm")
    suffix = next((end for end in endings if name.lower().endswith(end)), "")
    return name[: len(name) - len(suffix)] or name


def numbered(names: Sequence[str], known: Iterable[str] = ()) -> list[str]:
    """Names that differ: those that repeat are `CT`, `CT_2`, `CT_3` in their order.

    No folder's name goes before them, for a folder may be called by a person.

    Args:
        names: As they are.
        known: Names that others have already.
    """
    taken, given = {*known}, {*names}
    last: dict[str, int] = {}
    different = []
    for name in names:
        number, new = last.get(name, 1), name
        while new in taken or (new != name and new in given):
            number += 1
            new = f"{name}_{number}"
        last[name] = number
        taken.add(new)
        different.append(new)
    return different


def is_volume(name: str) -> bool:
    """Whether a file of this name is taken for a volume when a folder is searched."""
    return name.lower().endswith(VOLUME_SUFFIXES) and not name.startswith(".")


def find_volumes(folder: Path) -> list[Path]:
    """All volumes below a folder, each once, sorted by path; hidden files and folders are skipped.

    Links to files are followed, links to folders are not: they may lead in circles.

    Raises:
        DataError: A folder cannot be read; without its volumes the rest would pass for all.
    """
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in sorted(names) if is_volume(name)]
    return sorted(found)


def find_series(folder: Path) -> list[Path]:
    """The folders with DICOM images in them, the given one and those below, sorted by path.

    Hidden files and folders are skipped, and links to folders are not followed.

    Raises:
        DataError: A folder, or a file that might be DICOM, cannot be read.
    """
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        unknown = [name for name in names if not (is_volume(name) or name.startswith("."))]
        try:
            if holds_dicom(Path(parent), unknown):
                found.append(Path(parent))
        except OSError as error:
            _refuse_unreadable(error)
    return sorted(found)


def _refuse_unreadable(error: OSError) -> None:
    raise DataError(
        "E_FOLDER: a folder cannot be searched for volumes",
        where=str(error.filename),
        why=error.strerror or str(error),
        remedy="make it readable (chmod u+rx), or move it away if it is not part of the data",
    ) from error
