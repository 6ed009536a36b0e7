"""Masks: the voxels of a structure, on the grid of the volume that they belong to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from ..errors import DataError
from .cases import Case
from .formats.dispatch import read_volume
from .reader import VolumeReader
from .volume import Reason, Volume, VolumeError

#: How far a voxel of the mask may lie from that of the volume, in parts of the shortest voxel edge.
#: Programs write affines in single precision or as quaternions, which moves voxels by up to about
#: 1e-3 mm, so the 1e-4 mm of content hashes would refuse sound masks. A hundredth of a voxel does
#: not, is too little to change a nearest neighbour, and far less than any mistake: a mask of
#: another series or crop is off by half a voxel or more.
TOLERANCE = 0.01
#: How far a label may lie from a whole number: a header's slope, often 1/255, does not give it back
#: exactly, and probabilities lie much farther away.
_WHOLE = 1e-3
#: Most different values of a mask, above which it is taken for a grey image.
_MOST_LABELS = 64


class MaskReader(VolumeReader):
    """Reads one mask a case: 1 where the file holds anything but 0, else 0."""

    def read_checked(self, path: Path) -> Volume:
        """The mask that the file holds.

        Raises:
            VolumeError: The file is refused, its mask marks nothing or everything, or it is none.
        """
        try:
            volume = read_volume(path, budget=self.budget)
        except VolumeError as error:
            if error.code != Reason.E_CONSTANT.name:
                raise
            empty = float(error.reason.split()[-1]) == 0.0
            reason = Reason.E_MASK_EMPTY if empty else Reason.E_MASK_FULL
            raise VolumeError(reason, path, f"{error.reason}, so nothing is told apart") from None
        return replace(volume, voxels=_structure(path, volume.voxels))


def _structure(path: Path, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 where a label other than 0 stands, else 0: (X, Y, Z), plane by plane to save memory.

    Raises:
        VolumeError: E_MASK_VALUES, E_MASK_EMPTY or E_MASK_FULL.
    """
    structure, found = np.empty_like(voxels), set[float]()
    for plane, marked in zip(voxels, structure, strict=True):
        labels = np.round(plane)
        away = np.abs(plane - labels)
        if away.max() > _WHOLE:
            value = plane.flat[away.argmax()]
            raise VolumeError(Reason.E_MASK_VALUES, path, f"it holds {value:g}, no whole number")
        found.update(np.unique(labels).tolist())
        if len(found) > _MOST_LABELS:
            why = f"it has more than {_MOST_LABELS} different values"
            raise VolumeError(Reason.E_MASK_VALUES, path, why)
        marked[...] = labels != 0
    if 0.0 not in found:
        raise VolumeError(Reason.E_MASK_FULL, path, "no voxel is 0")
    if len(found) == 1:
        raise VolumeError(Reason.E_MASK_EMPTY, path, f"no voxel is farther from 0 than {_WHOLE}")
    return structure


def on_the_same_grid(loaded: dict[str, MetaTensor]) -> dict[str, MetaTensor]:
    """Lets a mask that lies where its volume lies take over the volume's exact geometry.

    With it every later step gives both the same grid, whatever the rounding of their headers.

    Args:
        loaded: `image` and `mask`, each (X, Y, Z) in RAS+.

    Raises:
        VolumeError: E_MASK_GEOMETRY: the mask has other voxels, or they lie elsewhere.
    """
    image, mask = loaded["image"], loaded["mask"]
    file = Path(str(mask.meta["filename_or_obj"]))
    if image.shape != mask.shape:
        sizes = [" x ".join(str(size) for size in volume.shape) for volume in (mask, image)]
        why = f"it has {sizes[0]} voxels, its volume {sizes[1]} (in the order x, y, z)"
        raise VolumeError(Reason.E_MASK_GEOMETRY, file, why)
    own, other = image.affine.double().numpy(), mask.affine.double().numpy()
    away = farthest(own, other, tuple(image.shape))
    if away > TOLERANCE * np.linalg.norm(own[:3, :3], axis=0).min():
        why = f"its voxels lie up to {away:.3g} mm away from those of its volume"
        raise VolumeError(Reason.E_MASK_GEOMETRY, file, why)
    mask.affine = image.affine.clone()
    return loaded


def check_kept(cases: Sequence[Case], keeps: Callable[[Case], bool]) -> None:
    """Makes sure that preprocessing leaves a mask to learn from.

    Args:
        cases: What teaches a network; some have masks.
        keeps: Whether anything is left of a case's mask; asked until one says so.

    Raises:
        DataError: Nothing is left of any.
    """
    masked = [case for case in cases if case.mask is not None]
    if not any(map(keeps, masked)):
        raise DataError(
            "no training case keeps its mask",
            where="preprocess.size, preprocess.crop",
            why=f"preprocessing leaves no voxel of any of the {len(masked)} masks of a fold's "
            "training part",
            remedy="raise preprocess.size, set preprocess.crop=none or preprocess.fit=resize, or "
            "set model.masks.weight=0",
        )


def check_taught(cases: Sequence[Case]) -> None:
    """Makes sure that there is a mask to learn from.

    Args:
        cases: What teaches a network.

    Raises:
        DataError: None of them has a mask.
    """
    if all(case.mask is None for case in cases):
        raise DataError(
            "no training case has a mask",
            where="model.masks.weight",
            why=f"the masks of all {len(cases)} cases of a fold's training part are missing",
            remedy="add masks to the manifest, or set model.masks.weight=0",
        )


def farthest(one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """The largest distance in mm between a voxel's places by two affines; it is at a corner."""
    ends = itertools.product(*((0, size - 1) for size in shape))
    corners = np.array([(*corner, 1) for corner in ends], dtype=np.float64)
    return float(np.linalg.norm(corners @ (one - other)[:3].T, axis=1).max())
