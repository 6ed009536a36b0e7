"""The two files of a NIfTI pair: `x.hdr` and `x.img`, each of them compressed (`.gz`) or not."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from .stored import beside

_OTHER = {".hdr": ".img", ".img": ".hdr"}


def half_of(path: Path) -> str | None:
    """`.hdr` or `.img` if the name is that of one half of a pair, else None."""
    return next((half for half in _OTHER if path.name.lower().endswith((half, f"{half}.gz"))), None)


def other_half(path: Path) -> Path | None:
    """The other file of the pair if it exists; the one that is compressed alike if both do.

    Raises:
        VolumeError: It is a link that leaves the folder.
    """
    other = next((file for file in _candidates(path) if file.exists()), None)
    if other is not None:
        beside(path, other.name)
    return other


def expected_half(path: Path) -> str:
    """The name that the other file of the pair should have."""
    return _candidates(path)[0].name


def _candidates(path: Path) -> list[Path]:
    half = half_of(path)
    if half is None:
        raise ValueError(f"{path.name} is not named as one half of a pair")
    packed = path.name.lower().endswith(".gz")
    stem = path.name[: -len(half) - 3 * packed]
    endings = [_OTHER[half] + ".gz" * zipped for zipped in (packed, not packed)]
    return [path.with_name(stem + ending) for plain in endings for ending in _any_case(plain)]


def _any_case(ending: str) -> list[str]:
    """An ending in small letters, then in all its other spellings, such as `.Img`."""
    letters = (dict.fromkeys((letter, letter.upper())) for letter in ending)
    return ["".join(spelling) for spelling in product(*letters)]
