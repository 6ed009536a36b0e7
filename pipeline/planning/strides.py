"""How a PoolFormer strides over a grid, so that its cells come near to cubes.

As in nnU-Net (Isensee et al. 2021, Nature Methods 18:203), the coarse axis of anisotropic voxels
waits until the others have caught up, and no axis is halved once it has little left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue

from .fingerprint import Triple, Voxels

#: Kernel of a stem by its stride, as the registered sizes have them.
_KERNELS = {1: 3, 2: 3, 4: 7}
_STEM_STRIDES = (1, 2, 4)
_STRIDES = (1, 2)
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a network's build decides its strides.

    Attributes:
        stages: How many it has.
        stem: Stride of its stem.
    """

    stages: int
    stem: int


def shape_of(name: str, depths: int | None = None) -> Shape:
    """The build of a registered PoolFormer.

    Args:
        name: E.g. `poolformer3d_t`.
        depths: Number of stages where an option sets it.
    """
    stages = 3 if name == "poolformer3d_n" else 4
    return Shape(depths or stages, 2 if name in ("poolformer3d_n", "poolformer3d_t") else 4)


@dataclass(frozen=True, slots=True)
class Strides:
    """Strides of stem and steps, along x, y, z.

    Attributes:
        stem: Of the stem.
        steps: Of the step before each further stage.
    """

    stem: Voxels
    steps: tuple[Voxels, ...]

    @property
    def kernel(self) -> Voxels:
        """Extents of the stem's kernel."""
        return cast("Voxels", tuple(_KERNELS[stride] for stride in self.stem))

    @property
    def reductions(self) -> tuple[Voxels, ...]:
        """Voxels of the input to one of each stage."""
        found = [self.stem]
        for step in self.steps:
            found.append(cast("Voxels", tuple(a * b for a, b in zip(found[-1], step, strict=True))))
        return tuple(found)

    def cells(self, spacing: Triple) -> list[Triple]:
        """Voxel size in mm of each stage."""
        return [
            cast("Triple", tuple(a * b for a, b in zip(spacing, reduction, strict=True)))
            for reduction in self.reductions
        ]

    def grids(self, size: Voxels) -> list[Voxels]:
        """Voxels of each stage."""
        axes = [
            _grids(count, [axis[place] for axis in (self.stem, *self.steps)])
            for place, count in enumerate(size)
        ]
        return list(zip(*axes, strict=True))

    def stem_setting(self, shape: Shape) -> dict[str, JsonValue]:
        """`model.stem` of the configuration; null where the network's own stem strides so."""
        own = self.stem == (shape.stem,) * 3
        return {
            "kernel": None if own else list(self.kernel),
            "stride": None if own else list(self.stem),
        }

    def steps_setting(self) -> list[JsonValue] | None:
        """`model.strides` of the configuration; null where every step halves, as by default."""
        if all(step == (2, 2, 2) for step in self.steps):
            return None
        return [list(step) for step in self.steps]


def strides_for(spacing: Triple, voxels: Voxels, shape: Shape) -> Strides:
    """Strides by which the cells of each stage come near to cubes.

    The first stage aims at the network's own stride over the finest axis, or at the coarsest
    voxel edge where that is longer, up to four voxels; each further stage at twice that. Along
    every axis the stride is taken that comes nearest, and none that leaves one voxel.

    Args:
        spacing: Voxel size in mm.
        voxels: Number of voxels; at least 2 along an axis, or one voxel cannot be avoided.
        shape: The network's build.
    """
    finest = min(spacing)
    aim = min(max(max(spacing), shape.stem * finest), max(_STEM_STRIDES) * finest)
    axes = [
        _axis(edge, count, aim, shape.stages) for edge, count in zip(spacing, voxels, strict=True)
    ]
    stem, *steps = zip(*axes, strict=True)
    return Strides(stem, tuple(steps))


def _axis(edge: float, count: int, aim: float, stages: int) -> list[int]:
    strides: list[int] = []
    for stage in range(stages):
        choices = _STRIDES if stage else _STEM_STRIDES
        allowed = [1, *(s for s in choices[1:] if _grids(count, [*strides, s])[-1] >= _FEWEST)]
        cell, wanted = edge * math.prod(strides), aim * 2.0**stage
        off = {stride: abs(math.log(cell * stride / wanted)) for stride in allowed}
        strides.append(min(allowed, key=lambda stride: round(off[stride], 6)))
    return strides


def _grids(count: int, strides: list[int]) -> list[int]:
    """Voxels after each stride along an axis: the sizes of strided convolutions."""
    stem, *steps = strides
    kernel = _KERNELS[stem]
    padding = (kernel - stem + 1) // 2
    found = [max((count + 2 * padding - kernel) // stem + 1, 0)]
    for step in steps:
        found.append((found[-1] - 1) // step + 1)
    return found
