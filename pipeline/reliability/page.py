"""The page of the measurement, in Markdown."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Sequence

from ..progress import duration
from .bad_file import Outcome
from .child import Death
from .comparison_part import side_by_side
from .examination import Examined
from .goals import failures, figures
from .measurement import Measured
from .prose import paragraph, points
from .reader_part import bomb_table, changed_bits, orientation_table
from .table import ROWS

TITLE = "# Reliability"
_LIBRARIES = ("numpy", "torch", "nibabel", "SimpleITK", "monai", "pydicom")
_HAPPENED: dict[Outcome | Death, str] = {
    "refuse": "refused",
    "quarantine": "left out",
    "warn": "taken, with a finding",
    "ok": "taken",
    "traceback": "TRACEBACK",
    "hang": "HANG",
    "died": "DIED",
}


def page(seen: Measured) -> str:
    """The whole page.

    Args:
        seen: What was measured.
    """
    parts = (
        _head(seen),
        _figures(seen),
        _rows(seen),
        _differences(seen.examined),
        side_by_side(seen.compared),
        changed_bits(seen),
        bomb_table(seen.bombs),
        orientation_table(seen.orientations),
        _limits(seen),
    )
    return "\n".join("\n".join([*lines, ""]) for lines in parts)


def _head(seen: Measured) -> list[str]:
    versions = ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)
    rows = ", ".join(map(str, seen.rows))
    part = [] if seen.whole else [f"**A part only: rows {rows} of {len(ROWS)}.**", ""]
    return [
        TITLE,
        "",
        *part,
        *paragraph(
            "Written by `make reliability` (`volclass reliability --out docs/reliability.md`) on",
            f"{datetime.date.today().isoformat()}, in {duration(seen.seconds)}.",
            "Every file is made by the command, from fixed seeds, in a temporary folder, and read",
            "by a process that is ended when it takes too long. The command ends with exit code 3",
            "where a figure does not hold.",
        ),
        "",
        *paragraph(
            f"volclass {_version('volclass')}, Python {platform.python_version()}, {versions};",
            f"{platform.system()}, {platform.machine()}.",
        ),
    ]


def _version(name: str) -> str:
    return importlib.metadata.version(name).split("+")[0]


def _figures(seen: Measured) -> list[str]:
    failed = failures(seen)
    said = ["What did not hold:", "", *(f"- {line}" for line in failed)]
    return [
        "## Figures",
        "",
        *(said if failed else ["All of them hold."]),
        "",
        "| figure | goal | found | holds |",
        "|---|---|---|---|",
        *(
            f"| {item.name} | {item.goal} | {item.found} | {'yes' if item.holds else '**no**'} |"
            for item in figures(seen)
        ),
    ]


def _rows(seen: Measured) -> list[str]:
    return [
        "## Bad inputs, row by row",
        "",
        *paragraph(
            "Each file stands in a manifest beside eight good cases, with `data.max_quarantine`",
            "at 1, and meets the checks that `volclass train` makes before it trains: manifest,",
            "folds, volumes, contents. *Refused*: nothing is trained, and all problems are listed",
            "at once. *Left out*: the case is named in `quarantine.csv`, and the good ones are",
            "used; by default, with `data.max_quarantine` at 0, nothing is trained either. *Taken,",
            "with a finding*: used, and the run and its report say what is doubtful. Where a row",
            "has several outcomes, it has several files, or one under several settings.",
        ),
        "",
        *paragraph(
            "*Silent*: taken without a word though something is wrong, or read as another volume.",
            "*Hangs*: not ended after 5 s, or the process died. *Told*: messages that name file or",
            "line, reason and remedy.",
        ),
        "",
        "| row | what is wrong | files | what a user gets | codes | silent | tracebacks | hangs "
        "| told | slowest |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            _row(number, [item for item in seen.examined if item.row == number])
            for number in seen.rows
        ),
    ]


def _row(number: int, items: Sequence[Examined]) -> str:
    ends = Counter(item.happened for item in items)
    gets = ", ".join(
        f"{word}: {ends[end]}" if len(ends) > 1 else word
        for end, word in _HAPPENED.items()
        if ends[end]
    )
    codes = ", ".join(sorted({f"`{code}`" for item in items for code in item.codes}))
    due = [item for item in items if item.happened != "ok"]
    told = f"{sum(item.told for item in due)} of {len(due)}" if due else ""
    slowest = f"{max(item.seconds for item in items):.2f} s" if items else ""
    return (
        f"| {number} | {ROWS[number].what} | {len(items)} | {gets} | {codes} "
        f"| {sum(item.silent for item in items)} | {ends['traceback']} "
        f"| {ends['hang'] + ends['died']} | {told} | {slowest} |"
    )


def _differences(items: Sequence[Examined]) -> list[str]:
    """Where the acceptance table says otherwise: on purpose, or not."""
    lines = []
    for number in sorted({item.row for item in items}):
        row = ROWS[number]
        others = [
            f"{item.name}: {_HAPPENED[item.happened]} {' '.join(item.codes)}".strip()
            for item in items
            if item.row == number and not row.allows(item.happened, item.codes)
        ]
        if row.differs or others:
            why = row.differs or f"not as the table says: {'; '.join(others)}"
            lines.append(f"Row {number}, {row.what}: {why}.")
    return [
        "## Where this differs from the acceptance table",
        "",
        "The rows are those of the table of bad inputs that the project was given.",
        *([""] if lines else []),
        *points(*lines),
    ]


def _limits(seen: Measured) -> list[str]:
    hidden = [f"What this process could not be shown: row {file}." for file in seen.left_out]
    return [
        "## What this does not show",
        "",
        *points(
            "How often such files occur. They are small and made for the purpose: each shows that "
            "a fault is met, not its rate in the field.",
            "What a header cannot tell: one that states the wrong side is believed, and slices "
            "that are missing at either end of a DICOM series are not seen.",
            "Damage in what has no checksum (`.nii`, raw NRRD and MetaImage, uncompressed DICOM), "
            "or from before a file was compressed: flipped bits there are other grey values.",
            "Several faults in one file, and disks that fail while they are read.",
            "Other versions of the libraries, and what programs around them check. The comparison "
            "counts answers to bad files; a library need not promise to refuse them.",
            *hidden,
        ),
    ]
