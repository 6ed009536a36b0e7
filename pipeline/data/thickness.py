"""Local thickness: at every voxel of a shape, how wide the shape is there.

Hildebrand and Rueegsegger 1997, "A new method for the model-independent assessment of thickness in
three-dimensional images", Journal of Microscopy 185:67.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Mask = NDArray[np.bool_]
Lengths = NDArray[np.float64]
Places = NDArray[np.int64]
Spacing = tuple[float, float, float]

#: Part of the finest voxel edge within which two lengths count as equal.
_EQUAL = 1e-6


@dataclass(frozen=True, eq=False)
class Widths:
    """How far apart the surfaces of a shape are, in mm; 0 outside of it.

    Attributes:
        depth: Distance to the nearest voxel outside, from centre to centre, shape (X, Y, Z).
        thickness: Diameter of the largest ball inside the shape that holds the voxel, same shape.
    """

    depth: Lengths
    thickness: Lengths


@dataclass(frozen=True, eq=False)
class _Balls:
    """The largest ball about each voxel of a shape, in its box with one voxel of margin.

    Attributes:
        mask: The shape (X, Y, Z).
        spacing: Voxel size in mm, shape (3,).
        radius: Of the ball in mm, 0 outside of the shape; it holds the voxels that are nearer.
        diameter: In mm, between the surfaces.
    """

    mask: Mask
    spacing: Lengths
    radius: Lengths
    diameter: Lengths

    @property
    def strides(self) -> tuple[int, int]:
        """How far apart neighbours along x and y lie in the flat arrays."""
        _, rows, columns = self.mask.shape
        return rows * columns, columns

    @property
    def equal(self) -> float:
        """Lengths in mm that differ by less are the same but for rounding."""
        return _EQUAL * float(self.spacing.min())


@dataclass(frozen=True, eq=False)
class _Size:
    """Balls of one radius and diameter, as columns along z about their centres, in voxels.

    Attributes:
        centres: Their places in the flat arrays.
        x: How far aside each column stands.
        y: The same along y.
        half: From the middle of the column to its end, which is included.
    """

    centres: Places
    x: Places
    y: Places
    half: Places


def widths(mask: Mask, spacing: Spacing) -> Widths:
    """Depth and local thickness of a shape, which ends where the volume ends.

    The surface runs somewhere between the last voxel inside and the first one outside. It is taken
    to lie a quarter of a voxel before the centre of that one, so that a plate along the axes is
    half a voxel too thick or too thin, and never more.

    Args:
        mask: The shape (X, Y, Z).
        spacing: Voxel size in mm along x, y, z.

    Raises:
        ValueError: The mask has no three axes or no voxels, or a spacing is not above 0.
    """
    _check(mask, spacing)
    depth, thickness = np.zeros(mask.shape), np.zeros(mask.shape)
    if mask.any():
        box = box_of(mask)
        balls = _balls(np.pad(mask[box], 1), np.array(spacing))
        inner = (slice(1, -1),) * 3
        depth[box] = balls.radius[inner]
        thickness[box] = _painted(balls)[inner]
    return Widths(depth, thickness)


def depths(mask: Mask, spacing: Spacing) -> Lengths:
    """Depth of a shape alone, as `widths` has it: a small part of the work.

    Args:
        mask: The shape (X, Y, Z), which ends where the volume ends.
        spacing: Voxel size in mm along x, y, z.

    Raises:
        ValueError: As of `widths`.
    """
    _check(mask, spacing)
    depth = np.zeros(mask.shape)
    if mask.any():
        box = box_of(mask)
        depth[box] = distance_transform_edt(np.pad(mask[box], 1), spacing)[(slice(1, -1),) * 3]
    return depth


def _check(mask: Mask, spacing: Spacing) -> None:
    if mask.ndim != 3 or mask.size == 0:
        raise ValueError(f"a mask (X, Y, Z) with voxels is expected, not one of shape {mask.shape}")
    if len(spacing) != 3 or not all(np.isfinite(size) and size > 0 for size in spacing):
        raise ValueError(f"three spacings in mm above 0 are expected, not {spacing}")


def box_of(mask: Mask) -> tuple[slice, slice, slice]:
    """The smallest box that holds a shape of at least one voxel."""
    places = np.nonzero(mask)
    found = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in places)
    return cast("tuple[slice, slice, slice]", found)


def _balls(mask: Mask, spacing: Lengths) -> _Balls:
    radius, nearest = distance_transform_edt(mask, sampling=spacing, return_indices=True)
    own = np.indices(mask.shape, dtype=nearest.dtype)
    size = spacing[:, None, None, None]
    # Where the first voxel outside lies to the side, the voxel edge of that side counts.
    towards = np.sqrt((((nearest - own) * size * size) ** 2).sum(axis=0))
    edge = np.divide(towards, radius, out=np.zeros_like(radius), where=mask)
    return _Balls(mask, spacing, radius, 2.0 * radius - 0.5 * edge)


def _painted(balls: _Balls) -> Lengths:
    """The largest diameter of all balls that hold a voxel.

    Balls are painted from the smallest to the largest, those of one size at once: +1 where a
    column of a ball begins, -1 where it has ended, and their running sum is above 0 inside. The
    margin keeps every column within its row.
    """
    along_x, along_y = balls.strides
    thickness = np.zeros(balls.mask.size)
    ends = np.zeros(balls.mask.size, dtype=np.int32)
    one = np.int32(1)  # a plain 1 would be converted anew at each place: fifty times as slow
    for size in _sizes(balls):
        middle = size.centres[:, None] + (size.x * along_x + size.y * along_y)
        ends[:] = 0
        np.add.at(ends, (middle - size.half).ravel(), one)
        np.add.at(ends, (middle + size.half + 1).ravel(), -one)
        inside = np.cumsum(ends, dtype=np.int32) > 0
        np.copyto(thickness, balls.diameter.ravel()[size.centres[0]], where=inside)
    return thickness.reshape(balls.mask.shape)


def _sizes(balls: _Balls) -> Iterator[_Size]:
    """Balls by their size, the smallest diameter first, without those that lie within another."""
    centres = np.flatnonzero(balls.mask)
    steps = [
        np.rint(lengths.ravel()[centres] / balls.equal).astype(np.int64)
        for lengths in (balls.radius, balls.diameter)
    ]
    order = np.lexsort(steps)
    changes = np.any([np.diff(step[order]) != 0 for step in steps], axis=0)
    for group in np.split(centres[order], np.flatnonzero(changes) + 1):
        size = _Size(group, *_columns(float(balls.radius.ravel()[group[0]]), balls))
        kept = group[~_within_another(size, balls)]
        if len(kept):
            yield replace(size, centres=kept)


def _columns(radius: float, balls: _Balls) -> tuple[Places, Places, Places]:
    """A ball as columns along z: how far to the side each stands, and its half height, in voxels.

    A voxel whose centre is exactly `radius` away is not within the ball: it may lie outside.
    """
    reach = radius - balls.equal
    sides = [np.arange(-int(reach / size), int(reach / size) + 1) for size in balls.spacing[:2]]
    x, y = (axis.ravel() for axis in np.meshgrid(*sides, indexing="ij"))
    left = reach**2 - (x * balls.spacing[0]) ** 2 - (y * balls.spacing[1]) ** 2
    x, y, left = x[left >= 0], y[left >= 0], left[left >= 0]
    return x, y, (np.sqrt(left) / balls.spacing[2]).astype(np.int64)


def _within_another(size: _Size, balls: _Balls) -> Mask:
    """Whether all voxels of a ball are in the one about a neighbour, which is no smaller.

    Balls of voxels lie within each other more often than true ones (Dougherty and Kunzelmann 2007,
    Microscopy and Microanalysis 13:1678), so that few are left to be painted.
    """
    radius, diameter = balls.radius.ravel(), balls.diameter.ravel()
    found = np.zeros(len(size.centres), dtype=np.bool_)
    octant = (size.x >= 0) & (size.y >= 0)
    corners = np.stack([size.x[octant], size.y[octant], size.half[octant]], axis=1)
    strides = (*balls.strides, 1)
    for step in itertools.product((0, 1), repeat=3):
        if not any(step):
            continue
        # A ball is the same on all sides: its farthest voxel lies across from the neighbour.
        away = np.square((corners + step) * balls.spacing).sum(axis=1)
        needed = float(np.sqrt(away.max())) + balls.equal
        for signs in itertools.product(*((-1, 1) if side else (0,) for side in step)):
            there = size.centres + sum(a * b for a, b in zip(signs, strides, strict=True))
            found |= (radius[there] >= needed) & (diameter[there] >= diameter[size.centres])
    return found
