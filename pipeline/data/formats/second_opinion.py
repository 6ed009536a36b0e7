"""What ITK, which most tools read these files by, says of a header; we refuse to differ from it.

ITK decodes no voxel here: of a compressed file with a flipped bit it returns altered voxels without
an error (SimpleITK 2.5.7), so their bytes are checked and decoded by `stored`. Nor does it see the
file: it is shown a header of our own (`itk_header`), for some texts of a header end the process.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ...storage import write_bytes
from ..volume import Reason, Volume, VolumeError
from .stored import system_errors

ItkReader = Literal["NrrdImageIO", "MetaImageIO"]

_LPS = np.array([-1.0, -1.0, 1.0, 1.0])
#: ITK keeps more digits than some writers do.
_TOLERANCE_MM = 1e-3
#: What stands before the reason in a line of ITK, with an address, and of teem.
_ITS_OWN = re.compile(r".*ERROR: \w+\(0x[0-9a-f]+\): (\w+: )?|\[nrrd\] \w+: ", re.IGNORECASE)
#: What says nothing to a user: an address, our own file, the state of the system.
_EMPTY = re.compile(r"0x[0-9a-f]{4}|/proc/self/|header\.itk|^Reason: ", re.IGNORECASE)


def check_with_itk(path: Path, reader: ItkReader, header: bytes, volume: Volume) -> None:
    """Refuses a volume whose geometry ITK understands otherwise.

    Args:
        path: The volume, as messages name it; ITK does not open it.
        reader: The one that ITK shall use; it would else try others.
        header: What `itk_header` made of the fields that decide the geometry.
        volume: What was made of it.

    Raises:
        VolumeError: ITK cannot read the header, or the two differ by more than a thousandth of a
            millimetre at a corner of the volume.
    """
    seen = _information(path, reader, header)
    orientation = nib.orientations.io_orientation(volume.original_affine)
    shape = tuple(volume.voxels.shape[int(axis)] for axis in orientation[:, 0])
    if tuple(seen.GetSize()[:3]) != shape:
        reason = f"it is {shape} here and {seen.GetSize()} for SimpleITK"
        raise VolumeError(Reason.E_HEADER, path, reason)
    corner = np.array([*(count - 1 for count in shape), 1.0])
    for index in (np.array([0.0, 0.0, 0.0, 1.0]), corner):
        apart = np.abs((volume.original_affine - _affine(seen)) @ index).max()
        if not apart <= _TOLERANCE_MM:
            reason = f"a corner lies {apart:.3g} mm from where SimpleITK sees it"
            raise VolumeError(Reason.E_HEADER, path, reason)


def _information(path: Path, reader: ItkReader, header: bytes) -> sitk.ImageFileReader:
    # Silences ITK. MetaIO prints to stdout and stderr all the same, but only where a field is
    # missing or beyond its limits, which the headers made by `itk_header` are not.
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    seen = sitk.ImageFileReader()
    seen.SetImageIO(reader)
    with system_errors(path, path), _named(header) as name:
        seen.SetFileName(name)
        try:
            seen.ReadImageInformation()
        except RuntimeError as error:
            why = f"SimpleITK cannot read this header{_cleaned(str(error))}"
            raise VolumeError(Reason.E_HEADER, path, why) from None
    return seen


@contextmanager
def _named(header: bytes) -> Iterator[str]:
    """A name in ASCII under which ITK can open the header; in memory where the system can."""
    if sys.platform == "linux":
        with os.fdopen(os.memfd_create("header"), "wb", buffering=0) as file:
            file.write(header)
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "header.itk")
            write_bytes(path, header)
            yield str(path)


def _cleaned(text: str) -> str:
    """The last line of what ITK says, the most exact one, if it means anything to users."""
    lines = text.strip().splitlines() or [""]
    reason = _ITS_OWN.sub("", lines[-1]).strip()
    return "" if not reason or _EMPTY.search(reason) else f": {reason}"


def _affine(header: sitk.ImageFileReader) -> NDArray[np.float64]:
    """Index to RAS mm; ITK's own axes are LPS."""
    count = header.GetDimension()
    direction = np.array(header.GetDirection()).reshape(count, count)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(header.GetSpacing()[:3])
    affine[:3, 3] = header.GetOrigin()[:3]
    return _LPS[:, None] * affine
