"""The voxel grid for all volumes: its spacing, and its size.

The rules for the spacing are those of nnU-Net (Isensee et al. 2021, Nature Methods 18:203): the
median voxel size; where one axis is far coarser than the others, a fine value of those that occur
along it, so that thin slices do not lose what thick ones never had.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np

from .fingerprint import Rows, Triple, Voxels

#: A network of the largest size, and its batch, still fit an ordinary machine.
MOST_VOXELS = 96**3
#: How many times the finest voxel edge the coarsest one is where volumes count as anisotropic.
ANISOTROPIC = 3.0
#: The first halvings of a network come out even; fewer voxels leave its last stages nothing.
MULTIPLE = 8
#: Along each axis, this part of the volumes has its place in the size.
PLACED_PERCENT = 95.0

_FINE_PERCENT = 10.0
#: Part of a voxel by which a width may be more than its voxels: spacings are rounded.
_OVER = 0.4
_ENLARGED_BY = 1.02


@dataclass(frozen=True, slots=True)
class Spacing:
    """A voxel size for all volumes.

    Attributes:
        mm: Along x, y, z, to two significant digits.
        coarse: The axis along which a fine value was taken in place of the median.
        enlarged: Whether it is above what the volumes have, so that the size is manageable.
    """

    mm: Triple
    coarse: int | None = None
    enlarged: bool = False


def spacing_for(spacings: Rows) -> Spacing:
    """The voxel size that suits most volumes.

    Args:
        spacings: Their voxel sizes in mm, (N, 3).
    """
    wanted = np.median(spacings, axis=0)
    coarse = int(wanted.argmax())
    others = float(np.delete(wanted, coarse).max())
    if wanted[coarse] <= ANISOTROPIC * wanted.min():
        return Spacing(_rounded(wanted))
    fine = float(np.percentile(spacings[:, coarse], _FINE_PERCENT))
    # Thinner slices than the other axes' voxels would only be interpolated.
    wanted[coarse] = min(max(fine, others), wanted[coarse])
    return Spacing(_rounded(wanted), coarse)


def manageable(spacing: Spacing, widths: Rows) -> Spacing:
    """The spacing, enlarged until the widths have their place in `MOST_VOXELS`.

    Of anisotropic voxels the short edges grow first: along the long one least can be spared.

    Args:
        spacing: What is wanted.
        widths: In mm along x, y, z.
    """
    exact, mm = np.array(spacing.mm), spacing.mm
    enlarged = False
    while math.prod(rounded_size(voxels_in(widths, mm))) > MOST_VOXELS:
        short = exact < exact.max() / ANISOTROPIC
        exact = np.where(short if short.any() else True, exact * _ENLARGED_BY, exact)
        mm, enlarged = _rounded(exact), True
    return Spacing(mm, spacing.coarse, enlarged)


def voxels_in(widths: Rows, mm: Triple) -> Voxels:
    """How many voxels widths in mm (x, y, z) take; `MULTIPLE` at least."""
    counts = np.ceil(np.asarray(widths) / np.array(mm) - _OVER).clip(MULTIPLE)
    return cast("Voxels", tuple(int(count) for count in counts))


def rounded_size(voxels: Voxels, reductions: Voxels = (MULTIPLE,) * 3) -> Voxels:
    """Numbers of voxels that a network's strides divide.

    Args:
        voxels: At least so many.
        reductions: Voxels of the input to one of the last stage, along each axis; beyond
            `MULTIPLE` the later halvings round up, which costs less than the padding would.
    """
    steps = [min(MULTIPLE, reduction) for reduction in reductions]
    size = [-(-count // step) * step for count, step in zip(voxels, steps, strict=True)]
    return cast("Voxels", tuple(size))


def placed(widths: Rows) -> Rows:
    """The widths in mm (3,) in which 95 % of some (N, 3) have their place, along each axis."""
    return np.percentile(widths, PLACED_PERCENT, axis=0, method="higher")


def _rounded(values: Rows) -> Triple:
    """To two significant digits."""
    return cast("Triple", tuple(float(f"{value:.2g}") for value in values))
