"""The anatomy of a phantom patient: a body with an organ, and a lesion whose outline is its class.

Everything here is a function of position in mm, so that any grid and pose can sample it. The two
classes draw lesion volume, grey value, place and elongation from the same distributions; only the
surface differs, as the margin of a benign nodule differs from that of a spiculated malignant one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Margin = Literal["smooth", "spiculated"]

AIR, FAT, SOFT_TISSUE = -1000.0, -100.0, 40.0
"""Grey values in HU."""
EDGE_MM = 1.0
"""Width of the transition between two tissues."""
MARGIN = 0.25
"""Width of the lesion's own transition, in radii.

Relative, not in mm: then the volume between any two grey values is the same part of the lesion for
every outline, and a histogram cannot tell a large surface from a small one.
"""
TEXTURE_PITCH_MM = 4.0
TEXTURE_POINTS = 30


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An axis-aligned ellipsoid; an infinite half-axis makes it a cylinder.

    Attributes:
        centre: Position in mm, shape (3,).
        half_axes: Half-axes in mm, shape (3,).
    """

    centre: Doubles
    half_axes: Doubles

    def cover(self, points: Floats, shrink: float = 0.0) -> Floats:
        """Part of each point's neighbourhood that lies inside.

        Args:
            points: Positions in mm, shape (3, ...).
            shrink: How far inside the surface the edge is drawn, in mm.

        Returns:
            Values from 0 (outside) to 1 (inside), shape (...).
        """
        half_axes = self.half_axes - shrink
        reach = np.sqrt(sum(((points[i] - self.centre[i]) / half_axes[i]) ** 2 for i in range(3)))
        return _soft_edge((1.0 - reach) * half_axes.min())


@dataclass(frozen=True, slots=True)
class Outline:
    """A star-shaped surface: a stretched sphere with bumps, of a given volume.

    In stretched coordinates the radius in direction u is
    `scale * (1 + sum of height * exp(sharpness * (u . direction - 1)))`.

    Attributes:
        stretch: Factors along x, y, z, shape (3,); their product is 1, so volume stays.
        directions: Unit vectors to the tips of the bumps, shape (bumps, 3).
        heights: Height of each bump relative to the sphere's radius, shape (bumps,).
        sharpness: Concentration of each bump; the angular width is about its root's inverse.
        scale: Radius of the sphere without bumps, in mm.
    """

    stretch: Doubles
    directions: Doubles
    heights: Doubles
    sharpness: Doubles
    scale: float

    def profile(self, units: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Radius relative to `scale` in each direction: shape (3, ...) to (...), at least 1."""
        radius = np.ones(units.shape[1:], dtype=units.dtype)
        for tip, height, sharpness in zip(
            self.directions, self.heights, self.sharpness, strict=True
        ):
            # Spelled out, because a BLAS product may round differently with other thread counts.
            cosine = sum(units[i] * units.dtype.type(tip[i]) for i in range(3))
            radius += height * np.exp(sharpness * (cosine - 1.0))
        return radius

    @property
    def reach(self) -> float:
        """Distance in mm from the centre to the farthest tip, at most."""
        return float(self.scale * self.profile(self.directions.T).max() * self.stretch.max())

    def cover(self, offsets: Floats) -> Floats:
        """Part of each point's neighbourhood that lies inside.

        Args:
            offsets: Positions in mm relative to the lesion's centre, shape (3, ...).

        Returns:
            Values from 0 (outside) to 1 (inside), shape (...).
        """
        result = np.zeros(offsets.shape[1:], dtype=np.float32)
        near = np.sqrt(sum(offsets[i] ** 2 for i in range(3))) < (1.0 + MARGIN) * self.reach
        relaxed = offsets[:, near] / self.stretch[:, None].astype(np.float32)
        distance = np.sqrt(sum(relaxed[i] ** 2 for i in range(3)))
        surface = self.scale * self.profile(relaxed / np.maximum(distance, 1e-3))
        result[near] = np.clip(0.5 + (1.0 - distance / surface) / MARGIN, 0.0, 1.0)
        return result


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What stays the same in all scans of a patient; positions in mm from the body's centre."""

    body: Ellipsoid
    fat_mm: float
    spine: Ellipsoid
    spine_hu: float
    organ: Ellipsoid
    organ_hu: float
    lesion_centre: Doubles
    lesion_mm: float
    lesion_hu: float
    outline: Outline
    texture: Floats

    def hounsfield(self, points: Floats) -> Floats:
        """Grey values without noise.

        Args:
            points: Positions in mm from the body's centre, shape (3, ...).

        Returns:
            Values in HU, shape (...).
        """
        value = np.full(points.shape[1:], AIR, dtype=np.float32)
        value += (FAT - AIR) * self.body.cover(points)
        muscle = self.body.cover(points, shrink=self.fat_mm)
        value += (SOFT_TISSUE - FAT) * muscle
        value += (self.organ_hu - SOFT_TISSUE) * self.organ.cover(points)
        value += (self.spine_hu - SOFT_TISSUE) * self.spine.cover(points)
        value += (self.lesion_hu - value) * self.lesion_cover(points)
        grid = points / TEXTURE_PITCH_MM + (TEXTURE_POINTS - 1) / 2
        texture = ndimage.map_coordinates(self.texture, grid, order=1, mode="reflect")
        return value + muscle * texture

    def lesion_cover(self, points: Floats) -> Floats:
        """Part of each point's neighbourhood, shape (3, ...) in mm, that is lesion: 0 to 1."""
        offsets = np.stack([points[i] - np.float32(self.lesion_centre[i]) for i in range(3)])
        return self.outline.cover(offsets)


def draw_outline(rng: np.random.Generator, margin: Margin, diameter_mm: float) -> Outline:
    """Draws a lesion's surface.

    Args:
        rng: Source of the random choices.
        margin: Gentle bumps, or long narrow ones.
        diameter_mm: Diameter of the ball that has the lesion's volume.
    """
    bumps = int(rng.integers(14, 20))
    turned = rotation(rng.uniform(-np.pi, np.pi, 3)) @ sphere_points(bumps)
    tips = turned.T + rng.normal(0.0, 0.12, (bumps, 3))
    tips /= np.linalg.norm(tips, axis=1, keepdims=True)
    stretch = np.exp(rng.normal(0.0, 0.07, 3))
    stretch /= np.cbrt(stretch.prod())
    strength, shape = rng.uniform(0.0, 1.0), rng.uniform(0.0, 1.0, (2, bumps))
    if margin == "spiculated":
        heights = (2.3 + 0.7 * strength) * (0.8 + 0.4 * shape[0])
        sharpness = 20.0 + 12.0 * shape[1]
    else:
        heights = (0.05 + 0.15 * strength) * shape[0]
        sharpness = 2.0 + 4.0 * shape[1]
    unit = Outline(stretch, tips, heights, sharpness, scale=1.0)
    # The volume within a star-shaped surface is 4/3 pi times the mean of its radius cubed.
    mean_cube = float(np.mean(unit.profile(sphere_points(2000)) ** 3))
    return Outline(stretch, tips, heights, sharpness, scale=diameter_mm / 2 / np.cbrt(mean_cube))


def draw_anatomy(rng: np.random.Generator, margin: Margin) -> Anatomy:
    """Draws a patient; the class enters the lesion's outline and nothing else."""
    organ = Ellipsoid(
        rng.uniform((-2.0, 1.0, -2.0), (2.0, 5.0, 2.0)),
        rng.uniform((26.0, 24.0, 26.0), (29.0, 27.0, 29.0)),
    )
    organ_hu = rng.uniform(60.0, 80.0)
    noise = rng.standard_normal((TEXTURE_POINTS,) * 3).astype(np.float32)
    texture = ndimage.gaussian_filter(noise, 0.8)
    diameter = rng.uniform(20.0, 23.0)
    return Anatomy(
        body=Ellipsoid(np.zeros(3), np.append(rng.uniform((36.0, 35.0), (39.0, 37.0)), 1e4)),
        fat_mm=rng.uniform(2.0, 5.0),
        spine=Ellipsoid(np.array([0.0, -29.0, 0.0]), np.append(rng.uniform(4.0, 5.0, 2), 1e4)),
        spine_hu=rng.uniform(200.0, 350.0),
        organ=organ,
        organ_hu=organ_hu,
        lesion_centre=organ.centre + rng.uniform(-2.0, 2.0, 3),
        lesion_mm=diameter,
        lesion_hu=organ_hu + rng.uniform(200.0, 240.0),
        outline=draw_outline(rng, margin, diameter),
        texture=texture * np.float32(rng.uniform(5.0, 8.0) / texture.std()),
    )


def sphere_points(count: int) -> Doubles:
    """Evenly spread directions, shape (3, count): the golden-angle spiral."""
    index = np.arange(count) + 0.5
    height = 1.0 - 2.0 * index / count
    ring, angle = np.sqrt(1.0 - height**2), np.pi * (3.0 - np.sqrt(5.0)) * index
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), height])


def rotation(angles: Doubles) -> Doubles:
    """Rotation matrix, shape (3, 3): turns about x, then y, then z by `angles` in radians."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
    return np.array(
        [
            [cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz],
            [cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz],
            [-sy, sx * cy, cx * cy],
        ]
    )


def _soft_edge(inside_mm: npt.NDArray[np.floating]) -> Floats:
    """Turns a depth below a surface in mm into a cover from 0 to 1."""
    cover: Floats = np.clip(0.5 + inside_mm / EDGE_MM, 0.0, 1.0).astype(np.float32)
    return cover
