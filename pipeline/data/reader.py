"""MONAI's reader interface over our checked volumes.

`LoadImaged(keys, reader=VolumeReader())` gives volumes in RAS+ with the metadata that the
spatial transforms need, and our `content` hash.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from monai.data.image_reader import ImageReader
from numpy.typing import NDArray
from pydantic import TypeAdapter

from .fingerprint import Extent, extent_of
from .formats.dispatch import read_volume
from .formats.rules import rules_in_force
from .series_part import SeriesPart
from .volume import Volume, VolumeError

_EXTENT = TypeAdapter(Extent)
_SERIES = TypeAdapter[SeriesPart | None](SeriesPart | None)
PathLike = str | os.PathLike[str]
Meta = dict[str, str | NDArray[np.float64] | NDArray[np.int64]]


class VolumeReader(ImageReader):  # type: ignore[misc]  # MONAI has no types
    """Reads one volume a case, of any format that `read_volume` knows.

    Args:
        budget: Most bytes that a decoded volume may take; by default that of the rules in force.
    """

    def __init__(self, budget: int | None = None) -> None:
        super().__init__()
        self._budget = budget

    @property
    def budget(self) -> int:
        """Most bytes that a decoded volume may take now."""
        return rules_in_force().budget if self._budget is None else self._budget

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True for one path: the content decides about the format, not the name."""
        return len(_paths(filename)) == 1

    def read(self, data: Sequence[PathLike] | PathLike) -> Path:
        """Takes note of the file.

        MONAI answers an error raised here by trying its other readers, which accept damaged
        files; so nothing is opened before `get_data`.

        Raises:
            ValueError: There is not exactly one path.
        """
        paths = _paths(data)
        if len(paths) != 1:
            raise ValueError(f"a case has one volume, not {len(paths)}: {paths}")
        return paths[0]

    def get_data(self, img: Path) -> tuple[NDArray[np.float32], Meta]:
        """Grey values (X, Y, Z) in RAS+ and their metadata.

        Raises:
            VolumeError: The volume is refused. MONAI wraps it; see `volume_error_in`.
        """
        volume = self.read_checked(img)
        return volume.voxels, _meta(volume)

    def read_checked(self, path: Path) -> Volume:
        """The volume that the file holds.

        Raises:
            VolumeError: The volume is refused.
        """
        return read_volume(path, budget=self.budget)


def volume_error_in(exception: BaseException) -> VolumeError | None:
    """The refusal behind an exception of MONAI's transforms, or None.

    Exceptions that a DataLoader's worker process sent back carry text only: look for the refusal
    in the worker, around the transforms.
    """
    seen: set[int] = set()
    current: BaseException | None = exception
    while current is not None and id(current) not in seen:
        if isinstance(current, VolumeError):
            return current
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return None


def _paths(data: Sequence[PathLike] | PathLike) -> list[Path]:
    return [Path(data)] if isinstance(data, str | os.PathLike) else [Path(path) for path in data]


def _meta(volume: Volume) -> Meta:
    return {
        "affine": volume.affine,
        "original_affine": volume.original_affine,
        "spatial_shape": np.array(volume.voxels.shape, dtype=np.int64),
        "original_channel_dim": "no_channel",
        "space": "RAS",
        "content": volume.content,
        "extent": _EXTENT.dump_json(extent_of(volume)).decode(),
        "series": _SERIES.dump_json(volume.series).decode(),
        "findings": json.dumps([[finding.code, finding.text] for finding in volume.findings]),
    }
