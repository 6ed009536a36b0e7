"""The bytes of a volume's voxels: decoded to their very end, never more than declared and allowed.

The common readers give altered or missing voxels without a word when compressed data are damaged;
here every stream is read to its end, so that its own checksum and length decide.
"""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..volume import Reason, VolumeError
from .inflater import GZIP_MAGIC, Inflater, Packing

_CHECKED_BYTES = 1 << 24  # a tenth of a second
_MAX_INFLATION = 1032  # deflate cannot grow data by more


@dataclass(frozen=True, slots=True)
class Place:
    """Where the voxels of a volume lie.

    Attributes:
        file: The file that holds them: the volume itself, or its companion.
        start: Bytes of that file before the data, compressed or not.
        packing: How the data are compressed.
        skip: Decoded bytes before the first voxel, or -1: the voxels end where the file ends.
        tail: Whether other data may follow the voxels by the format's own rules.
        more: Bytes of further frames that must follow the voxels.
    """

    file: Path
    start: int = 0
    packing: Packing = "raw"
    skip: int = 0
    tail: bool = False
    more: int = 0

    def of_frame(self, frame: int, frames: int, size: int) -> Place:
        """Where one frame of a series lies, of `size` bytes; all frames must be there.

        `self` is the place of the whole series; one that ends with its file still does.
        """
        more = (frames - 1 - frame) * size
        skip = self.skip + frame * size if self.skip >= 0 else self.skip
        return replace(self, skip=skip, more=more)


@contextmanager
def system_errors(path: Path, file: Path) -> Iterator[None]:
    """Turns what the system says about a file into a refusal of the volume.

    Args:
        path: The volume, as it was named.
        file: What is being read: the volume itself or its companion.

    Raises:
        VolumeError: The system refuses the file.
    """
    if "\0" in str(file):
        raise VolumeError(Reason.E_MISSING, path, "its name holds a NUL character")
    name = "" if file == path else f"{file.name}: "
    try:
        yield
    except FileNotFoundError as error:
        if file != path:
            raise missing(path, file.name) from error
        raise VolumeError(Reason.E_MISSING, path, "there is no file of that name") from error
    except PermissionError as error:
        why = name + (error.strerror or "no permission")
        raise VolumeError(Reason.E_PERMISSION, path, why) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            if file != path:
                raise missing(path, f"{file.name[:80]}...") from error
            reason = f"its path of {len(str(file)):,} characters is too long for any file"
            raise VolumeError(Reason.E_MISSING, path, reason) from error
        raise VolumeError(Reason.E_IO, path, name + (error.strerror or str(error))) from error


def missing(path: Path, name: str) -> VolumeError:
    """The refusal of a volume whose second file is not there."""
    return VolumeError(Reason.E_RAW_MISSING, path, f"there is no file {name} beside it")


def beside(path: Path, name: str) -> Path:
    """The file that holds the other part of a volume, its links resolved.

    Args:
        path: The volume, as it was named; it may itself be a link to anywhere.
        name: The other file, from the volume's folder.

    Raises:
        VolumeError: It is a link that leaves the folder: its target may be any file of the system.
    """
    # Links are resolved by the system call that never fails on a loop.
    folder = Path(os.path.realpath(path.parent))
    file = Path(os.path.realpath(folder / name))
    if not file.is_relative_to(folder):
        reason = f"{name[:80]!r} is a link that leaves its folder; put both files into one folder"
        raise VolumeError(Reason.E_DETACHED, path, reason)
    return file


def regular_size(path: Path, file: Path) -> int:
    """Size in bytes of the volume `path` or of its companion `file`, before it is opened.

    Raises:
        VolumeError: It is no regular file, or empty.
        OSError: The system refuses it.
    """
    status = file.stat()  # before opening: a FIFO would block, a device could answer for ever
    name = "it" if file == path else file.name
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise VolumeError(Reason.E_IRREGULAR, path, f"{name} is {kind}")
    if status.st_size == 0:
        raise VolumeError(Reason.E_EMPTY, path, f"{name} has 0 bytes")
    return status.st_size


def decoded_head(path: Path, handle: BinaryIO, count: int) -> tuple[bytes, bool]:
    """The first `count` bytes, or all if they are fewer, and whether they were compressed (gzip).

    The handle stands at the start of the file before and after.

    Raises:
        VolumeError: The compressed data are damaged already here.
    """
    packed = handle.read(2) == GZIP_MAGIC
    handle.seek(0)
    # No more is decoded than was asked for: this is done anew for each reader that has a look.
    chunks = iter(Inflater(path, handle, "gzip", count) if packed else (handle.read(count),))
    head = b""
    while len(head) < count and (chunk := next(chunks, b"")):
        head += chunk
    handle.seek(0)
    return head[:count], packed


def check_packed(path: Path) -> None:
    """Reads the beginning of a gzip file, or all of a small one, for damage alone.

    Raises:
        VolumeError: The compressed data are damaged.
    """
    left = _CHECKED_BYTES
    with system_errors(path, path), path.open("rb") as handle:
        for piece in Inflater(path, handle, "gzip"):
            left -= len(piece)
            if left <= 0:
                return


def read_stored(
    path: Path,
    place: Place,
    shape: tuple[int, int, int],
    dtype: np.dtype[np.generic],
    budget: int,
) -> tuple[NDArray[np.uint8], bool]:
    """The voxels as stored, and whether more bytes follow where none should.

    Args:
        path: The volume, as messages name it.
        place: Where the voxels lie.
        shape: Declared number of voxels along the axes.
        dtype: Declared type of a voxel.
        budget: Most bytes that the decoded data, and the float32 voxels, may take.

    Raises:
        VolumeError: The data are too many, too few or damaged.
    """
    count = math.prod(shape)
    with system_errors(path, place.file):
        size = regular_size(path, place.file) - place.start
        length = count * dtype.itemsize
        skip = place.skip if place.skip >= 0 else size - length - place.more
        end = max(skip, 0) + length
        most = size if place.packing == "raw" else size * _MAX_INFLATION
        _check_size(path, end + place.more, 4 * count, most, budget)
        with place.file.open("rb") as handle:
            if place.packing == "raw":
                _check_whole(path, size, end + place.more)
                handle.seek(place.start + skip)
                stored, total, after = _plain(path, handle, length), size, False
            else:
                handle.seek(place.start)
                stored, total, after = _decode(path, handle, place.packing, (skip, end), budget)
    _check_whole(path, total, end + place.more)
    return stored, after or (total > end + place.more and not place.tail)


def _check_size(path: Path, end: int, voxels: int, most: int, budget: int) -> None:
    needed = max(end, voxels)
    if needed > budget:
        reason = f"its header declares {needed:,} bytes; at most {budget:,} are allowed"
        raise VolumeError(Reason.E_BUDGET, path, reason)
    if end > most:
        reason = f"its header declares {end:,} bytes; the file can hold {max(most, 0):,} at most"
        raise VolumeError(Reason.E_TRUNCATED, path, reason)


def _check_whole(path: Path, have: int, declared: int) -> None:
    if have < declared:
        reason = f"it holds {have:,} of the {declared:,} bytes that its header declares"
        raise VolumeError(Reason.E_TRUNCATED, path, reason)


def _plain(path: Path, handle: BufferedReader, length: int) -> NDArray[np.uint8]:
    """So many bytes that are not compressed, straight to where they stay."""
    stored = np.empty(length, dtype=np.uint8)
    have = handle.readinto(stored.data)
    _check_whole(path, have, length)  # it may have been shortened since its size was taken
    return stored


def _decode(
    path: Path, handle: BinaryIO, packing: Packing, window: tuple[int, int], budget: int
) -> tuple[NDArray[np.uint8], int, bool]:
    """Bytes `window` of compressed data, how many were decoded, whether any follow their end."""
    skip, end = window
    inflater = Inflater(path, handle, packing)
    stored = np.empty(end - skip, dtype=np.uint8)
    total = 0
    for chunk in inflater:
        kept = memoryview(chunk)[max(skip - total, 0) : max(end - total, 0)]
        place = max(total - skip, 0)
        stored[place : place + len(kept)] = kept
        total += len(chunk)
        if total > budget:
            raise VolumeError(Reason.E_BUDGET, path, f"it decodes to more than {budget:,} bytes")
    _check_whole(path, total, end)
    return stored, total, inflater.trailing
