"""Rows of a manifest, and whether the files that they name can be taken."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from ..errors import DataError
from .formats.dicom_folder import holds_dicom, real_path, split_series
from .manifest_columns import nearest_name

_SHOWN = 20
_ALLOW = "change its permissions"
_ALLOW_OUTSIDE = "data.allow_outside_root=true"


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


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line.

    Attributes:
        line: From 1.
        text: Code and reason, for whoever sits at the table: with files as it names them.
        shared: The same for a page, which others see: of a file its name alone.
    """

    line: int
    text: str
    shared: str


class ManifestError(DataError):
    """A manifest of which some lines cannot be used.

    Args:
        found: Each problem.
        what: As of any error.
        where: As of any error.
        why: As of any error.
        remedy: As of any error.
    """

    def __init__(
        self, found: Sequence[Problem], what: str, *, where: str, why: str, remedy: str
    ) -> None:
        super().__init__(what, where=where, why=why, remedy=remedy)
        self.found = tuple(sorted(found, key=lambda item: item.line))


@dataclass(slots=True)
class Problems:
    """Everything wrong so far, by line."""

    found: list[Problem] = field(default_factory=list)

    def add(self, line: int, code: str, text: str, shared: str | None = None) -> None:
        """Notes a problem; `shared` says it without folders and unread cells, where `text` does."""
        told = text if shared is None else shared
        self.found.append(Problem(line, f"{code}: {text}", f"{code}: {told}"))

    def refuse(self, path: Path) -> None:
        """Raises one ManifestError with all problems, or does nothing where there is none."""
        if not self.found:
            return
        count = len(self.found)
        first = sorted(self.found, key=lambda item: item.line)[:_SHOWN]
        listed = [f"line {item.line}: {item.text}" for item in first]
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
    """A file as a row names it.

    Attributes:
        row: The row.
        cell: What its cell holds.
        path: The path.
        kind: What messages put before its name.
    """

    row: Row
    cell: str
    path: Path
    kind: str = ""

    def refuse(self, problems: Problems, code: str, text: str, shared: str | None = None) -> None:
        """Notes what is wrong with it, in words that follow its name; `shared` if they differ."""
        # A cell may be written for another system than this.
        name = PureWindowsPath(self.cell).name or self.cell.strip("\\/")
        name = name if name == self.cell else f"…/{name}"
        short = f"{self.kind}{name} {text if shared is None else shared}"
        problems.add(self.row.line, code, f"{self.kind}{self.cell} {text}", short)


def check_images(
    rows: Sequence[Row], root: Path, outside_allowed: bool, problems: Problems
) -> None:
    """Every image exists, is a regular file or DICOM folder inside the root, and is named once."""
    for row in rows:
        if row.get("image") is None:
            problems.add(row.line, "E_EMPTY", "the image cell is empty")
    named = [
        _Named(row, row.cells["image"], row.image) for row in rows if row.get("image") is not None
    ]
    first: dict[Path, Row] = {}
    for file, target in _inside(named, root, outside_allowed, problems):
        row, other = file.row, first.setdefault(target, file.row)
        if other is row:
            continue
        if other.get("label") != row.get("label"):
            text = f"is {row.get('label')!r} here, {other.get('label')!r} in line {other.line}"
            file.refuse(problems, "E_LABEL_CONFLICT", text)
        else:
            file.refuse(problems, "E_DUP_PATH", f"is the file of line {other.line}")


def check_masks(rows: Sequence[Row], root: Path, outside_allowed: bool, problems: Problems) -> None:
    """Every mask that is named exists, is a regular file inside the root, and is no image.

    Cases may share a mask: that of one structure on scans that lie on one grid.
    """
    named = [
        _Named(row, row.cells["mask"].strip(), row.mask, "the mask ")
        for row in rows
        if row.mask is not None
    ]
    images = {real_path(row.image): row for row in rows if "\0" not in str(row.image)}
    for file, target in _inside(named, root, outside_allowed, problems):
        if target in images:
            file.refuse(problems, "E_DUP_PATH", f"is the image of line {images[target].line}")


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
        text = f"leaves the data root {root}; to allow it: {option}"
        short = f"leaves the data root; to allow it: {_ALLOW_OUTSIDE}"
        file.refuse(problems, "E_OUTSIDE_ROOT", text, short)


def _option(outside: Sequence[_Named]) -> str:
    """The exact override that admits these files."""
    if all(Path(file.cell).is_absolute() for file in outside):
        parents = [str(file.path.parent) for file in outside]
        if parents and (common := os.path.commonpath(parents)) != os.sep:
            return f"data.root={common} or {_ALLOW_OUTSIDE}"
    return _ALLOW_OUTSIDE


def _check_file(file: _Named, problems: Problems) -> None:
    folder, series = split_series(file.path)
    try:
        mode = folder.stat().st_mode
        usable = holds_dicom(folder) if stat.S_ISDIR(mode) else stat.S_ISREG(mode) and not series
    except (FileNotFoundError, NotADirectoryError):
        near = nearest_name(folder) if len(problems.found) < _SHOWN else None
        hint = f"; the nearest name there is {near}" if near else ""
        file.refuse(problems, "E_MISSING", f"does not exist{hint}", "does not exist")
    except PermissionError:
        file.refuse(problems, "E_PERMISSION", f"may not be reached: {_ALLOW}")
    except OSError as error:
        file.refuse(problems, "E_IO", f"cannot be reached: {error.strerror}")
    else:
        if not usable:
            file.refuse(problems, "E_IRREGULAR", f"is {_kind(mode)}")
        elif not os.access(folder, os.R_OK):
            file.refuse(problems, "E_PERMISSION", f"may not be read: {_ALLOW}")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory without DICOM images"
    return "a file, which holds no series" if stat.S_ISREG(mode) else "not a regular file"
