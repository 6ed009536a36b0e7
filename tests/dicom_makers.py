"""DICOM series on disk for tests: a small CT of ten slices, to be spoilt in every way."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.config import IGNORE, settings
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RTStructureSetStorage,
    generate_uid,
)

from pipeline.data.formats.dicom_child import answer_of, pixels_of
from pipeline.data.formats.dicom_header import Answer
from pipeline.data.formats.dicom_process import Decoded, answer_about

Spoil = Callable[[list[Dataset]], object]
ROWS, COLUMNS, COUNT = 12, 9, 10
SPACING, PIXELS = 3.0, (0.8, 0.7)  # between slices; between rows, between columns
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SOURCE = dict.fromkeys(("PatientName", "PatientID", "StudyDescription"), "Canary^Planted")


def slices(
    count: int = COUNT,
    *,
    orientation: Sequence[float] = AXIAL,
    start: Sequence[float] = (-10.0, -20.0, 5.0),
    spacing: float = SPACING,
    size: tuple[int, int] = (ROWS, COLUMNS),
    seed: int = 0,
) -> list[Dataset]:
    """The slices of one series in order along their normal, each with its own values."""
    series, frame = generate_uid(), generate_uid()
    normal = np.cross(orientation[:3], orientation[3:])
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        item = Dataset()
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, generate_uid()
        item.SeriesInstanceUID, item.FrameOfReferenceUID = series, frame
        item.Modality, item.InstanceNumber = "CT", number + 1
        for keyword, text in SOURCE.items():
            setattr(item, keyword, text)
        item.Rows, item.Columns = size
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit = 16, 16, 15
        item.PixelRepresentation = 1
        item.RescaleSlope, item.RescaleIntercept = 2, -1024
        item.PixelSpacing = list(PIXELS)
        item.ImageOrientationPatient = list(orientation)
        place(item, np.asarray(start) + number * spacing * normal)
        item.PixelData = generator.integers(-500, 1500, size).astype("<i2").tobytes()
        made.append(item)
    return made


def place(item: Dataset, position: Iterable[float]) -> None:
    """Moves a slice; decimal strings have 16 characters."""
    item.ImagePositionPatient = [f"{number:.8f}"[:16] for number in position]


def height(item: Dataset, height: float) -> None:
    """Moves a slice of an axial series along its normal."""
    x, y, _ = item.ImagePositionPatient
    place(item, (float(x), float(y), height))


def save(folder: Path, made: Sequence[Dataset]) -> Path:
    """Writes the slices under names that tell nothing of their order."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(1).permutation(len(made))
    for number, item in zip(order, made, strict=True):
        write(folder / f"IM{number:04d}", item)
    return folder


def write(path: Path, item: Dataset) -> None:
    """Writes one file, as the standard wants it."""
    item.save_as(path, enforce_file_format=True)


def series(folder: Path, spoil: Spoil | None = None) -> Path:
    """A folder with ten slices, spoilt before they are written."""
    made = slices()
    if spoil is not None:
        spoil(made)
    return save(folder, made)


def everywhere(**values: object) -> Spoil:
    """Sets elements of all slices."""

    def spoil(made: list[Dataset]) -> None:
        for item, (name, value) in product(made, values.items()):
            setattr(item, name, value)

    return spoil


def at(number: int, **values: object) -> Spoil:
    """Sets elements of one slice."""
    return lambda made: everywhere(**values)([made[number]])


def without(*keywords: str) -> Spoil:
    """Takes elements away from all slices."""

    def spoil(made: list[Dataset]) -> None:
        for item, keyword in product(made, keywords):
            delattr(item, keyword)

    return spoil


def stored(item: Dataset) -> NDArray[np.int16]:
    """The stored values (rows, columns) of an uncompressed slice."""
    return np.frombuffer(item.PixelData, "<i2").reshape(item.Rows, item.Columns)


def truth(made: Sequence[Dataset]) -> NDArray[np.float32]:
    """What an axial series shows, (X, Y, Z) in RAS+, from the standard's words alone."""
    planes = [
        stored(item) * float(item.RescaleSlope) + float(item.RescaleIntercept) for item in made
    ]
    # Rows grow to the back and columns to the left, so both are turned round.
    return np.stack([plane[::-1, ::-1].T for plane in planes], axis=2).astype(np.float32)


def structures() -> Dataset:
    """An object without an image, as radiotherapy leaves it beside a CT."""
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID, item.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    item.SeriesInstanceUID, item.Modality = generate_uid(), "RTSTRUCT"
    item.StructureSetLabel = "Canary^Planted"
    return item


def reread(folder: Path, number: int = 4) -> tuple[Path, FileDataset]:
    """One file of a folder by its number, and what it holds."""
    path = sorted(folder.iterdir())[number]
    return path, dcmread(path)


class InThisProcess:
    """Takes the place of `SeriesProcess` where starting one for each folder would take too long.

    It asks the same functions, and what they answer goes through JSON as well.
    """

    def __init__(self, path: Path, folder: Path, files: Iterable[str], *limits: object) -> None:
        self.folder, self.files = folder, files

    def __enter__(self) -> InThisProcess:
        self.mode = settings.reading_validation_mode
        settings.reading_validation_mode = IGNORE
        return self

    def __exit__(self, *error: object) -> None:
        settings.reading_validation_mode = self.mode

    def headers(self) -> dict[str, Answer]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = {name: json.dumps(answer_of(self.folder / name)) for name in self.files}
        return {name: answer_about(name, text) for name, text in told.items()}

    def ask_for_pixels(self, names: Iterable[str], size: int) -> None:
        pass

    def pixels(self, name: str, size: int) -> Decoded:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                content, extra = pixels_of(self.folder / name)
            except ValueError as error:
                return Decoded(problem=str(error))
            except Exception as error:  # as the process itself does
                return Decoded(problem=f"it cannot be read ({type(error).__name__})")
        assert len(content) == size
        return Decoded(size, extra, content=content)


def jpeg_lossless(item: Dataset) -> None:
    """Compresses a slice by JPEG lossless with the first selection value (ITU-T T.81, annex H)."""
    values = stored(item).astype(np.int64) & 0xFFFF
    predicted = np.empty_like(values)
    predicted[:, 1:] = values[:, :-1]
    predicted[1:, 0] = values[:-1, 0]
    predicted[0, 0] = 1 << 15
    bits = []
    for difference in (((values - predicted + 0x8000) & 0xFFFF) - 0x8000).ravel().tolist():
        category = abs(difference).bit_length()
        bits.append(f"{category:05b}")  # a code of five bits for each of 17 categories
        if 0 < category < 16:
            low = difference if difference > 0 else difference + (1 << category) - 1
            bits.append(f"{low:0{category}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    scan = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = struct.pack(">BHHB3B", 16, item.Rows, item.Columns, 1, 1, 0x11, 0)
    table = bytes([0, *(17 if length == 5 else 0 for length in range(1, 17)), *range(17)])
    start = bytes([1, 1, 0, 1, 0, 0])
    parts = ((0xC3, frame), (0xC4, table), (0xDA, start))
    head = b"".join(struct.pack(">BBH", 0xFF, mark, len(part) + 2) + part for mark, part in parts)
    item.PixelData = encapsulate([b"\xff\xd8" + head + scan + b"\xff\xd9"])
    item["PixelData"].VR = "OB"
    item.file_meta.TransferSyntaxUID = JPEGLosslessSV1
