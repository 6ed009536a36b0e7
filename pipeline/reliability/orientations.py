"""Six orientations whose truth was worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.formats.dispatch import read_volume
from ..storage import make_folder, write_bytes
from .volumes import QFORM_CODE, SFORM_CODE, nifti, patched


@dataclass(frozen=True, slots=True)
class Orientation:
    """Where a volume of 2 x 3 x 4 voxels lies, worked out by hand.

    Attributes:
        name: Of the case.
        corner: The stored value that must come to lie at voxel (0, 0, 0), the one farthest to the
            left, back and bottom.
        place: Where that is, in mm, RAS.
        spacing: In mm (x, y, z).
        passed: Whether the reader agrees, and all other voxels follow in their order.
    """

    name: str
    corner: int
    place: tuple[float, float, float]
    spacing: tuple[float, float, float]
    passed: bool


def orientations(folder: Path) -> list[Orientation]:
    """Six cases; stored values are 100 i + 10 j + k + 1 at index (i, j, k)."""
    make_folder(folder)
    i, j, k = np.indices((2, 3, 4))
    values = (100 * i + 10 * j + k + 1).astype("<i2")
    found = []
    for number, case in enumerate(_CASES):
        name, affine, qform, corner, place, spacing, steps = case
        content = nifti(values, np.array(affine, dtype=np.float64))
        # One of the two orientations alone, so that it must be understood.
        content = patched(content, SFORM_CODE if qform else QFORM_CODE, "h", 0)
        path = folder / f"{number}.nii"
        write_bytes(path, content)
        volume = read_volume(path)
        expected = corner + sum(
            step * axis for step, axis in zip(steps, np.indices(volume.voxels.shape), strict=True)
        )
        passed = (
            bool(np.array_equal(volume.voxels, np.asarray(expected)))
            and bool(np.allclose(volume.affine[:3, 3], place, atol=1e-4))
            and bool(np.allclose(volume.spacing, spacing, atol=1e-5))
        )
        found.append(Orientation(name, corner, place, spacing, passed))
    return found


_Matrix = list[list[float]]
_Triple = tuple[float, float, float]
#: Name, affine, whether the qform states it (else the sform), the value in the corner, its place,
#: the spacing, and by how much the value grows along x, y, z.
_CASES: tuple[tuple[str, _Matrix, bool, int, _Triple, _Triple, tuple[int, int, int]], ...] = (
    ("RAS", [[2, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]], False,
     1, (5, 6, 7), (2, 3, 4), (100, 10, 1)),
    ("x to the left", [[-2, 0, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]], False,
     101, (3, 6, 7), (2, 3, 4), (-100, 10, 1)),
    ("half a turn about z, by the qform", [[-2, 0, 0, 5], [0, -3, 0, 6], [0, 0, 4, 7],
     [0, 0, 0, 1]], True,
     121, (3, 0, 7), (2, 3, 4), (-100, -10, 1)),
    ("sagittal: i to the front, j to the bottom, k to the left",
     [[0, 0, -4, 5], [2, 0, 0, 6], [0, -3, 0, 7], [0, 0, 0, 1]], False,
     24, (-7, 6, 1), (4, 2, 3), (-1, 100, -10)),
    ("coronal: i to the left, j to the top, k to the front",
     [[-2, 0, 0, 5], [0, 0, 4, 6], [0, 3, 0, 7], [0, 0, 0, 1]], True,
     101, (3, 6, 7), (2, 4, 3), (-100, 1, 10)),
    ("mirrored along z, by a negative qfac", [[2, 0, 0, 5], [0, 3, 0, 6], [0, 0, -4, 7],
     [0, 0, 0, 1]], True,
     4, (5, 6, -5), (2, 3, 4), (100, 10, -1)),
)  # fmt: skip
