"""What one bad file of the collection is: how it is made, and what must become of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from ..data.formats.inflater import GZIP_MAGIC
from ..storage import make_folder, remove_folder, rename, write_bytes
from .privileges import can_be_plain

#: `refuse`: no manifest with it is taken; `quarantine`: the case is left out and named; `warn`: it
#: is read and a finding says what is doubtful; `ok`: it is read, and nothing need be said.
Outcome = Literal["refuse", "quarantine", "warn", "ok"]
Table = list[list[str]]
HEADER = ["image", "label", "patient_id", "case_id"]


@dataclass(frozen=True, slots=True)
class BadFile:
    """A bad file, or manifest, of the collection.

    Attributes:
        row: Its row in table A, 1 to 58.
        name: What is wrong with it, in words; unique in its row.
        expected: What must become of it.
        codes: The codes of which one must be given; none for `ok`.
        plant: Writes what is bad into a folder and gives the image cell of its case, relative to
            the folder; None where the manifest alone is bad.
        table: Makes the manifest of the good rows and the bad one (the last), with its header; or
            its bytes, where not even the table is sound.
        data: Further keys of the section `data`.
        twin: Whether the file must be read as exactly the reference volume.
        privileged: Whether a process that may read everything would not notice; it is read by one
            that may not.
    """

    row: int
    name: str
    expected: Outcome
    codes: tuple[str, ...] = ()
    plant: Callable[[Path], str] | None = None
    table: Callable[[Table], Table | bytes] | None = None
    data: Mapping[str, JsonValue] = field(default_factory=dict)
    twin: bool = False
    privileged: bool = False

    @property
    def possible(self) -> bool:
        """Whether this process can be shown the fault at all."""
        return not self.privileged or can_be_plain()

    def manifest(self, good: Sequence[Sequence[str]], cell: str | None) -> bytes:
        """The manifest of the good cases beside the bad one, as it lies on disk."""
        rows: Table = [list(row) for row in good]
        if cell is not None:
            rows.append([cell, "AD", "bad", "bad"])
        table = [HEADER, *rows] if self.table is None else self.table([HEADER, *rows])
        return table if isinstance(table, bytes) else csv_bytes(table)


def csv_bytes(table: Table, separator: str = ",") -> bytes:
    """A table as the bytes of a CSV file."""
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


def one_file(name: str, content: bytes) -> Callable[[Path], str]:
    """Plants one file of that name."""

    def plant(folder: Path) -> str:
        make_folder(folder)
        # A name of 255 bytes leaves no room for that of the file that is written first.
        write_bytes(folder / "written", content)
        rename(folder / "written", folder / name)
        return name

    return plant


def bad_volume(
    row: int,
    name: str,
    content: bytes,
    *codes: str,
    expected: Outcome = "quarantine",
    file: str = "",
    data: Mapping[str, JsonValue] | None = None,
    twin: bool = False,
) -> BadFile:
    """A bad file that is one volume.

    Args:
        row: As in `BadFile`, like `name`, `codes`, `expected`, `data` and `twin`.
        name: What is wrong with it.
        content: Of the file.
        codes: Of which one must be given.
        expected: What must become of it.
        file: Its name; by default that of a NIfTI file, compressed where the content is.
        data: Further keys of the section `data`.
        twin: Whether it must be read as the reference volume.
    """
    file = file or ("x.nii.gz" if content.startswith(GZIP_MAGIC) else "x.nii")
    return BadFile(row, name, expected, codes, one_file(file, content), data=data or {}, twin=twin)


def remove_planted(place: Path) -> None:
    """Removes what a bad file was planted into, were it locked."""
    if not place.exists():
        return
    for folder in place.iterdir():
        if folder.is_dir() and not folder.is_symlink():
            folder.chmod(0o700)
    remove_folder(place)
