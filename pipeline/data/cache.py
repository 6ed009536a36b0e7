"""Preprocessed volumes on disk: found by content, checked at first reading, rebuilt when damaged.

An entry's name is the hash of the voxels, the preprocessing and the library versions, so a change
of any of them is a miss. A mask is an entry of its own, named by volume and mask together. A
second, small index maps (path, size, time of change) of a source file and its companions, under
the same preprocessing, to the hash of its voxels, so that starting again decodes no source file.
Of a DICOM folder every file counts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from pydantic import JsonValue, TypeAdapter, ValidationError
from torch import Tensor

from ..errors import StorageError
from ..storage import make_folder, sha256, write_bytes, write_json
from .cache_entry import EntryReader, entry_bytes, file_numbers
from .fingerprint import Extent
from .formats.dicom_folder import split_series
from .formats.dispatch import companions
from .series_part import SeriesPart
from .volume import Finding, with_mask


@dataclass(frozen=True, slots=True)
class CachedVolume:
    """A preprocessed volume, or mask.

    Attributes:
        image: (C, X, Y, Z) float32, RAS+; of a mask, 0 and 1, on disk uint8.
        spacing: Voxel size in mm along x, y, z.
        content: SHA-256 of the source's decoded voxels and geometry.
        findings: What was doubtful in the file; kept with the file, not with its content.
        extent: What the volume was before preprocessing, where it was read; kept with the file.
        series: Of a DICOM series with a UID, which part of it it is; kept with the file.
    """

    image: Tensor
    spacing: tuple[float, float, float]
    content: str
    findings: tuple[Finding, ...] = ()
    extent: Extent | None = None
    series: SeriesPart | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What preprocessing makes of a case.

    Attributes:
        image: The volume.
        mask: On the same grid, where the case has one.
    """

    image: CachedVolume
    mask: CachedVolume | None = None

    @property
    def content(self) -> str:
        """The content hash of volume and mask together."""
        image, mask = self.image.content, self.mask
        return image if mask is None else with_mask(image, mask.content)


@dataclass(frozen=True, slots=True)
class _IndexEntry:
    """What is known of a source file as long as it has this stamp."""

    stamp: list[JsonValue]
    content: str
    findings: tuple[Finding, ...]
    #: Has no default: what was read before it was kept is read again.
    series: SeriesPart | None
    extent: Extent | None = None


_INDEX_ENTRY = TypeAdapter(_IndexEntry)


class VolumeCache:
    """Entries of one kind of preprocessing in a cache folder that runs may share.

    Args:
        folder: The cache folder; made with mode 0700, for it holds images.
        preprocessing: What `preprocessing_key` says.
        mapped: Whether entries are mapped into memory in place of being read.
    """

    def __init__(self, folder: Path, preprocessing: str, *, mapped: bool = False) -> None:
        self.folder = make_folder(folder, mode=0o700)
        self._preprocessing = preprocessing
        self._entries = EntryReader(mapped=mapped)

    def content_of(self, source: Path) -> str | None:
        """The known content hash of a source file that has not changed since, or None."""
        entry = self._index_entry(source)
        return None if entry is None else entry.content

    def findings_of(self, source: Path) -> tuple[Finding, ...]:
        """What was doubtful in a source file when it was read; nothing where it is not known."""
        entry = self._index_entry(source)
        return () if entry is None else entry.findings

    def extent_of(self, source: Path) -> Extent | None:
        """What a source file's volume was before preprocessing; None where it is not known."""
        entry = self._index_entry(source)
        return None if entry is None else entry.extent

    def series_of(self, source: Path) -> SeriesPart | None:
        """Which part of a DICOM series a folder was when it was read; None if not known."""
        entry = self._index_entry(source)
        return None if entry is None else entry.series

    def _index_entry(self, source: Path) -> _IndexEntry | None:
        try:
            entry = _INDEX_ENTRY.validate_json(self._index_path(source).read_bytes())
        except (OSError, ValidationError):
            return None
        return entry if entry.stamp == stamp_of(source) else None

    def load(self, content: str) -> CachedVolume | None:
        """Reads an entry; a missing, damaged or foreign one is None and will be rebuilt."""
        tensors = self._entries.read(self._entry_path(content))
        if tensors is None or not {"image", "spacing"} <= tensors.keys():
            return None
        spacing = cast("tuple[float, float, float]", tuple(tensors["spacing"].tolist()))
        return CachedVolume(tensors["image"], spacing, content)

    def has(self, content: str) -> bool:
        """Whether an entry exists; its soundness shows when it is read."""
        return self._entry_path(content).is_file()

    def store(
        self,
        source: Path,
        stamp: list[JsonValue],
        volume: CachedVolume,
        name: str | None = None,
    ) -> None:
        """Writes an entry and the index of its source; both appear complete or not at all.

        Args:
            source: The file that was read.
            stamp: Its `stamp_of` before it was read; a file that changed meanwhile is not indexed.
            volume: What was made of it.
            name: What `load` finds it by, where its own content does not decide it alone.

        Raises:
            StorageError: The disk is full or the folder is not writable.
        """
        self.keep(volume, name)
        if stamp_of(source) == stamp:
            index = self._index_path(source)
            make_folder(index.parent, mode=0o700)
            told = (volume.findings, volume.series, volume.extent)
            entry = _IndexEntry(stamp, volume.content, *told)
            write_json(index, _INDEX_ENTRY.dump_python(entry, mode="json"))

    def keep(self, volume: CachedVolume, name: str | None = None) -> None:
        """Writes an entry alone; it appears complete or not at all.

        Args:
            volume: What is kept.
            name: What `load` finds it by; by default its content.

        Raises:
            StorageError: The disk is full or the folder is not writable.
        """
        spacing = torch.tensor(volume.spacing, dtype=torch.float64)
        path = self._entry_path(name or volume.content)
        make_folder(path.parent, mode=0o700)
        write_bytes(path, entry_bytes({"image": volume.image, "spacing": spacing}))

    def _entry_path(self, content: str) -> Path:
        name = sha256(f"{content}\n{self._preprocessing}".encode())
        return self.folder / "volumes" / name[:2] / f"{name[2:]}.volume"

    def _index_path(self, source: Path) -> Path:
        # The companions lie beside the link as it was named, so it is not resolved.
        # What a file is read as depends on the rules of reading, which the preprocessing's key has.
        key = os.fsencode(source.absolute()) + b"\n" + self._preprocessing.encode()
        name = sha256(key)
        return self.folder / "index" / name[:2] / f"{name[2:]}.json"


def stamp_of(source: Path) -> list[JsonValue]:
    """What tells that a volume is another one now: its size, times in ns and inode.

    A copy may keep the time at which the content changed (`rsync -t`, `cp -p`), but neither the
    inode nor the time at which the inode changed. For each other file that holds a part of the
    volume, `[name, ...]` with the same numbers follows; the name alone if it is not there.

    Raises:
        StorageError: The source vanished.
    """
    try:
        status = split_series(source)[0].stat()
    except OSError as error:
        raise StorageError("a volume vanished", where=source.name, why=error.strerror) from None
    return [*file_numbers(status), *map(_companion_stamp, companions(source))]


def _companion_stamp(file: Path) -> list[JsonValue]:
    name = file.name.encode("utf-8", "backslashreplace").decode()  # which JSON can hold
    try:
        return [name, *file_numbers(file.stat())]
    except OSError:  # the reader refuses the volume and says why
        return [name]
