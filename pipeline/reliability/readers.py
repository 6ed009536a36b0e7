"""How the common readers, and ours, are asked for a volume: plainly, and for its voxels in RAS+."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from monai.transforms import EnsureChannelFirst, LoadImage, Orientation
from numpy.typing import NDArray

from ..data.formats.dispatch import read_volume
from ..data.volume import Volume

Peer = Literal["nibabel", "SimpleITK", "MONAI", "volclass"]
PEERS: tuple[Peer, ...] = ("nibabel", "SimpleITK", "MONAI", "volclass")
#: An image of any library: their types have no types.
Image = Any

_nib: Any = nib  # its functions have no types


@dataclass(frozen=True, slots=True)
class Reader:
    """How one library reads.

    Attributes:
        load: Reads a file, or a folder of slices, with all its voxels.
        turned: The voxels (X, Y, Z) of what was read, in RAS+ order, by the library's own means.
    """

    load: Callable[[Path], Image]
    turned: Callable[[Image], NDArray[np.generic]]


def reader(peer: Peer) -> Reader:
    """Sets a reader up."""
    match peer:
        case "nibabel":
            return Reader(_nibabel, lambda image: _squeezed(_nib.as_closest_canonical(image)))
        case "SimpleITK":
            sitk.ProcessObject.SetGlobalWarningDisplay(True)
            return Reader(_simple_itk, _simple_itk_turned)
        case "MONAI":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load: Callable[[str], Image] = LoadImage(image_only=True)
            return Reader(lambda path: load(str(path)), _monai_turned)
        case "volclass":
            return Reader(_volclass, lambda volume: volume.voxels)


def _nibabel(path: Path) -> Image:
    image = _nib.load(str(path))
    np.asarray(image.dataobj)
    return image


def _squeezed(image: Image) -> NDArray[np.generic]:
    values: NDArray[np.generic] = np.asarray(image.dataobj)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    return values


def _simple_itk(path: Path) -> Image:
    """A file, or the first series of a folder, as its documentation shows it."""
    if not path.is_dir():
        return sitk.ReadImage(str(path))
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path))
    return sitk.ReadImage(names)


def _simple_itk_turned(image: Image) -> NDArray[np.generic]:
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    values: NDArray[np.generic] = sitk.GetArrayFromImage(sitk.DICOMOrient(image, "RAS"))
    return values.transpose()


def _monai_turned(image: Image) -> NDArray[np.generic]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        turned = Orientation(axcodes="RAS")(EnsureChannelFirst()(image))
    values: NDArray[np.generic] = turned[0].numpy()
    return values


def _volclass(path: Path) -> Volume:
    volume = read_volume(path)
    for finding in volume.findings:
        warnings.warn(f"{finding.code}: {finding.text}", stacklevel=1)
    return volume


def nibabel_decode(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]] | None:
    """What nibabel reads, in RAS+ order, with its affine; None where it refuses the file."""
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            image = _nib.load(path)
            values = _squeezed(image)
            orientation = _nib.io_orientation(image.affine)
            turned = _nib.apply_orientation(values, orientation)
            affine = image.affine @ _nib.orientations.inv_ornt_aff(orientation, values.shape)
            return np.asarray(turned, dtype=np.float32), np.asarray(affine, dtype=np.float64)
    except Exception:  # whatever it raises for a damaged header
        return None
    finally:
        logger.setLevel(level)
