"""What plain nibabel, SimpleITK, MONAI's LoadImage and our reader do with the same files."""

from __future__ import annotations

import os
import resource
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..data.formats.dicom_folder import split_series
from ..storage import make_folder
from .bad_file import BadFile, remove_planted
from .child import Death, in_child
from .output import caught_output
from .privileges import become_plain
from .readers import PEERS, Peer, reader
from .volumes import voxels

#: Accepted without a word, or with a warning; refused with the file's name in the error, or
#: without; or how the process ended. A sound file is read as it is, or altered without a word.
Verdict = Literal["silent", "warned", "named", "unnamed", "right", "altered"]

_MEMORY = 4 << 30
#: What shows among other volumes only, or is a rule of a project about paths.
_BEYOND_A_READER = frozenset({34, 35, 41, 57})


@dataclass(frozen=True, slots=True)
class Compared:
    """What readers do with one file.

    Attributes:
        row: Of table A.
        name: Of the file.
        sound: Whether it should be read as it is, without a word.
        verdicts: By reader; `traceback` is an error of the measurement itself.
    """

    row: int
    name: str
    sound: bool
    verdicts: dict[Peer, Verdict | Death]


def comparable(file: BadFile) -> bool:
    """Whether the file alone shows what is wrong with it, to a reader without settings.

    Tables are left out, with the same files read by other settings, and what only a set shows.
    """
    if file.plant is None or file.table is not None or not file.possible:
        return False
    if file.expected == "ok":
        return file.twin
    # A link to a device is one whatever the manifest says of the data root.
    return file.row not in _BEYOND_A_READER and (not file.data or file.row == 40)


def compare(
    files: Sequence[BadFile],
    folder: Path,
    advance: Callable[[], None],
    seconds: float = 5.0,
) -> list[Compared]:
    """What readers do with the files that are `comparable`, each by itself.

    Args:
        files: The bad files.
        folder: An empty folder for them.
        advance: Called after each of `files`.
        seconds: Most time for one reader and file.
    """
    found = []
    for number, file in enumerate(files):
        if comparable(file) and file.plant is not None:
            place = folder / f"root/bad_{number}"
            make_folder(place)
            path, choice = split_series(Path(os.path.normpath(place / file.plant(place))))
            if choice is None:  # which only we can be told
                verdicts = {peer: _judged(peer, file, path, seconds) for peer in PEERS}
                found.append(Compared(file.row, file.name, file.expected == "ok", verdicts))
            remove_planted(place)
        advance()
    return found


def _judged(peer: Peer, file: BadFile, path: Path, seconds: float) -> Verdict | Death:
    def verdict() -> str:
        if file.privileged:
            become_plain()
        return _verdict(peer, path, sound=file.expected == "ok")

    ran = in_child(verdict, str, seconds)
    return ran.result  # type: ignore[return-value]  # of the words of `_verdict`


def _verdict(peer: Peer, path: Path, *, sound: bool) -> Verdict:
    """What one reader does; in a child process, whose memory is bounded."""
    used = _virtual_bytes()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
    with caught_output():
        chosen = reader(peer)  # what a library says of itself is no warning about the file
    with caught_output() as written, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            image = chosen.load(path)
            if sound:
                right = np.array_equal(chosen.turned(image), voxels())
                return "right" if right else "altered"
        except Exception as error:  # any refusal counts
            return "named" if path.name in str(error) else "unnamed"
        return "warned" if any(map(_about_data, said)) or written() else "silent"


def _about_data(item: warnings.WarningMessage) -> bool:
    """Whether a warning is about the file, not about the libraries' own future."""
    return not issubclass(item.category, DeprecationWarning | FutureWarning)


def _virtual_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
