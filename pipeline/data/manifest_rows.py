"""Rows of a manifest, and whether the files that they name can be taken."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError
from .formats.dicom_folder import holds_dicom, real_path, split_series
from .manifest_columns import nearest_name

_SHOWN = 20
_ALLOW = "change its permissions"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: what its known columns hold, as text."""

    line: int
    cells: dict[str, str]
    image: Path
    covariates: tuple[tuple[str, str], ...] = ()
    mask: Path | None = None

    def get(self, column: str) -> str | None:
        """The cell of a column, or None where it is empty."""
        return self.cells.get(column) or None


class ManifestError(DataError):
    """A manifest of which some lines cannot be used.

    Args:
        found: Line and text of each problem.
        what: As of any error.
        where: As of any error.
        why: As of any error.
        remedy: As of any error.
    """

    def __init__(
        self, found: Sequence[tuple[int, str]], what: str, *, where: str, why: str, remedy: str
    ) -> None:
        super().__init__(what, where=where, why=why, remedy=remedy)
        self.found = tuple(sorted(found, key=lambda item: item[0]))


@dataclass(slots=True)
class Problems:
    """Everything wrong so far, by line."""

    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, code: str, text: str) -> None:
        """Notes a problem."""
        self.found.append((line, f"line {line}: {code}: {text}"))

    def refuse(self, path: Path) -> None:
        """Raises one ManifestError with all problems, or does nothing where there is none."""
        if not self.found:
            return
        count = len(self.found)
        listed = [text for _, text in sorted(self.found, key=lambda item: item[0])[:_SHOWN]]
        if count > _SHOWN:
            listed.append(f"... and {count - _SHOWN} more, {count} in all")
        raise ManifestError(
            self.found,
            f"the manifest {path.name} has {count} problem{'s' if count > 1 else ''}",
            where=str(path),
            why="".join(f"\n    {text}" for text in listed),
            remedy="correct these lines and start again",
        )


@dataclass(frozen=True, slots=True)
class _Named:
    """A file as a row names it: its cell, how messages call it, and its path."""

    row: Row
    cell: str
    name: str
    path: Path


def check_images(
    rows: Sequence[Row], root: Path, outside_allowed: bool, problems: Problems
) -> None:
    """Every image exists, is a regular file or DICOM folder inside the root, and is named once."""
    for row in rows:
        if row.get("image") is None:
            problems.add(row.line, "E_EMPTY", "the image cell is empty")
    named = [
        _Named(row, row.cells["image"], row.cells["image"], row.image)
        for row in rows
        if row.get("image") is not None
    ]
    first: dict[Path, Row] = {}
    for file, target in _inside(named, root, outside_allowed, problems):
        row, other = file.row, first.setdefault(target, file.row)
        if other is row:
            continue
        if other.get("label") != row.get("label"):
            text = f"{row.get('label')!r} here, {other.get('label')!r} in line {other.line}"
            problems.add(row.line, "E_LABEL_CONFLICT", f"{file.name} is {text}")
        else:
            text = f"{file.name} is the file of line {other.line}"
            problems.add(row.line, "E_DUP_PATH", text)


def check_masks(rows: Sequence[Row], root: Path, outside_allowed: bool, problems: Problems) -> None:
    """Every mask that is named exists, is a regular file inside the root, and is no image.

    Cases may share a mask: that of one structure on scans that lie on one grid.
    """
    named = [
        _Named(row, row.cells["mask"].strip(), f"the mask {row.cells['mask'].strip()}", row.mask)
        for row in rows
        if row.mask is not None
    ]
    images = {real_path(row.image): row for row in rows if "\0" not in str(row.image)}
    for file, target in _inside(named, root, outside_allowed, problems):
        if target in images:
            text = f"{file.name} is the image of line {images[target].line}"
            problems.add(file.row.line, "E_DUP_PATH", text)


def _inside(
    named: Sequence[_Named], root: Path, outside_allowed: bool, problems: Problems
) -> Iterator[tuple[_Named, Path]]:
    """The files that lie where they may, with their real paths; the others are problems."""
    inside = Path(os.path.realpath(root))
    outside: list[_Named] = []
    for file in named:
        if "\0" in file.cell:
            problems.add(file.row.line, "E_MISSING", "the path holds a NUL character")
            continue
        target = real_path(file.path)
        if not (outside_allowed or target.is_relative_to(inside)):
            outside.append(file)
            continue
        _check_file(file, problems)
        yield file, target
    option = _option(outside)
    for file in outside:
        text = f"{file.name} leaves the data root {root}; to allow it: {option}"
        problems.add(file.row.line, "E_OUTSIDE_ROOT", text)


def _option(outside: Sequence[_Named]) -> str:
    """The exact override that admits these files."""
    if all(Path(file.cell).is_absolute() for file in outside):
        parents = [str(file.path.parent) for file in outside]
        if parents and (common := os.path.commonpath(parents)) != os.sep:
            return f"data.root={common} or data.allow_outside_root=true"
    return "data.allow_outside_root=true"


def _check_file(file: _Named, problems: Problems) -> None:
    line = file.row.line
    folder, series = split_series(file.path)
    try:
        mode = folder.stat().st_mode
        usable = holds_dicom(folder) if stat.S_ISDIR(mode) else stat.S_ISREG(mode) and not series
    except (FileNotFoundError, NotADirectoryError):
        near = nearest_name(folder) if len(problems.found) < _SHOWN else None
        hint = f"; the nearest name there is {near}" if near else ""
        problems.add(line, "E_MISSING", f"{file.name} does not exist{hint}")
    except PermissionError:
        problems.add(line, "E_PERMISSION", f"{file.name} may not be reached: {_ALLOW}")
    except OSError as error:
        problems.add(line, "E_IO", f"{file.name} cannot be reached: {error.strerror}")
    else:
        if not usable:
            problems.add(line, "E_IRREGULAR", f"{file.name} is {_kind(mode)}")
        elif not os.access(folder, os.R_OK):
            problems.add(line, "E_PERMISSION", f"{file.name} may not be read: {_ALLOW}")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory without DICOM images"
    return "a file, which holds no series" if stat.S_ISREG(mode) else "not a regular file"
