"""Single bits of a compressed volume are flipped, one at a time."""

from __future__ import annotations

import functools
import random
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.formats.dispatch import read_volume
from ..data.volume import VolumeError
from ..storage import make_folder, write_bytes
from .output import caught_output
from .readers import Peer, reader
from .trials import trials, unseen
from .volumes import AFFINE, nifti, packed, voxels

_GZIP_HEADER_BITS = 80
#: Compressed to a quarter of a megabyte; SimpleITK checks smaller files, but not this.
_SHAPE = (64, 64, 48)


@dataclass(frozen=True, slots=True)
class Flips:
    """What became of files with one flipped bit.

    Attributes:
        tried: How many.
        detected: Refused; by us with a reason, by others with any error.
        harmless: Accepted, with the very voxels of the whole file, and, of us, its geometry.
        silent: Accepted with others.
        crashed: Not ended in time, or with the process; of us, also an error that is no refusal.
    """

    tried: int
    detected: int
    harmless: int
    silent: int
    crashed: int

    @property
    def passed(self) -> bool:
        """Every flip that changes the volume is detected, and none ends the reader."""
        return self.detected + self.harmless == self.tried


def flipped_bits(
    folder: Path,
    count: int = 500,
    seed: int = 0,
    advance: Callable[[int], None] = unseen,
    peer: Peer = "volclass",
) -> Flips:
    """Flips bits of a whole `.nii.gz`, its gzip header and trailer included, drawn by chance.

    Args:
        folder: Where the files are written.
        count: How many bits.
        seed: Of the choice.
        advance: Called with how many more were tried.
        peer: Who reads the files.
    """
    content = _content()
    end = _our_end(folder, content) if peer == "volclass" else _end_of(peer)
    return _flips(folder, content, _bits(content, count, seed), end, advance)


def flipped_header_bits(folder: Path) -> Flips:
    """Flips each bit of the ten bytes of the gzip header.

    Some mean nothing for the voxels: the time, the system that wrote the file, how hard it tried.
    No checksum covers them (RFC 1952).
    """
    content = _content()
    end = _our_end(folder, content)
    return _flips(folder, content, range(_GZIP_HEADER_BITS), end, unseen)


def _content() -> bytes:
    return packed(nifti(voxels(shape=_SHAPE), AFFINE))


def _bits(content: bytes, count: int, seed: int) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(8 * len(content)) for _ in range(count)]


def _our_end(folder: Path, content: bytes) -> Callable[[Path], str]:
    """What our reader makes of a file, told from the whole one."""
    make_folder(folder)
    sound = folder / "sound.nii.gz"
    write_bytes(sound, content)
    whole = read_volume(sound).content

    def _end(path: Path) -> str:
        try:
            return "harmless" if read_volume(path).content == whole else "silent"
        except VolumeError:
            return "detected"

    return _end


def _end_of(peer: Peer) -> Callable[[Path], str]:
    """What another reader makes of a file."""
    whole = voxels(shape=_SHAPE)
    set_up = functools.cache(lambda: reader(peer))  # once in each process

    def _end(path: Path) -> str:
        with caught_output(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen = set_up()
            try:
                same = np.array_equal(chosen.turned(chosen.load(path)), whole)
            except Exception:  # any refusal counts
                return "detected"
        return "harmless" if same else "silent"

    return _end


def _flips(
    folder: Path,
    content: bytes,
    bits: Sequence[int],
    end: Callable[[Path], str],
    advance: Callable[[int], None],
) -> Flips:
    make_folder(folder)
    path = folder / "flipped.nii.gz"

    def flipped(number: int) -> str:
        place, bit = divmod(bits[number], 8)
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        write_bytes(path, bytes(changed))
        return end(path)

    found, _ = trials(flipped, len(bits), advance)
    ends = Counter(trial.end for trial in found)
    told = (ends["detected"], ends["harmless"], ends["silent"])
    return Flips(len(bits), *told, crashed=len(bits) - sum(told))
