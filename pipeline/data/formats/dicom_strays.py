"""Files of a DICOM folder that are no image: which are left out, and which may be lost slices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePath

from ..volume import Finding, Reason, VolumeError
from .dicom_header import Answer, listed

#: Names that discs, file browsers and people leave beside images.
_KNOWN_NAMES = {
    *("dicomdir", "lockfile", "thumbs.db", "desktop.ini", "autorun.inf"),
    *("readme", "license", "licence", "copying", "notice", "index", "version", "changelog"),
    *("manifest", "checksums", "md5sums", "sha1sums", "sha256sums"),
}
_KNOWN_SUFFIXES = {
    *(".txt", ".md", ".rst", ".log", ".pdf", ".html", ".htm", ".xml", ".json", ".yaml", ".yml"),
    *(".csv", ".tsv", ".xls", ".xlsx", ".doc", ".docx", ".ini", ".inf", ".cfg", ".db", ".sr"),
    *(".jpg", ".jpeg", ".png", ".gif", ".bmp", ".svg", ".zip", ".gz", ".tar", ".7z", ".rar"),
    *(".exe", ".dll", ".bat", ".sh", ".py", ".md5", ".sha1", ".sha256", ".bval", ".bvec"),
    *(".nii", ".hdr", ".img", ".nrrd", ".nhdr", ".raw", ".mha", ".mhd", ".mgh", ".mgz"),
}
_SLICE_SUFFIXES = (".dcm", ".ima", ".dicom", ".dic")
_UID = re.compile(r"[0-9]+(\.[0-9]+){3,}")
#: What `dicom_child` says of a file without a byte.
_EMPTY = "0 bytes"


def check_strays(path: Path, answers: Mapping[str, Answer]) -> None:
    """Refuses a folder with a file that was, or should be, a slice.

    That is a damaged DICOM file, and one that is no DICOM but is empty, or named like a slice: by
    the names or endings of the slices beside it, by a UID, or `.dcm`. Without it the volume might
    be too short, which nobody would see. Hidden files and well-known others are no slices.

    Args:
        path: The volume, as messages name it.
        answers: What each file of the folder is, by name.

    Raises:
        VolumeError: E_DICOM_SLICE: names the files.
    """
    images = [name for name, answer in answers.items() if answer.kind == "image"]
    names, endings = {_pattern(name) for name in images}, {_ending(name) for name in images}
    damaged: list[str] = []
    for name, answer in answers.items():
        if answer.kind == "damaged":
            damaged.append(f"{name}: {answer.what}")
        elif answer.kind == "none":
            like = _pattern(name) in names
            if not like and _is_known(name):
                continue
            if like or _ending(name) in endings or _is_named_as_slice(name):
                what = answer.what or "it is no DICOM file, but is named like the slices"
                damaged.append(f"{name}: {what}")
            elif answer.what == _EMPTY:
                damaged.append(f"{name}: {_EMPTY}")
    if damaged:
        raise VolumeError(Reason.E_DICOM_SLICE, path, listed(damaged))


def skipped(answers: Mapping[str, Answer], folders: int = 0) -> tuple[Finding, ...]:
    """What of the folder was left out, by kind.

    Args:
        answers: What each file of the folder is, by name.
        folders: Its sub-folders.
    """
    counts = Counter(
        answer.what if answer.kind == "other" else "no DICOM"
        for answer in answers.values()
        if answer.kind in ("other", "none")
    )
    told = [f"{count} {what}" for what, count in sorted(counts.items())]
    if folders:
        told.append(f"{folders} sub-folder{'s' if folders > 1 else ''}")
    return (Finding("W_SKIPPED", f"no part of the volume: {', '.join(told)}"),) if told else ()


def _is_known(name: str) -> bool:
    plain = PurePath(name.lower())
    return name.startswith(".") or plain.name in _KNOWN_NAMES or plain.suffix in _KNOWN_SUFFIXES


def _is_named_as_slice(name: str) -> bool:
    return name.lower().endswith(_SLICE_SUFFIXES) or _UID.fullmatch(name) is not None


def _ending(name: str) -> str:
    """The suffix without digits: of numbered slices it is a number, of most there is none."""
    return _pattern(PurePath(name.lower()).suffix)


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "0", name)
