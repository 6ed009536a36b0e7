"""Axes of a volume whose header states none: what the user says of them, or a refusal."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..volume import Finding, Reason, VolumeError
from .rules import rules_in_force


def assumed_axes(path: Path, why: str) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """Directions of the three axes in RAS+ (3, 3), a column each, by `data.assume_orientation`.

    Args:
        path: The volume, as messages name it.
        why: What its header lacks.

    Raises:
        VolumeError: Nothing is to be assumed, or only what NIfTI-1 suggests.
    """
    letters = rules_in_force().orientation
    if letters is None or letters == "nifti":
        raise VolumeError(Reason.E_ORIENT_MISSING, path, why)
    return axes_of(letters), (assumed(letters),)


def axes_of(letters: str) -> NDArray[np.float64]:
    """Directions in RAS+ (3, 3), a column an axis, of axes that point to e.g. `LPS`."""
    orientation = nib.orientations.axcodes2ornt(tuple(letters))
    directions: NDArray[np.float64] = np.zeros((3, 3))
    for axis, (place, sign) in enumerate(orientation):
        directions[int(place), axis] = sign
    return directions


def assumed(letters: str) -> Finding:
    """What is said of a volume whose axes were assumed."""
    text = f"the header states no orientation; {letters} is taken, as data.assume_orientation says"
    return Finding("W_ORIENTATION", text)
