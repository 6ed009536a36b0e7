"""What an audit knows of a volume: its extent, how it was stored, and its signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from ..errors import DataError
from .cases import Case
from .fingerprint import Extent
from .formats.dispatch import read_volume
from .thumbnail import FREQUENCIES, SIGNATURE_VERSION, signature_of, signature_text
from .volume import volume_of

#: Of what is kept on disk.
FACTS_NAME = f"facts-{SIGNATURE_VERSION}.json"

_SIGNATURE_LETTERS = 4 * -(-(FREQUENCIES**3) // 3)
_Signature = Annotated[str, Field(min_length=_SIGNATURE_LETTERS, max_length=_SIGNATURE_LETTERS)]


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """What one reading of a volume tells.

    Attributes:
        extent: Spacing, shape and range.
        orientation: Where the file's own axes lead, e.g. `LPS`.
        tilt: Largest angle in degrees between such an axis and the one that it is named after.
        signature: As `signature_text` writes it.
    """

    extent: Extent
    orientation: str
    tilt: float
    signature: _Signature


FACTS: TypeAdapter[dict[str, VolumeFacts]] = TypeAdapter(dict[str, VolumeFacts])
EXTENTS: TypeAdapter[dict[str, Extent]] = TypeAdapter(dict[str, Extent])


def volume_facts(case: Case, content: str) -> VolumeFacts:
    """Reads what there is to know of a case's volume.

    Args:
        case: The case.
        content: The hash of its voxels and geometry that is expected.

    Raises:
        VolumeError: The volume is refused.
        DataError: It is another one than was expected.
    """
    volume = read_volume(case.image)
    if volume.content != volume_of(content):
        raise DataError(
            f"the volume of case {case.case_id} changed during the audit",
            where=case.image.name,
            why="its voxels are not those that were read before",
            remedy="start the audit again when nobody writes these files",
        )
    x, y, z = volume.voxels.shape
    lowest, highest = float(volume.voxels.min()), float(volume.voxels.max())
    return VolumeFacts(
        Extent(volume.spacing, (x, y, z), lowest, highest),
        orientation_of(volume.original_affine),
        tilt_of(volume.original_affine),
        signature_text(signature_of(volume.voxels)),
    )


def orientation_of(affine: NDArray[np.float64]) -> str:
    """Where the axes of an affine (4, 4) lead: a letter each, R or L, A or P, S or I."""
    return "".join(str(letter) for letter in nib.orientations.aff2axcodes(affine))


def tilt_of(affine: NDArray[np.float64]) -> float:
    """Largest angle in degrees between a voxel axis and the nearest axis of the patient."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    nearest = np.clip(np.abs(axes).max(axis=0), 0.0, 1.0)
    return round(float(np.degrees(np.arccos(nearest)).max()), 1)
