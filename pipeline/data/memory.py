"""Preprocessed volumes in memory alone: nothing of a patient is left on the disk of the machine."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor

from .cache import CachedVolume, stamp_of
from .fingerprint import Extent
from .series_part import SeriesPart
from .volume import Finding

#: Volumes share storages of about this many bytes: a loading process that is not forked is handed
#: one file descriptor a storage, and a process may hold about a thousand of them.
_STORAGE_BYTES = 256 << 20


class MemoryCache:
    """The same as `VolumeCache` for one process and those that it starts afterwards."""

    def __init__(self) -> None:
        self._contents: dict[tuple[str, str], str] = {}
        self._volumes: dict[str, CachedVolume] = {}
        self._findings: dict[tuple[str, str], tuple[Finding, ...]] = {}
        self._extents: dict[tuple[str, str], Extent | None] = {}
        self._series: dict[tuple[str, str], SeriesPart | None] = {}
        self._free: list[Tensor] = []

    def content_of(self, source: Path) -> str | None:
        """The known content hash of a source file that has not changed since, or None."""
        return self._contents.get(_key(source, stamp_of(source)))

    def findings_of(self, source: Path) -> tuple[Finding, ...]:
        """What was doubtful in a source file when it was read."""
        return self._findings.get(_key(source, stamp_of(source)), ())

    def extent_of(self, source: Path) -> Extent | None:
        """What a source file's volume was before preprocessing; None where it is not known."""
        return self._extents.get(_key(source, stamp_of(source)))

    def series_of(self, source: Path) -> SeriesPart | None:
        """Which part of a DICOM series a folder was when it was read; None if not known."""
        return self._series.get(_key(source, stamp_of(source)))

    def load(self, content: str) -> CachedVolume | None:
        """The volume of that content, or None."""
        return self._volumes.get(content)

    def has(self, content: str) -> bool:
        """Whether a volume of that content is kept."""
        return content in self._volumes

    def store(
        self,
        source: Path,
        stamp: list[JsonValue],
        volume: CachedVolume,
        name: str | None = None,
    ) -> None:
        """Keeps a copy of a volume.

        Args:
            source: The file that was read.
            stamp: Its `stamp_of` before it was read.
            volume: What was made of it; all have one shape.
            name: What `load` finds it by; by default its content.
        """
        name = name or volume.content
        if stamp_of(source) == stamp:
            self._contents[_key(source, stamp)] = volume.content
            self._findings[_key(source, stamp)] = volume.findings
            self._extents[_key(source, stamp)] = volume.extent
            self._series[_key(source, stamp)] = volume.series
        if name in self._volumes:
            return
        if not self._free:
            single = torch.float32.itemsize * volume.image.numel()
            self._free = list(torch.empty(max(_STORAGE_BYTES // single, 1), *volume.image.shape))
        place = self._free.pop()
        place.copy_(volume.image)
        self._volumes[name] = CachedVolume(place, volume.spacing, name)


def _key(source: Path, stamp: list[JsonValue]) -> tuple[str, str]:
    return str(source.resolve()), json.dumps(stamp)
