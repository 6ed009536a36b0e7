"""Preprocessed volumes in memory alone: nothing of a patient is left on the disk of the machine."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor

from .cache import CachedVolume, stamp_of

#: Volumes share storages of this many: a loading process that is not forked is handed one file
#: descriptor a storage, and a process may hold about a thousand of them.
_TOGETHER = 256


class MemoryCache:
    """The same as `VolumeCache` for one process and those that it starts afterwards."""

    def __init__(self) -> None:
        self._contents: dict[tuple[str, str], str] = {}
        self._volumes: dict[str, CachedVolume] = {}
        self._blocks: list[Tensor] = []
        self._used = 0

    def content_of(self, source: Path) -> str | None:
        """The known content hash of a source file that has not changed since, or None."""
        return self._contents.get(_key(source, stamp_of(source)))

    def load(self, content: str) -> CachedVolume | None:
        """The volume of that content, or None."""
        return self._volumes.get(content)

    def has(self, content: str) -> bool:
        """Whether a volume of that content is kept."""
        return content in self._volumes

    def store(self, source: Path, stamp: list[JsonValue], volume: CachedVolume) -> None:
        """Keeps a copy of a volume.

        Args:
            source: The file that was read.
            stamp: Its `stamp_of` before it was read.
            volume: What was made of it; all have one shape.
        """
        if stamp_of(source) == stamp:
            self._contents[_key(source, stamp)] = volume.content
        if volume.content in self._volumes:
            return
        if self._used % _TOGETHER == 0:
            self._blocks.append(torch.empty(_TOGETHER, *volume.image.shape))
        place = self._blocks[-1][self._used % _TOGETHER]
        place.copy_(volume.image)
        self._used += 1
        self._volumes[volume.content] = CachedVolume(place, volume.spacing, volume.content)


def _key(source: Path, stamp: list[JsonValue]) -> tuple[str, str]:
    return str(source.resolve()), json.dumps(stamp)
