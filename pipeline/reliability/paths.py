"""Rows 39 to 44: names that mislead, things that are no files, and files that may not be read."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

from ..storage import make_folder, write_bytes
from .bad_file import BadFile, one_file
from .series import planted
from .volumes import GOOD, GOOD_GZ, nifti, voxels

_OTHER = nifti(voxels(99))
_NAMES = (
    ("unicode", "Müller_体積_\N{BRAIN}.nii.gz"),
    ("spaces", " a  b .nii.gz"),
    ("a line break", "a\nb.nii.gz"),
    ("quotes", "a'b\"c`d.nii.gz"),
    ("255 bytes", "x" * 248 + ".nii.gz"),
)


def _beside(folder: Path) -> None:
    """A volume and another one, whose names differ in `.gz` alone."""
    make_folder(folder)
    write_bytes(folder / "x.nii.gz", GOOD_GZ)
    write_bytes(folder / "x.nii", _OTHER)


def _packed_beside(folder: Path) -> str:
    _beside(folder)
    return "x.nii.gz"


def _plain_beside(folder: Path) -> str:
    make_folder(folder)
    write_bytes(folder / "x.nii", GOOD)
    write_bytes(folder / "x.nii.gz", _OTHER)  # named compressed, and another volume
    return "x.nii"


def _fifo(folder: Path) -> str:
    make_folder(folder)
    os.mkfifo(folder / "x.nii.gz")
    return "x.nii.gz"


def _socket(folder: Path) -> str:
    make_folder(folder)
    # The system allows names of about a hundred bytes; a relative one is short.
    with chdir(folder), socket.socket(socket.AF_UNIX) as listener:
        listener.bind("x.nii.gz")
    return "x.nii.gz"


def _folder(folder: Path) -> str:
    make_folder(folder / "x.nii.gz")
    return "x.nii.gz"


def _link_to(target: str) -> Callable[[Path], str]:
    def plant(folder: Path) -> str:
        make_folder(folder)
        (folder / "x.nii.gz").symlink_to(target)
        return "x.nii.gz"

    return plant


def _absolute(folder: Path) -> str:
    outside = folder.parent.parent / "outside"
    make_folder(outside)
    write_bytes(outside / "x.nii.gz", GOOD_GZ)
    return str(outside / "x.nii.gz")


def _upwards(folder: Path) -> str:
    outside = Path(_absolute(folder))
    make_folder(folder)
    return os.path.relpath(outside, folder)


def _leaving(folder: Path) -> str:
    return _link_to(_absolute(folder))(folder)


def _near(folder: Path) -> str:
    make_folder(folder)
    write_bytes(folder / "scan_17.nii.gz", GOOD_GZ)
    return "scan_71.nii.gz"


def _unreadable(folder: Path) -> str:
    cell = one_file("x.nii.gz", GOOD_GZ)(folder)
    (folder / cell).chmod(0)
    return cell


def _locked_folder(folder: Path) -> str:
    cell = planted(lambda _: None)(folder)
    (folder / cell).chmod(0)
    return cell


def _locked_slice(folder: Path) -> str:
    cell = planted(lambda _: None)(folder)
    (folder / cell / "IM0009").chmod(0)
    return cell


def path_faults() -> list[BadFile]:
    """Rows 39 to 44."""
    odd, outside, locked = ("E_IRREGULAR",), ("E_OUTSIDE_ROOT",), ("E_PERMISSION",)
    anywhere = {"allow_outside_root": True}
    return [
        BadFile(39, "the compressed one is named", "ok", plant=_packed_beside, twin=True),
        BadFile(39, "the plain one is named", "ok", plant=_plain_beside, twin=True),
        BadFile(40, "pipe", "refuse", odd, _fifo),
        BadFile(40, "socket", "refuse", odd, _socket),
        BadFile(40, "folder", "refuse", odd, _folder),
        BadFile(40, "device", "refuse", odd, _link_to("/dev/zero"), data=anywhere),
        BadFile(41, "absolute", "refuse", outside, _absolute),
        BadFile(41, "upwards", "refuse", outside, _upwards),
        BadFile(41, "link that leaves the root", "refuse", outside, _leaving),
        BadFile(41, "link to /etc/passwd", "refuse", outside, _link_to("/etc/passwd")),
        BadFile(42, "nothing like it", "refuse", ("E_MISSING",), lambda _: "nowhere.nii.gz"),
        BadFile(42, "a mistyped name", "refuse", ("E_MISSING",), _near),
        BadFile(42, "link to nothing", "refuse", ("E_MISSING",), _link_to("gone.nii.gz")),
        BadFile(43, "a file", "refuse", locked, _unreadable, privileged=True),
        BadFile(43, "a folder of slices", "refuse", locked, _locked_folder, privileged=True),
        BadFile(43, "a slice of a folder", "quarantine", locked, _locked_slice, privileged=True),
        *(
            BadFile(44, name, "ok", plant=one_file(file, GOOD_GZ), twin=True)
            for name, file in _NAMES
        ),
    ]
