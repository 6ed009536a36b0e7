"""Volumes that a user names one by one or by their folders, each with a name of its own."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from .formats.dicom_folder import split_series
from .formats.dicom_parts import check_parts
from .volume_files import VOLUME_SUFFIXES, find_series, find_volumes, stem_of


@dataclass(frozen=True, slots=True)
class _Found:
    """A volume with its name, and the folders that may be put before it, the nearest last."""

    name: str
    file: Path
    folders: tuple[str, ...]


def named_volumes(
    inputs: Sequence[Path], known: Sequence[str] = ()
) -> list[list[tuple[str, Path]]]:
    """The volumes of all inputs with names that differ, e.g. `CT`, or `p00_CT` and `p01_CT`.

    A volume is called by its file's name. Where names repeat below one folder, all below it get
    those of the folders between; where they still repeat, as many more as tell them apart.

    Args:
        inputs: Volumes (a DICOM folder is one, or `FOLDER#series=HASH`), or folders of volumes.
        known: Names that others have already.

    Returns:
        For each input the names and paths of its volumes.

    Raises:
        DataError: An input is missing, holds no volume, or is named twice; or two folders hold
            images of one DICOM series.
    """
    groups = [_found(_volume_files(path), path) for path in inputs]
    found = [item for group in groups for item in group]
    _check_once(found)
    check_parts([item.file for item in found])
    names = iter(_told_apart(found, known))
    return [[(next(names), item.file) for item in group] for group in groups]


def _found(files: Sequence[Path], folder: Path) -> list[_Found]:
    top, *plain = (_plain(path) for path in (folder, *files))
    names = [stem_of(file.name) for file in plain]
    if len(set(names)) == len(names):
        folders = [file.parent.parts[1:] for file in plain]
    else:
        parents = [file.parent.relative_to(top).parts if file != top else () for file in plain]
        names = ["_".join([*p, name]) for p, name in zip(parents, names, strict=True)]
        folders = [top.parts[1:] if file != top else top.parts[1:-1] for file in plain]
    return [_Found(*item) for item in zip(names, files, folders, strict=True)]


def _told_apart(found: Sequence[_Found], known: Sequence[str]) -> list[str]:
    """A name for each that no other has, nor stands among the `known`, if folders can tell."""
    names = [item.name for item in found]
    left = [list(item.folders) for item in found]
    while True:
        counts = Counter([*known, *names])
        repeated = [place for place, name in enumerate(names) if counts[name] > 1 and left[place]]
        if not repeated:
            return names
        for place in repeated:
            folder = re.sub(r"[^\w.-]+", "-", left[place].pop())
            names[place] = f"{folder}_{names[place]}"


def _check_once(found: Sequence[_Found]) -> None:
    seen: set[Path] = set()
    for item in found:
        path = _plain(item.file)
        if path in seen:
            raise DataError(
                f"several inputs have the name {item.name}",
                where=str(item.file),
                why="they are the same volume",
                remedy="name it once",
            )
        seen.add(path)


def _plain(path: Path) -> Path:
    """The absolute path without `..`, as it is written: links keep their names."""
    return Path(os.path.normpath(path.absolute()))


def _volume_files(path: Path) -> list[Path]:
    inside, series = split_series(path)
    if path.is_file() or (series is not None and inside.is_dir()):
        return [path.absolute()]
    if not path.exists():
        raise DataError("an input is missing", where=str(path), remedy="check its path")
    files = sorted([*find_volumes(path), *find_series(path)])
    if not files:
        raise DataError(
            "there is no volume in this folder",
            where=str(path),
            why=f"no file ends in one of {', '.join(VOLUME_SUFFIXES)}, and none is a DICOM image",
            remedy="check the path, or name the files one by one",
        )
    return [file.absolute() for file in files]
