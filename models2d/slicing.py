"""Volumes as slices: which slices there are, cutting them out, and putting their maps back.

Shapes: a batch of volumes is ``(B, 1, X, Y, Z)``; its S slices along one axis become one batch
``(B * S, C, H, W)``, in which the slices of a case follow each other, the lowest first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from .contract import Pair

Plane: TypeAlias = Literal["sagittal", "coronal", "axial"]
Axis: TypeAlias = Literal["axial", "coronal", "sagittal", "all"]
Triple: TypeAlias = tuple[int, int, int]

# Also the order in which the slices of several planes stand.
_PLANES: tuple[Plane, ...] = get_args(Plane)
_AXIS_NAMES = "XYZ"


@dataclass(frozen=True)
class Slicing:
    """Which slices of a volume a network over slices reads.

    Sagittal slices run along X and show Y and Z, coronal ones along Y showing X and Z, axial
    ones along Z showing X and Y; rows are the first axis shown, columns the second.

    Attributes:
        axis: the plane of the slices, or ``all`` for the three, sagittal ones first, axial last.
        count: slices along each axis, the centres of as many equal parts; ``None`` takes all.
        neighbours: slices of the volume on each side that go along as channels, chosen or not;
            at the border its slice is repeated.

    Raises:
        ValueError: an unknown axis, or a number out of its range.
    """

    axis: Axis = "axial"
    count: int | None = None
    neighbours: int = 0

    def __post_init__(self) -> None:
        if self.axis not in get_args(Axis):
            msg = f"unknown axis {self.axis!r}; choose from {', '.join(get_args(Axis))}"
            raise ValueError(msg)
        if self.count is not None and not _is_whole(self.count, 1):
            msg = (
                "count must be a whole number of at least 1, or empty for every slice; "
                f"got {self.count!r}"
            )
            raise ValueError(msg)
        if not _is_whole(self.neighbours, 0):
            msg = f"neighbours must be a whole number of at least 0, got {self.neighbours!r}"
            raise ValueError(msg)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes that are read, in the order in which their slices stand."""
        return _PLANES if self.axis == "all" else (self.axis,)

    @property
    def channels(self) -> int:
        """Channels of a slice: itself and its neighbours."""
        return 2 * self.neighbours + 1

    def names(self, size: Triple) -> list[tuple[Plane, int]]:
        """Give the plane of each slice and its 0-based index in the volume.

        Args:
            size: voxels of the volume along X, Y, Z.

        Raises:
            ValueError: fewer slices along an axis than asked for.
        """
        return [(plane, index) for plane in self.planes for index in self._indices(plane, size)]

    def lengths(self, size: Triple) -> list[int]:
        """Give the number of slices of each plane; arguments and errors as ``names``."""
        return [len(self._indices(plane, size)) for plane in self.planes]

    def min_size(self, smallest: Pair) -> Triple:
        """Give the smallest volume along X, Y, Z.

        Args:
            smallest: rows and columns of the smallest slice that the network takes.
        """
        # Along the axis of the slices there are at least as many as asked for.
        shapes = [_insert(smallest, plane, self.count or 1) for plane in self.planes]
        x, y, z = (max(extents) for extents in zip(*shapes, strict=True))
        return x, y, z

    def reduction(self, pixels: Pair) -> Triple:
        """Give the voxels of the volume for one position of the maps, along X, Y, Z.

        Along the axis of the slices it is 1, as each slice that is taken keeps its own maps. For
        ``all``, where each position is of one plane, it is that of the pixels on every axis.

        Args:
            pixels: rows and columns of a slice for one position of its maps.
        """
        shapes = [_insert(pixels, plane, 1) for plane in self.planes]
        x, y, z = (max(extents) for extents in zip(*shapes, strict=True))
        return x, y, z

    def check(self, x: Tensor, smallest: Pair) -> None:
        """Refuse a batch of volumes that cannot be cut or whose slices are too small.

        Args:
            x: what should be ``(B, 1, X, Y, Z)``.
            smallest: rows and columns of the smallest slice that the network takes.

        Raises:
            ValueError: not five dimensions, more than one channel, fewer slices than asked for,
                or an axis below ``min_size``.
        """
        if x.dim() != 5:
            msg = (
                "expected a batch (B, C, X, Y, Z) of five dimensions, or vectors of slices "
                f"(B, S, D), got {tuple(x.shape)}"
            )
            raise ValueError(msg)
        if x.shape[1] != 1:
            msg = f"expected 1 input channel(s), got {x.shape[1]}"
            raise ValueError(msg)
        size, least = volume_size(x), self.min_size(smallest)
        self.lengths(size)
        if any(n < m for n, m in zip(size, least, strict=True)):
            msg = (
                f"a volume of {size} voxels is smaller than the minimum {least} of this network "
                "over slices; resample or pad it, or slice it along another axis"
            )
            raise ValueError(msg)

    def pixels(self, size: Triple) -> dict[Plane, Pair]:
        """Give the rows and columns of the slices of each plane; arguments as ``names``."""
        x, y, z = size
        shown: dict[Plane, Pair] = {"sagittal": (y, z), "coronal": (x, z), "axial": (x, y)}
        return {plane: shown[plane] for plane in self.planes}

    def lengths_of_vectors(self, slices: int, size: Triple | None) -> list[int] | None:
        """Give the number of slices of each plane where only their vectors are there.

        Args:
            slices: number of vectors of a volume.
            size: voxels of the volume along X, Y, Z, if it is known.

        Returns:
            One number for each plane, or ``None`` where it cannot be known.

        Raises:
            ValueError: another number of slices than would be read.
        """
        lengths = [self.count or slices] * len(self.planes)
        if size is not None:
            lengths = self.lengths(size)
        elif self.count is None and len(self.planes) > 1:
            return None
        if sum(lengths) != slices:
            msg = (
                f"expected the vectors of {sum(lengths)} slices, got {slices}; they are of other "
                "slices than this network reads: embed the volumes again"
            )
            raise ValueError(msg)
        return lengths

    def cut(self, x: Tensor) -> list[Tensor]:
        """Cut volumes into their slices.

        Args:
            x: ``(B, 1, X, Y, Z)``, left unchanged.

        Returns:
            For each plane ``(B * S, channels, H, W)``, the neighbours from the lowest to the
            highest.

        Raises:
            ValueError: fewer slices along an axis than asked for.
        """
        return [self._cut_plane(x, plane) for plane in self.planes]

    def assemble(self, maps: Sequence[Tensor], batch: int) -> Tensor:
        """Put maps of slices back to where the slices were.

        Args:
            maps: for each plane ``(B * S, C, h, w)``.
            batch: number of volumes B.

        Returns:
            ``(B, C, X', Y', Z')`` with S positions along the axis of the slices. The grids of
            several planes differ: for ``all`` their positions stand side by side as
            ``(B, C, N, 1, 1)``, the planes in their order, each in the order of its own grid.
        """
        grids = [
            part.reshape(batch, -1, *part.shape[1:]).movedim(1, 2 + _axis(plane))
            for part, plane in zip(maps, self.planes, strict=True)
        ]
        if len(grids) == 1:
            return grids[0]
        return torch.cat([grid.flatten(2) for grid in grids], dim=2)[..., None, None]

    def take_apart(self, x: Tensor) -> Tensor:
        """Undo ``assemble`` for the maps of one plane.

        Args:
            x: ``(B, C, X', Y', Z')``.

        Returns:
            ``(B * S, C, h, w)``.
        """
        (plane,) = self.planes
        return x.movedim(2 + _axis(plane), 1).flatten(0, 1)

    def _indices(self, plane: Plane, size: Triple) -> list[int]:
        there = size[_axis(plane)]
        if self.count is None:
            return list(range(there))
        if self.count > there:
            msg = (
                f"{self.count} {plane} slices asked for, but a volume of {size} voxels has {there} "
                f"along {_AXIS_NAMES[_axis(plane)]}; ask for a count of at most {there}, leave it "
                "empty for every slice, or resample the volumes to more slices"
            )
            raise ValueError(msg)
        return [(2 * part + 1) * there // (2 * self.count) for part in range(self.count)]

    def _cut_plane(self, x: Tensor, plane: Plane) -> Tensor:
        slices = x[:, 0].movedim(1 + _axis(plane), 1)
        last = slices.shape[1] - 1
        shifts = range(-self.neighbours, self.neighbours + 1)
        indices = self._indices(plane, volume_size(x))
        wanted = [min(max(index + shift, 0), last) for index in indices for shift in shifts]
        taken = slices.index_select(1, torch.tensor(wanted, device=x.device))
        return taken.reshape(-1, self.channels, *taken.shape[2:])


@dataclass(frozen=True)
class VolumeStage:
    """What one stage of a network over slices declares about its maps.

    Attributes:
        channels: number of channels.
        reduction: voxels of the volume for one position, along X, Y, Z; see ``Slicing.reduction``.
        module: name of the module that computes the stage.
    """

    channels: int
    reduction: Triple
    module: str


class VolumeFeatureInfo(tuple[VolumeStage, ...]):
    """What the stages declare, the first stage first."""

    __slots__ = ()

    def channels(self) -> list[int]:
        """Give the number of channels of each stage."""
        return [stage.channels for stage in self]

    def reduction(self) -> list[Triple]:
        """Give the reduction of each stage, along X, Y, Z."""
        return [stage.reduction for stage in self]


def volume_size(x: Tensor) -> Triple:
    """Give the voxels of volumes ``(B, C, X, Y, Z)`` along X, Y, Z."""
    return x.shape[2], x.shape[3], x.shape[4]


def in_pieces(
    part: Callable[[Tensor], tuple[Tensor, ...]], slices: Tensor, most: int
) -> tuple[Tensor, ...]:
    """Compute ``part`` of ``slices`` in pieces of at most ``most`` of them, to bound memory."""
    if len(slices) <= most:
        return part(slices)
    pieces = [part(piece) for piece in torch.split(slices, most)]
    return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))


def _axis(plane: Plane) -> int:
    return _PLANES.index(plane)


def _insert(pair: Pair, plane: Plane, along: int) -> list[int]:
    extents = list(pair)
    extents.insert(_axis(plane), along)
    return extents


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
