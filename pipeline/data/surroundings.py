"""What a volume is apart from what it shows, as one reading tells it."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from .cases import Case
from .fingerprint import Extent, extent_of, read_expected
from .volume import Volume

#: Of what is kept on disk.
SURROUNDINGS_NAME = "metadata-2.json"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a volume is apart from what it shows.

    Attributes:
        extent: Spacing, shape, lowest and highest grey value.
        orientation: Where the file's own axes lead, e.g. `LPS`.
        tilt: Largest angle in degrees between such an axis and the one that it is named after.
    """

    extent: Extent
    orientation: str
    tilt: float


SURROUNDINGS: TypeAdapter[dict[str, Surroundings]] = TypeAdapter(dict[str, Surroundings])


def surroundings(case: Case, content: str) -> Surroundings:
    """Reads what surrounds a case's voxels.

    Args:
        case: The case.
        content: The hash of its voxels and geometry that is expected.

    Raises:
        VolumeError: The volume is refused.
        DataError: It is another one than was expected.
    """
    return surroundings_of(read_expected(case, content))


def surroundings_of(volume: Volume) -> Surroundings:
    """What surrounds the voxels of a volume that was read."""
    affine = volume.original_affine
    return Surroundings(extent_of(volume), orientation_of(affine), tilt_of(affine))


def orientation_of(affine: NDArray[np.float64]) -> str:
    """Where the axes of an affine (4, 4) lead: a letter each, R or L, A or P, S or I."""
    return "".join(str(letter) for letter in nib.orientations.aff2axcodes(affine))


def tilt_of(affine: NDArray[np.float64]) -> float:
    """Largest angle in degrees between a voxel axis and the nearest axis of the patient."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    nearest = np.clip(np.abs(axes).max(axis=0), 0.0, 1.0)
    return round(float(np.degrees(np.arccos(nearest)).max()), 1)
