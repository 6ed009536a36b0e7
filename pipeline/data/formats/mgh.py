"""A FreeSurfer MGH file, compressed (`.mgz`) or not (`.mgh`), becomes a checked volume.

Source: FreeSurfer's MGH format, surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.freesurfer import mghformat
from numpy.typing import NDArray

from ..volume import Finding, Reason, Volume, VolumeError
from .assumed import assumed_axes
from .canonical import (
    Layout,
    checked_affine,
    checked_spacing,
    frame_finding,
    one_frame,
    three_axes,
    volume_of,
)
from .magic import misnamed
from .stored import Place, decoded_head, regular_size, system_errors

_mgh: Any = mghformat  # has no types
_FIELDS_BYTES = 90  # what is used of the header
_DATA_START = 284


def read_mgh(path: Path, *, budget: int = 4 << 30) -> Volume:
    """Reads and checks one MGH volume, compressed or not, by its content.

    Args:
        path: The file.
        budget: Most bytes that the decoded file, and its voxels, may take.

    Raises:
        VolumeError: The volume is refused.
    """
    with system_errors(path, path):
        regular_size(path, path)
        with path.open("rb") as handle:
            head, packed = decoded_head(path, handle, _FIELDS_BYTES)
    if len(head) < _FIELDS_BYTES:
        raise VolumeError(Reason.E_TRUNCATED, path, "its header is not whole")
    header = np.frombuffer(head, dtype=_mgh.header_dtype, count=1)[0]
    if int(header["version"]) != 1:
        raise VolumeError(Reason.E_FORMAT, path, f"its version is {header['version']}, not 1")
    # The scanner's parameters and other tags follow the voxels.
    place = Place(path, packing="gzip" if packed else "raw", skip=_DATA_START, tail=True)
    sizes, frame, frames = one_frame(path, [int(size) for size in header["dims"]])
    shape = three_axes(path, sizes)
    affine, findings = _affine(path, header, shape)
    dtype = _dtype(path, header)
    place = place.of_frame(frame, frames, math.prod(shape) * dtype.itemsize)
    findings += frame_finding(frame, frames) + misnamed(path, "MGH", (".mgh",), packed)
    layout = Layout(place, shape, dtype, affine, findings=findings)
    return volume_of(path, layout, budget)


def _dtype(path: Path, header: np.void) -> np.dtype[np.generic]:
    code = int(header["type"])
    try:
        dtype: np.dtype[np.generic] = _mgh.data_type_codes.numpy_dtype[code]
    except KeyError as error:
        raise VolumeError(Reason.E_DTYPE, path, f"unknown type code {code}") from error
    return dtype


def _affine(
    path: Path, header: np.void, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """Index to RAS mm; the header states the place of the volume's centre."""
    centre = np.zeros(3)
    findings: tuple[Finding, ...] = ()
    if int(header["goodRASFlag"]) > 0:
        spacing = checked_spacing(path, header["delta"].tolist(), "delta")
        # The header holds the direction of each axis in turn, which are the columns.
        matrix = header["Mdc"].astype(np.float64).T * spacing
        centre = header["Pxyz_c"].astype(np.float64)
    else:
        # Nor does it state a voxel size then; FreeSurfer assumes 1 mm.
        matrix, findings = assumed_axes(path, "its goodRASFlag is not set; FreeSurfer assumes LIA")
    affine = np.eye(4)
    with np.errstate(all="ignore"):  # what overflows is refused below
        affine[:3, :3] = matrix
        affine[:3, 3] = centre - matrix @ np.array(shape) / 2
    return checked_affine(path, affine), findings
