"""A file of the cache: tensors in safetensors' format, after the SHA-256 of what follows.

It is read with one copy, the kernel's, or mapped into memory with none. Its digest, which takes
several times as long as reading, is taken once in a process for as long as size, times and inode of
the file stay the same.

The format: https://huggingface.co/docs/safetensors (an 8-byte length, a JSON header, the data, all
numbers little-endian).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter
from safetensors.torch import save
from torch import Tensor

from ..storage import sha256

_DIGEST = 64
_LENGTH = 8
_TYPES = {"F64": torch.float64, "F32": torch.float32, "U8": torch.uint8}


_Count: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 40)]
#: `file_numbers` of a file, and what it holds.
_Stamped: TypeAlias = tuple[list[int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the numbers of a tensor are, in bytes after the header."""

    dtype: Literal["F64", "F32", "U8"]
    shape: tuple[_Count, ...]
    data_offsets: tuple[_Count, _Count]

    def taken_from(self, body: Tensor) -> Tensor:
        """The tensor, a view of the bytes after the header.

        Raises:
            ValueError: They do not hold it.
        """
        first, last = self.data_offsets
        dtype = _TYPES[self.dtype]
        if last > len(body) or last - first != math.prod(self.shape) * dtype.itemsize:
            raise ValueError("the bytes are not as many as the header says")
        return body[first:last].view(dtype).view(self.shape)


_HEADER = TypeAdapter(dict[str, _Place])


def entry_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """What a file of the cache holds.

    Args:
        tensors: Contiguous, float64, float32 or uint8.
    """
    assert all(tensor.dtype in _TYPES.values() for tensor in tensors.values())
    payload = save(dict(tensors))
    return sha256(payload).encode() + payload


class EntryReader:
    """Reads files of the cache, and remembers which of them are sound.

    Args:
        mapped: Whether files are mapped into memory. Processes share the pages, and what a caller
            writes is a copy of its own; but a file that is cut, or cannot be read any more, while
            its tensors are in use ends the process by a signal.
    """

    def __init__(self, *, mapped: bool = False) -> None:
        self._bytes = _mapped_bytes if mapped else _read_bytes
        self._sound: dict[Path, list[int]] = {}

    def read(self, path: Path) -> dict[str, Tensor] | None:
        """The tensors of a file, the caller's to change; None if missing or damaged."""
        found = self._bytes(path)
        if found is None:
            return None
        stamp, stored = found
        if self._sound.get(path) != stamp:
            if sha256(stored[_DIGEST:].data).encode() != stored[:_DIGEST].tobytes():
                return None
            self._sound[path] = stamp
        return _tensors(stored)


def _read_bytes(path: Path) -> _Stamped | None:
    try:
        with path.open("rb") as file:
            stamp = file_numbers(os.fstat(file.fileno()))
            stored = np.empty(stamp[0], dtype=np.uint8)
            whole = file.readinto(stored.data) == stamp[0]
            same = file_numbers(os.fstat(file.fileno())) == stamp
    except OSError:
        return None
    return (stamp, stored) if whole and same else None


def _mapped_bytes(path: Path) -> _Stamped | None:
    try:
        stamp, name = file_numbers(path.stat()), str(path)
        name.encode()  # torch takes names in UTF-8 alone
        # Unlike Python's own mapping it keeps no file open, of which a process may have few.
        stored = torch.from_file(name, shared=False, size=stamp[0], dtype=torch.uint8)
        same = file_numbers(path.stat()) == stamp
    except OSError:
        return None
    except (UnicodeEncodeError, RuntimeError):  # the latter also where a process has too many maps
        return _read_bytes(path)
    return (stamp, stored.numpy()) if same else _read_bytes(path)


def file_numbers(status: os.stat_result) -> list[int]:
    """What tells that a file is another one now: its size, times in ns and inode."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _tensors(stored: NDArray[np.uint8]) -> dict[str, Tensor] | None:
    """Views of a file's bytes; None where its digest is right and another program wrote it."""
    assert sys.byteorder == "little"  # as the file is
    start = _DIGEST + _LENGTH
    end = start + int.from_bytes(stored[_DIGEST:start].tobytes(), "little")
    body = torch.from_numpy(stored[end:])
    try:
        header = _HEADER.validate_json(stored[start:end].tobytes())
        return {name: place.taken_from(body) for name, place in header.items()}
    except (ValueError, RuntimeError):  # the latter of numbers that are not aligned
        return None
