"""The reference volume as a DICOM series, whole or spoilt; its files are made in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ..storage import make_folder, write_bytes
from .volumes import AFFINE, SHAPE, voxels

#: Of the headers: identities of a patient who never lived, and which no output may show.
_PATIENT = dict.fromkeys(("PatientName", "PatientID"), "Nobody^Planted")
_COLUMNS, _ROWS, _SLICES = SHAPE
_SPACING = np.diag(AFFINE)[:3]
#: The first voxel of a slice is the one farthest to the right and to the front, in LPS mm.
_CORNER = (AFFINE @ (_COLUMNS - 1, _ROWS - 1, 0, 1))[:3] * (-1.0, -1.0, 1.0)


@dataclass(slots=True)
class Series:
    """The files of one folder, to be spoilt.

    Attributes:
        slices: In order along z.
        files: Further files, by name.
        cut: Bytes that are left of a slice's file, by its number.
    """

    slices: list[Dataset]
    files: dict[str, bytes] = field(default_factory=dict)
    cut: dict[int, int] = field(default_factory=dict)


Spoil = Callable[[Series], object]


def slices(name: str = "a", seed: int = 0) -> list[Dataset]:
    """The reference volume, or another one on its grid, as axial slices of 16 bits.

    Args:
        name: Of the series; its UIDs follow from it.
        seed: Of the grey values.
    """
    values = voxels(seed)
    return [_slice(name, number, values[::-1, ::-1, number].T) for number in range(_SLICES)]


def _slice(
    name: str, number: int, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
) -> Dataset:
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, uid(f"{name} {number}")
    item.SeriesInstanceUID, item.FrameOfReferenceUID = uid(f"series {name}"), uid("frame")
    item.Modality, item.InstanceNumber = "CT", number + 1
    for keyword, text in _PATIENT.items():
        setattr(item, keyword, text)
    item.Rows, item.Columns = values.shape
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit = 16, 16, 15
    item.PixelRepresentation = 1
    item.RescaleSlope, item.RescaleIntercept = 1, 0
    item.PixelSpacing = [_SPACING[1], _SPACING[0]]
    item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    item.ImagePositionPatient = [*_CORNER[:2], _CORNER[2] + number * _SPACING[2]]
    item.PixelData = np.ascontiguousarray(values, "<i2").tobytes()
    return item


def uid(text: str) -> str:
    """A UID that is the same in every run."""
    return generate_uid(entropy_srcs=["volclass reliability", text])


def moved(item: Dataset, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> None:
    """Moves a slice by so many mm, LPS."""
    item.ImagePositionPatient = [
        round(float(place) + step, 6)
        for place, step in zip(item.ImagePositionPatient, (x, y, z), strict=True)
    ]


def content(item: Dataset) -> bytes:
    """A slice as its file."""
    file = io.BytesIO()
    item.save_as(file, enforce_file_format=True)
    return file.getvalue()


def planted(spoil: Spoil, choice: str = "") -> Callable[[Path], str]:
    """Plants a folder with the reference volume's slices, spoilt; their names tell no order.

    Args:
        spoil: What is done to the series before its files are written.
        choice: What the image cell says behind the folder's name.
    """

    def _plant(folder: Path) -> str:
        made = Series(slices())
        spoil(made)
        make_folder(folder / "scan")
        order = np.random.default_rng(1).permutation(len(made.slices))
        for number, (place, item) in enumerate(zip(order, made.slices, strict=True)):
            kept = made.cut.get(number)
            write_bytes(folder / "scan" / f"IM{place:04d}", content(item)[:kept])
        for name, data in made.files.items():
            write_bytes(folder / "scan" / name, data)
        return f"scan{choice}"

    return _plant
