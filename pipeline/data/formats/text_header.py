"""Text headers (NRRD, MetaImage): their fields, their numbers, and the data file that they name.

SimpleITK is not asked, for it opens whatever file a header names, and returns altered voxels with
no exception when compressed data are damaged. Each parser here takes less than the format allows
rather than guess: what it cannot place is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from ..volume import Reason, VolumeError
from .stored import beside

_MOST_BYTES = 1 << 20  # of a header; gradient tables and segment names take some ten thousand
_SEVERAL = re.compile(r"(?i:LIST$|LIST )|.*%[0-9]*d")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


class HeaderFields(dict[str, str]):
    """The fields of a text header; every fault is a refusal that names the field.

    Args:
        path: The volume, as messages name it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def state(self, name: str, text: str) -> None:
        """Takes note of a field.

        Raises:
            VolumeError: It is stated twice: readers disagree about which one counts.
        """
        if name in self:
            raise self.refusal(f"it states {name} twice")
        self[name] = text

    def required(self, name: str) -> str:
        """The text of a field that must be there."""
        if not self.get(name):
            raise self.refusal(f"it states no {name}")
        return self[name]

    def first_of(self, names: Sequence[str]) -> tuple[str, str] | None:
        """Name and text of the one field that is stated under any of its names.

        Raises:
            VolumeError: It is stated under two names with other texts.
        """
        found = [(name, self[name]) for name in names if name in self]
        if len({text for _, text in found}) > 1:
            raise self.refusal(f"{found[0][0]} and {found[1][0]} contradict each other")
        return found[0] if found else None

    def integers(self, name: str) -> list[int]:
        """The integers of a required field."""
        return self.parse_integers(name, self.required(name))

    def parse_integers(self, name: str, text: str) -> list[int]:
        """Integers that blanks separate."""
        words = text.split()
        if not words or not all(_INTEGER.fullmatch(word) for word in words):
            raise self.refusal(f"its {name} is {text[:60]!r}")
        return [int(word) for word in words]

    def parse_reals(self, name: str, text: str, separator: str | None = None) -> list[float]:
        """Real numbers, NaN included, that blanks or `separator` separate."""
        try:
            if "_" in text:  # Python's own way to group digits
                raise ValueError
            return [float(word) for word in text.split(separator)]
        except ValueError:
            raise self.refusal(f"its {name} is {text[:60]!r}") from None

    def finite(self, name: str, text: str, count: int) -> list[float]:
        """Exactly `count` finite numbers."""
        numbers = self.parse_reals(name, text)
        if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
            raise self.refusal(f"its {name} is {text[:60]!r}; {count} numbers are expected")
        return numbers

    def refusal(self, why: str, reason: Reason = Reason.E_HEADER) -> VolumeError:
        """The error for this header."""
        return VolumeError(reason, self.path, why)


def header_lines(path: Path, handle: BinaryIO) -> Iterator[str]:
    """The lines of a text header, without their ends, as they are asked for.

    The handle stands behind the line that was given last. The end of the file ends the lines.

    Raises:
        VolumeError: The header is longer than any real one.
    """
    total = 0
    while line := handle.readline(_MOST_BYTES - total):
        total += len(line)
        if total >= _MOST_BYTES:
            reason = f"it does not end within {_MOST_BYTES:,} bytes"
            raise VolumeError(Reason.E_HEADER, path, reason)
        # Every byte is a character of Latin-1, so no header fails here.
        yield line.decode("latin-1").rstrip("\r\n")


def data_file(path: Path, name: str) -> Path:
    """The file beside `path` that its header names for the voxels.

    Args:
        path: The header.
        name: What it says, as decoded from Latin-1.

    Raises:
        VolumeError: The name leaves the header's folder or stands for several files.
    """
    name = name.encode("latin-1").decode("utf-8", "surrogateescape")
    kinds = (PurePosixPath(name), PureWindowsPath(name))
    # Its last part alone: folders may be named after a patient.
    shown = repr(PureWindowsPath(name).name[:80])
    if _SEVERAL.match(name):
        raise VolumeError(Reason.E_DETACHED, path, f"{shown} stands for several files")
    if "\\" in name:
        reason = f"{shown} is a Windows path; put that file beside the header, and name it there"
        raise VolumeError(Reason.E_DETACHED, path, reason)
    if any(kind.anchor for kind in kinds) or any(".." in kind.parts for kind in kinds):
        raise VolumeError(Reason.E_DETACHED, path, f"{shown} may lie outside of its folder")
    if not name or not name.isprintable():
        raise VolumeError(Reason.E_DETACHED, path, f"{shown} is no name of a file")
    return beside(path, name)
