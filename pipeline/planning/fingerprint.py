"""What a set of volumes is like: voxel sizes, extents and grey values, as medians and spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]
Voxels = tuple[int, int, int]
Rows = NDArray[np.float64]
Kind = Literal["ct", "shape", "other"]

#: Of the grey values of a volume's foreground.
GREY_PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5, 100.0)
#: No value of MR or PET is as low as that of air in HU, or as what scanners pad CT with.
_AIR = -900.0
#: Air in HU, less the noise and the ringing of resampled volumes.
_BELOW_AIR = -1100.0
#: Half way from air to water: what is denser in CT is tissue, whatever share of a volume is air.
TISSUE = -500.0
_KINDS: dict[Kind, str] = {"ct": "CT in HU", "shape": "shapes of one value", "other": "other"}


@dataclass(frozen=True, slots=True)
class Look:
    """What a plan knows of one volume, in RAS+ order of axes (x, y, z).

    Attributes:
        spacing: Voxel size in mm.
        shape: Numbers of voxels.
        crop: Numbers of voxels of the box around the foreground.
        orientation: Where the file's own axes lead, e.g. `LPS`.
        lowest: Smallest grey value.
        whole: Whether all grey values are whole numbers.
        greys: Those of the foreground in the crop, at `GREY_PERCENTILES`; of CT those above
            `TISSUE`.
    """

    spacing: Triple
    shape: Voxels
    crop: Voxels
    orientation: str
    lowest: float
    whole: bool
    greys: tuple[float, float, float, float, float, float]

    @property
    def kind(self) -> Kind:
        """Which scale its grey values are on."""
        if self.greys[0] == self.greys[-1]:
            return "shape"
        return "ct" if is_ct(self.lowest, whole=self.whole) else "other"

    @property
    def kept(self) -> float:
        """The share of its voxels that the crop leaves, above 0 and up to 1."""
        return float(np.prod(self.crop) / np.prod(self.shape))


def is_ct(lowest: float, *, whole: bool) -> bool:
    """Whether grey values look like CT in HU: they reach down to air, in whole numbers.

    Resampled CT has fractions, but then hardly a value below air.

    Args:
        lowest: The smallest one.
        whole: Whether all are whole numbers.
    """
    return lowest <= _AIR and (whole or lowest >= _BELOW_AIR)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What some volumes are like; nothing depends on their order.

    Attributes:
        looks: Of at least one volume.
    """

    looks: tuple[Look, ...]

    @property
    def spacings(self) -> Rows:
        """Voxel sizes in mm, (N, 3)."""
        return np.array([look.spacing for look in self.looks], dtype=np.float64)

    @property
    def fields(self) -> Rows:
        """Fields of view in mm, (N, 3)."""
        return self.spacings * np.array([look.shape for look in self.looks], dtype=np.float64)

    @property
    def crops(self) -> Rows:
        """Widths in mm of the boxes around the foreground, (N, 3)."""
        return self.spacings * np.array([look.crop for look in self.looks], dtype=np.float64)

    @property
    def kept(self) -> float:
        """The share of the voxels that the crop leaves of the median volume."""
        return float(np.median([look.kept for look in self.looks]))

    @property
    def kinds(self) -> frozenset[Kind]:
        """The scales of grey values that occur."""
        return frozenset(look.kind for look in self.looks)

    @property
    def greys(self) -> tuple[float, ...]:
        """The median over the volumes of the grey value at each of `GREY_PERCENTILES`."""
        middle = np.median([look.greys for look in self.looks], axis=0)
        return tuple(float(value) for value in middle)

    def lines(self) -> list[str]:
        """All of it, to print: medians, quartiles and extremes along x, y, z."""
        shapes = np.array([look.shape for look in self.looks], dtype=np.float64)
        crops = np.array([look.crop for look in self.looks], dtype=np.float64)
        kinds = Counter(_KINDS[look.kind] for look in self.looks)
        orientations = Counter(look.orientation for look in self.looks)
        low, middle, high = (f"{self.greys[place]:.4g}" for place in (0, 2, 4))
        return [
            f"voxel size in mm: {spread(self.spacings)}",
            f"voxels: {spread(shapes)}",
            f"field of view in mm: {spread(self.fields)}",
            f"voxels of the foreground's box: {spread(crops)}",
            f"the box keeps {100 * self.kept:.0f} % of the median volume",
            f"grey values: {_counted(kinds)}; of the median volume's foreground {low} to {high} "
            f"(0.5 and 99.5 %), median {middle}",
            f"stored as: {_counted(orientations)}",
        ]


def spread(rows: Rows) -> str:
    """Median, quartiles and extremes of (N, 3) numbers, along each axis."""
    low, first, middle, third, high = np.percentile(rows, (0, 25, 50, 75, 100), axis=0)
    if (low == high).all():
        return f"{times(middle)} in all"
    return (
        f"median {times(middle)}, quartiles {times(first)} to {times(third)}, "
        f"range {times(low)} to {times(high)}"
    )


def times(values: Sequence[float] | Rows) -> str:
    """Numbers along the axes, e.g. `1 x 1 x 3.3`."""
    return " x ".join(f"{float(value):.4g}" for value in values)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(
        f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1])
    )
