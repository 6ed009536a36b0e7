"""How large the volumes are, from some of them, and the voxel grid to propose for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...planning.fingerprint import Kind, Triple, Voxels, is_ct, times
from ...planning.grid import manageable, rounded_size, spacing_for, voxels_in
from ...planning.strides import Shape, Strides, shape_of, strides_for
from ..formats.dispatch import companions, read_volume
from ..volume import VolumeError

_SAMPLED = 50
_SAMPLED_BYTES = 1 << 29  # of files: about half a minute where they are compressed
_FEWEST = 5


@dataclass(slots=True)
class Survey:
    """What some volumes look like, in RAS+ order of axes (x, y, z).

    Attributes:
        spacings: Voxel sizes in mm.
        shapes: Numbers of voxels.
        kinds: The scales of their grey values.
        refused: File and reason of those that could not be read.
        doubtful: File and finding of those that were read with a doubt.
    """

    spacings: list[Triple] = field(default_factory=list)
    shapes: list[Voxels] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    refused: list[tuple[Path, str]] = field(default_factory=list)
    doubtful: list[tuple[Path, str]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Ranges and medians, to print."""
        return [
            f"voxel size in mm (x, y, z): {_summary(self.spacings)}",
            f"voxels (x, y, z): {_summary(self.shapes)}",
        ]


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid for all volumes, and how a network strides over it.

    Attributes:
        spacing: Voxel size in mm (x, y, z).
        size: Voxels (x, y, z).
        enlarged: The spacing was raised above that of the volumes, so that the size is manageable.
        network: The build of the network.
        strides: How it strides.
    """

    spacing: Triple
    size: Voxels
    enlarged: bool
    network: Shape
    strides: Strides


def sample(files: Sequence[Path]) -> list[Path]:
    """Up to 50 files, evenly spread; fewer where they are large."""
    chosen = _spread(files, _SAMPLED)
    total = sum(_bytes(path) for path in chosen)
    if total <= _SAMPLED_BYTES:
        return chosen
    return _spread(files, max(_FEWEST, int(len(chosen) * _SAMPLED_BYTES / total)))


def _spread(files: Sequence[Path], count: int) -> list[Path]:
    if len(files) <= count:
        return list(files)
    return [files[int((number + 0.5) * len(files) / count)] for number in range(count)]


def _bytes(path: Path) -> int:
    try:
        # A DICOM folder is no more than its files, and one series of it is no path of its own.
        files = [file for file in (path, *companions(path)) if file.is_file()]
        return sum(file.stat().st_size for file in files)
    except OSError:
        return 0


def survey(files: Sequence[Path], advance: Callable[[], None]) -> Survey:
    """Reads and checks volumes, one at a time; `advance` is called after each."""
    found = Survey()
    for path in files:
        try:
            volume = read_volume(path)
        except VolumeError as error:
            found.refused.append((path, f"{error.code}: {error.reason}"))
        else:
            found.doubtful += [(path, f"{item.code}: {item.text}") for item in volume.findings]
            x, y, z = volume.voxels.shape
            found.spacings.append(volume.spacing)
            found.shapes.append((x, y, z))
            whole = bool((volume.voxels == np.rint(volume.voxels)).all())
            found.kinds.append("ct" if is_ct(float(volume.voxels.min()), whole=whole) else "other")
        advance()
    return found


def propose_grid(found: Survey, network: str) -> Grid | None:
    """The voxel size of most volumes, and the size in which the median field of view has its place.

    The fields of view are those before any crop, so that the median has room enough.

    Args:
        found: The volumes.
        network: The name of a PoolFormer.

    Returns:
        None where no volume could be read.
    """
    if not found.spacings:
        return None
    spacings = np.array(found.spacings)
    field_of_view = np.median(spacings * np.array(found.shapes), axis=0)
    spacing = manageable(spacing_for(spacings), field_of_view)
    voxels, shape = voxels_in(field_of_view, spacing.mm), shape_of(network)
    strides = strides_for(spacing.mm, voxels, shape)
    size = rounded_size(voxels, strides.reductions[-1])
    return Grid(spacing.mm, size, spacing.enlarged, shape, strides)


def _summary(rows: Sequence[Sequence[float]]) -> str:
    table = np.array(rows, dtype=np.float64)
    low, middle, high = table.min(axis=0), np.median(table, axis=0), table.max(axis=0)
    if (low == high).all():
        return f"{times(middle)} in all"
    return f"{times(low)} to {times(high)}, median {times(middle)}"
