"""How large the volumes are, from some of them, and the voxel grid to propose for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..formats.dispatch import companions, read_volume
from ..volume import VolumeError

_SAMPLED = 50
_SAMPLED_BYTES = 1 << 29  # of files: about half a minute where they are compressed
_FEWEST = 5
_MOST_VOXELS = 96**3
_STEP = 8  # the network halves its grid; sizes are multiples of this
_ANISOTROPIC = 2.0
_AIR = -900.0  # grey value that only CT in HU has as its lowest

Triple = tuple[float, float, float]


@dataclass(slots=True)
class Survey:
    """What some volumes look like, in RAS+ order of axes (x, y, z).

    Attributes:
        spacings: Voxel sizes in mm.
        shapes: Numbers of voxels.
        minima: Lowest grey values.
        refused: File and reason of those that could not be read.
        doubtful: File and finding of those that were read with a doubt.
    """

    spacings: list[Triple] = field(default_factory=list)
    shapes: list[tuple[int, int, int]] = field(default_factory=list)
    minima: list[float] = field(default_factory=list)
    refused: list[tuple[Path, str]] = field(default_factory=list)
    doubtful: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def looks_like_ct(self) -> bool:
        """Whether the lowest value of every volume is that of air in HU."""
        return bool(self.minima) and max(self.minima) <= _AIR

    def lines(self) -> list[str]:
        """Ranges and medians, to print."""
        return [
            f"voxel size in mm (x, y, z): {_summary(self.spacings)}",
            f"voxels (x, y, z): {_summary(self.shapes)}",
        ]


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid for all volumes.

    Attributes:
        spacing: Voxel size in mm (x, y, z).
        size: Voxels (x, y, z).
        coarse: The axes whose voxels are more than twice as long as the shortest.
        enlarged: The spacing was raised above the median, so that the size stays manageable.
    """

    spacing: Triple
    size: tuple[int, int, int]
    coarse: tuple[bool, bool, bool]
    enlarged: bool


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
        return sum(file.stat().st_size for file in (path, *companions(path)))
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
            found.minima.append(float(volume.voxels.min()))
        advance()
    return found


def propose_grid(found: Survey) -> Grid | None:
    """The median voxel size, and the size in which the median field of view has its place.

    None where no volume could be read.
    """
    if not found.spacings:
        return None
    spacings = np.array(found.spacings)
    field_of_view = np.median(spacings * np.array(found.shapes), axis=0)
    median = np.array([_rounded(float(value)) for value in np.median(spacings, axis=0)])
    spacing, size = median, _size(field_of_view, median)
    factor = 1.0
    while math.prod(size) > _MOST_VOXELS:
        factor *= 1.02
        spacing = np.array([_rounded(float(value) * factor) for value in median])
        size = _size(field_of_view, spacing)
    x, y, z = (float(value) for value in spacing)
    coarse = [bool(value > _ANISOTROPIC * spacing.min()) for value in spacing]
    return Grid((x, y, z), size, (coarse[0], coarse[1], coarse[2]), factor > 1.0)


def _size(field_of_view: NDArray[np.float64], spacing: NDArray[np.float64]) -> tuple[int, int, int]:
    # A field of view of 48.2 voxels, by rounding of the spacing, has its place in 48.
    steps = np.ceil(field_of_view / spacing / _STEP - 0.05).clip(1)
    x, y, z = (int(step) * _STEP for step in steps)
    return x, y, z


def _rounded(value: float) -> float:
    """To two significant digits."""
    return float(f"{value:.2g}")


def _summary(rows: Sequence[Sequence[float]]) -> str:
    table = np.array(rows, dtype=np.float64)
    low, middle, high = table.min(axis=0), np.median(table, axis=0), table.max(axis=0)
    if (low == high).all():
        return f"{_triple(middle)} in all"
    return f"{_triple(low)} to {_triple(high)}, median {_triple(middle)}"


def _triple(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{float(value):.4g}" for value in values)
