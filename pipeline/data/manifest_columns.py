"""How a user's table is laid out: its separator, its rows, and which column means what."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError

#: Canonical column -> other spellings, without case, blanks, `_`, `-` and `.`.
#: A `session` is not among them: its values repeat from patient to patient.
ALIASES: dict[str, tuple[str, ...]] = {
    "image": (
        *("path", "file", "filename", "filepath", "imagepath", "imagefile", "imagefilename"),
        *("img", "imgpath", "scan", "scanpath", "volume", "volumepath", "nifti", "niftipath"),
        *("channel0", "images"),
    ),
    "label": ("class", "target", "diagnosis", "y", "labels", "valuetopredict", "classname"),
    "patient_id": (
        *("patient", "patientid", "patientno", "patientnumber", "pid", "mrn"),
        *("subject", "subjectid", "subj", "sub", "participant", "participantid"),
    ),
    "case_id": ("case", "caseid", "id", "scanid", "imageid"),
    "site": ("hospital", "center", "centre", "institution", "scanner"),
    "split": ("subset", "partition"),
    "mask": (
        *("masks", "maskpath", "maskfile", "labelmap", "roi", "roipath"),
        *("seg", "segpath", "segmentation", "segmentationpath", "segmentationfile"),
    ),
}
#: Columns that nobody looks for unless they are required; otherwise they are not used.
_ON_DEMAND = ("mask",)

_SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon"}
_REFUSED_SEPARATORS = {"|": "vertical bar", ":": "colon"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    Attributes:
        header: Names of the columns.
        rows: Line number (from 1) and cells of each row that is not blank.
        separator: `comma`, `tab` or `semicolon`.
    """

    header: list[str]
    rows: list[tuple[int, list[str]]]
    separator: str


def read_table(path: Path) -> Table:
    """Reads CSV in UTF-8, with or without a byte order mark; every cell stays text.

    Raises:
        DataError: The file is missing, empty, or no such table.
    """
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), None)
    if first is None:
        raise _empty("it holds no text")
    separator = _separator(first)
    lines = _lines(text, separator)
    if len(lines) == 1:
        raise _empty("it has a header line and no cases")
    header = [name.strip() for name in lines[0][1]]
    return Table(header, lines[1:], _SEPARATORS[separator])


def nearest_name(path: Path) -> str | None:
    """The name in the same folder that is most like a missing one."""
    try:
        names = sorted(other.name for other in path.parent.iterdir())
    except OSError:
        return None
    return next(iter(difflib.get_close_matches(path.name, names, 1)), None)


def _empty(why: str) -> DataError:
    remedy = "write a line image,label and one line for each volume"
    return DataError("E_EMPTY: the manifest is empty", why=why, remedy=remedy)


def _text(path: Path) -> str:
    if path.is_dir():
        raise DataError(
            f"E_IRREGULAR: the manifest {path.name} is a folder, not a table",
            remedy=f"volclass init {path} --out work/ makes a manifest of it",
        )
    if path.exists() and not path.is_file():
        # A pipe would block, a device never end.
        raise DataError(
            f"E_IRREGULAR: the manifest {path.name} is a pipe, socket or device",
            remedy="save it as a file",
        )
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        near = nearest_name(path)
        remedy = f"did you mean {near}?" if near else "correct data.manifest"
        raise DataError(f"E_MISSING: there is no manifest {path.name}", remedy=remedy) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"E_IO: the manifest {path.name} cannot be read", why=why) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(
            "E_ENCODING: the manifest is not UTF-8 text",
            where=f"{path}, line {line}",
            why=error.reason,
            remedy="save it as CSV UTF-8",
        ) from error


def _separator(header: str) -> str:
    widths = {mark: len(next(csv.reader([header], delimiter=mark), [])) for mark in _SEPARATORS}
    best = max(widths, key=lambda mark: widths[mark])
    other = next((name for mark, name in _REFUSED_SEPARATORS.items() if mark in header), None)
    if widths[best] == 1 and other is not None:
        raise DataError(
            f"E_SEPARATOR: the manifest's columns are separated by a {other}",
            why=f"its first line is {header.strip()!r}",
            remedy="save it as CSV with commas, semicolons or tabs",
        )
    return best


def _lines(text: str, separator: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((start, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"E_CSV: the manifest cannot be understood from line {start} on",
            why=str(error),
            remedy="look for a quotation mark without its partner",
        ) from error
    return lines


def find_columns(header: Sequence[str], required: Sequence[str]) -> dict[str, str]:
    """Canonical name -> the header that carries it.

    A column of the canonical name (in any case) is taken before all aliases; these then stay
    covariates.

    Raises:
        DataError: A required column is missing, or two columns claim one name.
    """
    found: dict[str, str] = {}
    for name, aliases in ALIASES.items():
        if name in _ON_DEMAND and name not in required:
            continue
        exact = [column for column in header if column.casefold() == name]
        claims = exact or [column for column in header if _bare(column) in (_bare(name), *aliases)]
        if len(claims) > 1:
            raise DataError(
                f"E_COLUMNS: {len(claims)} columns could be {name}",
                why="these: " + ", ".join(repr(column) for column in claims),
                remedy=f"rename the right one to {name}, or remove the others",
            )
        if claims:
            found[name] = claims[0]
    missing = [name for name in required if name not in found]
    if missing:
        remedy = "name the columns in the first line: image,label[,patient_id,case_id,site]"
        if missing == ["mask"]:
            remedy = "add it (cells may be empty), or train without masks: model.masks.weight=0"
        raise DataError(
            f"E_COLUMNS: the manifest has no column {' and no column '.join(missing)}",
            why="columns found: " + (", ".join(repr(column) for column in header) or "none"),
            remedy=remedy,
        )
    return found


def _bare(column: str) -> str:
    return "".join(letter for letter in column.casefold() if letter not in " _-.")
