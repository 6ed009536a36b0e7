"""What ITK, which most tools read these files by, says of a header; we refuse to differ from it.

ITK decodes no voxel here: of a compressed file with a flipped bit it returns altered voxels without
an error (SimpleITK 2.5.7), so their bytes are checked and decoded by `stored`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..volume import Reason, Volume, VolumeError

ItkReader = Literal["NrrdImageIO", "MetaImageIO"]

_LPS = np.array([-1.0, -1.0, 1.0, 1.0])
#: ITK keeps more digits than some writers do.
_TOLERANCE_MM = 1e-3


def check_with_itk(path: Path, reader: ItkReader, volume: Volume) -> None:
    """Refuses a volume whose geometry ITK understands otherwise.

    Args:
        path: A file that was identified, and whose data file is known to be a plain one.
        reader: The one that ITK shall use; it would else try others.
        volume: What was made of it.

    Raises:
        VolumeError: ITK cannot read the header, or the two differ by more than a thousandth of a
            millimetre at a corner of the volume.
    """
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # its complaints go past Python to stderr
    header = sitk.ImageFileReader()
    header.SetImageIO(reader)
    header.SetFileName(str(path))
    try:
        header.ReadImageInformation()
    except RuntimeError as error:
        reason = f"SimpleITK cannot read its header: {str(error).strip().splitlines()[-1]}"
        raise VolumeError(Reason.E_HEADER, path, reason) from None
    orientation = nib.orientations.io_orientation(volume.original_affine)
    shape = tuple(volume.voxels.shape[int(axis)] for axis in orientation[:, 0])
    if tuple(header.GetSize()[:3]) != shape:
        reason = f"it is {shape} here and {header.GetSize()} for SimpleITK"
        raise VolumeError(Reason.E_HEADER, path, reason)
    corner = np.array([*(count - 1 for count in shape), 1.0])
    for index in (np.array([0.0, 0.0, 0.0, 1.0]), corner):
        apart = np.abs((volume.original_affine - _affine(header)) @ index).max()
        if not apart <= _TOLERANCE_MM:
            reason = f"a corner lies {apart:.3g} mm from where SimpleITK sees it"
            raise VolumeError(Reason.E_HEADER, path, reason)


def _affine(header: sitk.ImageFileReader) -> NDArray[np.float64]:
    """Index to RAS mm; ITK's own axes are LPS."""
    count = header.GetDimension()
    direction = np.array(header.GetDirection()).reshape(count, count)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(header.GetSpacing()[:3])
    affine[:3, 3] = header.GetOrigin()[:3]
    return _LPS[:, None] * affine
