"""Rows 45 to 53 and 58: tables that contradict themselves, and text that is meant to harm."""

from __future__ import annotations

from collections.abc import Callable

from .bad_file import BadFile, Outcome, Table, csv_bytes, one_file
from .volumes import GOOD_GZ, nifti, packed, patched, voxels
from .volumes import SLOPE as _SLOPE

_FIRST = packed(nifti(voxels(1)))  # of the good cases
_AGAIN = packed(patched(nifti(voxels(1)), _SLOPE, "f", 1.0) + bytes(9))  # the same voxels
_HOSTILE = (
    ("formula", '=HYPERLINK("http://x","y")'),
    ("script", "<script>alert(1)<script>"),
    ("image", '"><img src=x onerror=alert(1)>'),
)


def _last(**cells: str) -> Callable[[Table], Table]:
    """The bad row with other cells."""

    def change(table: Table) -> Table:
        *rows, last = table
        header = rows[0]
        return [*rows, [cells.get(name, cell) for name, cell in zip(header, last, strict=True)]]

    return change


def _again(label: str) -> Callable[[Table], Table]:
    """The first good row once more, with this label, under another case."""

    def change(table: Table) -> Table:
        return [*table, [table[1][0], label, table[1][2], "again"]]

    return change


def _joined(separator: str, start: bytes = b"", end: bytes = b"\n") -> Callable[[Table], bytes]:
    return lambda table: start + csv_bytes(table, separator).replace(b"\n", end)


def _without(column: str) -> Callable[[Table], Table]:
    def change(table: Table) -> Table:
        place = table[0].index(column)
        return [[cell for at, cell in enumerate(row) if at != place] for row in table]

    return change


def _one_class(table: Table) -> Table:
    return [table[0], *([row[0], "AD", *row[2:]] for row in table[1:])]


def _few_patients(table: Table) -> Table:
    """All cases of the second class belong to one patient."""
    return [
        table[0],
        *([*row[:2], "one" if row[1] == "CN" else row[2], row[3]] for row in table[1:]),
    ]


def _short_row(table: Table) -> Table:
    return [*table[:-1], table[-1][:-1]]


def _extra_cell(table: Table) -> Table:
    return [*table[:-1], [*table[-1], "more"]]


def _bad(
    row: int,
    name: str,
    expected: Outcome,
    table: Callable[[Table], Table | bytes] | None,
    *codes: str,
    file: str = "x.nii.gz",
    content: bytes = GOOD_GZ,
) -> BadFile:
    return BadFile(row, name, expected, codes, one_file(file, content), table)


def manifest_faults() -> list[BadFile]:
    """Rows 45 to 53 and 58."""
    typo, conflict = "E_LABEL_TYPO", "E_LABEL_CONFLICT"
    return [
        _bad(45, "the same cell", "refuse", _again("CN"), "E_DUP_PATH"),
        _bad(45, "another way to write it", "refuse",
             lambda table: [*table, ["./good/../" + table[1][0], "CN", "other", "again"]],
             "E_DUP_PATH"),
        _bad(46, "of one path", "refuse", _again("AD"), conflict),
        _bad(46, "of one content", "refuse", _last(patient_id="p0"), conflict,
             content=_AGAIN),
        _bad(47, "one patient", "ok", _last(patient_id="p0")),
        _bad(47, "one patient with two labels", "ok", _last(patient_id="p0", label="CN")),
        _bad(48, "other bytes", "refuse", _last(label="CN"), "E_DUP_CONTENT", content=_AGAIN),
        _bad(48, "the same bytes", "refuse", _last(label="CN"), "E_DUP_CONTENT", content=_FIRST),
        _bad(49, "a letter too many", "refuse", _last(label="ADD"), typo),
        _bad(49, "case", "refuse", _last(label="Ad"), typo),
        _bad(49, "blank", "refuse", _last(label="AD "), typo),
        _bad(50, "leading zeros", "ok", _last(patient_id="001", case_id="0017")),
        _bad(50, "a number in disguise", "ok", _last(patient_id="1E5", case_id="1E5")),
        _bad(50, "label NA", "ok", lambda table: [["NA" if c == "CN" else c for c in row]
             for row in table]),
        _bad(50, "no label", "refuse", _last(label=""), "E_EMPTY"),
        _bad(51, "byte order mark and CRLF", "ok", _joined(",", b"\xef\xbb\xbf", b"\r\n")),
        _bad(51, "semicolon", "ok", _joined(";")),
        _bad(51, "tab", "ok", _joined("\t")),
        _bad(51, "vertical bar", "refuse", _joined("|")),
        _bad(52, "no column of images", "refuse", _without("image")),
        _bad(52, "no column of labels", "refuse", _without("label")),
        _bad(52, "a cell too many", "refuse", _extra_cell, "E_CELLS"),
        _bad(52, "a cell too few", "refuse", _short_row, "E_CELLS"),
        _bad(53, "one class", "refuse", _one_class, "E_ONE_CLASS"),
        _bad(53, "one patient of a class", "refuse", _few_patients),
        *(_bad(58, f"{name} as an id", "ok", _last(patient_id=text, case_id=text))
          for name, text in _HOSTILE),
        *(_bad(58, f"{name} as a file name", "ok", None, file=text.replace("/", "") + ".nii.gz")
          for name, text in _HOSTILE),
        _bad(58, "script as a label", "ok", lambda table: [[
             "<script>alert(1)</script>" if c == "CN" else c for c in row] for row in table]),
    ]  # fmt: skip
