"""Cases that a user names: volumes one by one or by their folders, and manifests."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..config import DataConfig
from ..errors import DataError
from ..printable import printable
from ..progress import Display
from .cases import Case
from .formats.dicom_folder import split_series
from .manifest import read_manifest
from .volume_files import VOLUME_SUFFIXES, find_series, find_volumes, numbered, stem_of


def input_cases(
    inputs: Sequence[Path], data: DataConfig, rooted: bool, display: Display
) -> list[Case]:
    """Cases of all inputs; a manifest is read under the run's rules about paths.

    `data.root` of the run holds for its own manifest alone: another one has its own root.

    Args:
        inputs: Volumes (a DICOM folder is one, or `FOLDER#series=HASH`), folders of volumes, or
            manifests (`.csv`, `.tsv`).
        data: The section `data` of the run.
        rooted: Whether `data.root` is meant for these inputs, not for the run's own manifest.
        display: Where it is shown which volume got which number.

    Returns:
        Cases of manifests under their ids there. Other files are called by their own names; where
        these repeat they are numbered, e.g. `CT` and `CT_2`, for folders may be called by people.

    Raises:
        DataError: An input is missing, holds no volume, lacks the covariates that the section
            names, or is named twice.
    """
    listed: dict[int, list[Case]] = {}
    for place, path in enumerate(inputs):
        if path.suffix.lower() in (".csv", ".tsv"):
            change = {"source": "manifest", "manifest": str(path), "splits": None}
            own = data.manifest is not None and Path(data.manifest).resolve() == path.resolve()
            root = {} if rooted or own else {"root": None}
            manifest = data.model_copy(update={**change, **root})
            read = read_manifest(manifest, labels_required=False)
            listed[place] = list(read.cases)
            for line in read.numbering():
                display.line(line)
        elif data.covariates:
            raise DataError(
                "this run reads covariates, and a volume alone has none",
                where=str(path),
                why=f"its networks need {', '.join(data.covariates)} of every case",
                remedy="name the volumes in a manifest with these columns",
            )
    ids = [case.case_id for cases in listed.values() for case in cases]
    others = [place for place in range(len(inputs)) if place not in listed]
    volumes = named_volumes([inputs[place] for place in others], ids)
    for place, group in zip(others, volumes, strict=True):
        listed[place] = [Case(name, name, file) for name, file in group]
    for line in renamed([pair for group in volumes for pair in group]):
        display.line(printable(line))
    cases = [case for place in range(len(inputs)) for case in listed[place]]
    ids = [case.case_id for case in cases]
    repeated = sorted(name for name, count in Counter(ids).items() if count > 1)
    if repeated:
        raise DataError(
            f"several inputs have the name {', '.join(repeated[:5])}",
            remedy="name them apart, or list them in a manifest with a case_id column",
        )
    return cases


def named_volumes(
    inputs: Sequence[Path], known: Sequence[str] = ()
) -> list[list[tuple[str, Path]]]:
    """The volumes of all inputs with names that differ, e.g. `CT`, `CT_2` and `MR`.

    A volume is called by its file's name, or by that of its folder if it is a DICOM series; where
    names repeat, they are numbered in the order of the inputs and of the paths below them.

    Args:
        inputs: Volumes (a DICOM folder is one, or `FOLDER#series=HASH`), or folders of volumes.
        known: Names that others have already.

    Returns:
        For each input the names and paths of its volumes.

    Raises:
        DataError: An input is missing, holds no volume, or is named twice.
    """
    groups = [_volume_files(path) for path in inputs]
    files = [file for group in groups for file in group]
    _check_once(files)
    names = iter(numbered([stem_of(_plain(file).name) for file in files], known))
    return [[(next(names), file) for file in group] for group in groups]


def renamed(named: Sequence[tuple[str, Path]]) -> list[str]:
    """Which volume got which name, a line for each of those whose file's name others have too.

    To be shown and not to be kept: it tells folders.
    """
    stems = [stem_of(_plain(file).name) for _, file in named]
    clashing = {stem for stem, (name, _) in zip(stems, named, strict=True) if name != stem}
    return [
        f"{name} is {file}"
        for stem, (name, file) in zip(stems, named, strict=True)
        if stem in clashing
    ]


def _check_once(files: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for file in files:
        path = _plain(file)
        if path in seen:
            raise DataError(
                f"several inputs have the name {stem_of(path.name)}",
                where=str(file),
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
