"""What a file is, by its first bytes; and for one that is no volume, what it seems to be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..volume import Finding

Kind = Literal["nifti", "nrrd", "metaimage", "mgh"]

#: How many (decoded) bytes `kind_of` and `looks_like` want to see.
HEAD_BYTES = 540
#: Fields with which the text of a MetaImage header may begin, in lower case (MetaIO of ITK).
_META_FIRST = frozenset(
    "objecttype objectsubtype ndims comment name id parentid compresseddata binarydata".split()
)
_META_LINE = re.compile(rb"\s*([A-Za-z]+)[ \t]*[=:]")
_META_SURE = re.compile(rb"objecttype|ndims|dimsize")
_OTHERS = (".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgh")
_LOOKS_LIKE = (
    (b"<!doctype html", "it looks like an HTML page (a login page?)"),
    (b"<html", "it looks like an HTML page (a login page?)"),
    (b"version https://git-lfs", "it is a git-lfs pointer: run `git lfs pull`"),
    (b"nrrd000", "it looks like NRRD"),
    (b"objecttype", "it looks like MetaImage"),
    (b"pk\x03\x04", "it looks like a zip archive"),
)


def kind_of(head: bytes) -> Kind | None:
    """The format of a file, or None; Analyze 7.5 counts as NIfTI, whose reader refuses it."""
    if head.startswith(b"NRRD0"):
        return "nrrd"
    first = _META_LINE.match(head)
    text = head.lower()
    # A comment or a name may stand first, as in many another text; then a true header goes on.
    if first and first[1].decode().lower() in _META_FIRST and _META_SURE.search(text):
        return "metaimage"
    sizes = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    if sizes & {348, 540}:
        return "nifti"
    # The version, and the flag for a stated orientation, which is 0 or 1.
    if head.startswith(b"\0\0\0\1") and head[28:30] in (b"\0\0", b"\0\1", b"\0", b""):
        return "mgh"
    return None


def misnamed(path: Path, kind: str, endings: Sequence[str], packed: bool) -> tuple[Finding, ...]:
    """What is doubtful about a file's name, which never decides how it is read.

    Args:
        path: The file.
        kind: Its format, by its content.
        endings: Of names of that format, without `.gz`.
        packed: Whether it is a gzip file.
    """
    name = re.sub(r"\.mgz$", ".mgh.gz", path.name.lower())
    plain = name.removesuffix(".gz")
    if not plain.endswith((*endings, *_OTHERS)):
        return ()  # a name of the user's own promises nothing
    if not plain.endswith(tuple(endings)):
        text = f"it is a {kind} file under another format's name; read by its content"
    elif packed and not name.endswith(".gz"):
        text = "it is compressed, which its name does not say; read by its content"
    elif name.endswith(".gz") and not packed:
        text = "it is not compressed, as its name says; read by its content"
    else:
        return ()
    return (Finding("W_NAME", text),)


def looks_like(head: bytes, otherwise: str) -> str:
    """What a file that was refused seems to be, or `otherwise`."""
    if head[128:132] == b"DICM":
        return "it looks like DICOM"
    start = head.lstrip()[:64].lower()
    guesses = (text for magic, text in _LOOKS_LIKE if start.startswith(magic))
    return next(guesses, otherwise)
