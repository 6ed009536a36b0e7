"""A folder of DICOM files: whether one is, which files count, and how a series of it is named.

Nothing here decodes; a file is opened only after it was seen to be a regular one.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from ..volume import Reason, VolumeError

#: `FOLDER#series=3f2a91bc`: one series of a folder that holds several.
_CHOICE = re.compile(r"(?P<folder>.*)#series=(?P<series>[0-9A-Za-z.]{1,64})", re.DOTALL)
_HEAD_BYTES = 1024
_STORAGE = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.([0-9.]+)")
_DIRECTORY = b"1.2.840.10008.1.3.10"
#: Storage classes that hold no image of a patient (PS3.4, annex B.5): waveforms, presentation
#: states, maps, raw data with registrations and segmentations, reports, documents, plans and doses.
_NO_IMAGE = re.compile(rb"(9|11|30|66|67|88|104)(\.|$)|481\.[2-9]")


def split_series(path: Path) -> tuple[Path, str | None]:
    """The folder and the series that a path names; a file or folder of that very name comes first.

    Args:
        path: As a user writes it: `FOLDER`, or `FOLDER#series=HASH`.
    """
    match = _CHOICE.fullmatch(path.name)
    if match is None or os.path.lexists(path):
        return path, None
    return path.with_name(match["folder"]) if match["folder"] else path.parent, match["series"]


def real_path(path: Path) -> Path:
    """The path with links resolved; the same for every spelling of one series of one folder."""
    folder, series = split_series(path)
    real = os.path.realpath(folder)
    return Path(real) if series is None else Path(f"{real}#series={series}")


def holds_dicom(folder: Path, names: Iterable[str] | None = None) -> bool:
    """Whether a DICOM image lies in a folder itself, told by the first bytes of its files.

    Args:
        folder: The folder.
        names: Which of its files are looked at; all by default.

    Raises:
        OSError: The folder or a file cannot be read.
    """
    return first_image(folder, names) is not None


def first_image(folder: Path, names: Iterable[str] | None = None) -> Path | None:
    """The first DICOM image by name that lies in a folder itself; for the rest see `holds_dicom`.

    Raises:
        OSError: The folder or a file cannot be read.
    """
    files = folder.iterdir() if names is None else (folder / name for name in names)
    return next(filter(_is_image, sorted(files)), None)


def _is_image(file: Path) -> bool:
    if not file.is_file():  # a pipe would block, a device might answer for ever
        return False
    with file.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
    found = _STORAGE.search(head)
    if head[128:132] == b"DICM":
        return _DIRECTORY not in head and (found is None or not _NO_IMAGE.match(found[1]))
    without_preamble = head[:2] in (b"\x02\0", b"\x08\0", b"\0\x08")
    return without_preamble and found is not None and not _NO_IMAGE.match(found[1])


def regular_files(path: Path, folder: Path) -> dict[str, int]:
    """Names of all files of a folder, sorted, with their sizes in bytes; sub-folders are left out.

    Args:
        path: The volume, as messages name it.
        folder: Its folder.

    Raises:
        VolumeError: E_IRREGULAR: there is no file, or one is a pipe, a device, or a link that
            leaves the folder, be it to a folder. E_PERMISSION: one may not be read.
        OSError: The folder cannot be read.
    """
    here = Path(os.path.realpath(folder))
    sizes: dict[str, int] = {}
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = entry.name.encode(errors="backslashreplace").decode()
        target = Path(os.path.realpath(entry.path))
        if entry.is_symlink() and not (target.is_relative_to(here) and target.exists()):
            reason = f"{name} in it is a link that leaves the folder or leads nowhere"
            raise VolumeError(Reason.E_IRREGULAR, path, reason)
        if entry.is_dir():
            continue
        status = entry.stat()
        if not stat.S_ISREG(status.st_mode):
            reason = f"{name} in it is a pipe, socket or device"
            raise VolumeError(Reason.E_IRREGULAR, path, reason)
        if not os.access(entry.path, os.R_OK):
            raise VolumeError(Reason.E_PERMISSION, path, f"{name} in it may not be read")
        sizes[entry.name] = status.st_size
    if not sizes:
        raise VolumeError(Reason.E_IRREGULAR, path, "it is a directory without files")
    return sizes


def images_below(folder: Path) -> tuple[dict[str, int], int]:
    """The DICOM images in sub-folders of a folder at any depth, and how many sub-folders it has.

    Hidden files and folders are skipped, and links are not followed.

    Args:
        folder: The folder.

    Returns:
        Sizes in bytes by path relative to the folder, and the number of folders in it.

    Raises:
        OSError: A sub-folder or a file in it cannot be read.
    """
    sizes: dict[str, int] = {}
    count = 0
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if Path(parent) == folder:
            count = sum(not Path(parent, name).is_symlink() for name in folders)
            continue
        for file in (Path(parent, name) for name in sorted(names) if not name.startswith(".")):
            if not file.is_symlink() and _is_image(file):
                sizes[str(file.relative_to(folder))] = file.stat().st_size
    return sizes, count


def _raise(error: OSError) -> None:
    raise error
