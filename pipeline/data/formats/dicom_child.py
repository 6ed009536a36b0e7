"""The process that reads DICOM files: it alone meets what is in them, and it may die of it.

It imports nothing of the project, so that it starts as soon as pydicom does. `dicom_process` talks
to it through pipes, in lines of JSON:

1. it is told `{"folder", "files", "memory"}` and answers a line for each file: what it is, and the
   header of an image, without the pixels;
2. it is told the files whose pixels are wanted, and answers for each `{"size", "extra"}` followed
   by so many bytes, or `{"problem"}`.

Source: DICOM PS3.3 (C.7.6.3 Image Pixel, C.11.1 Modality LUT), PS3.5 and PS3.10.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import signal
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

Json = dict[str, object]

_PREAMBLE = 128
#: A data set without preamble starts with the group of file meta or of identification.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_PIXEL_DATA = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
_JPEGS = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
_END_OF_IMAGE = b"\xff\xd9"
#: What tells one scan from another: texts, numbers that count, and numbers that measure.
_TEXTS = (
    *("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "SeriesDescription"),
    *("Modality", "ImageType", "RescaleType", "Units", "ContrastBolusAgent", "ConvolutionKernel"),
)
#: Without which pixels have no meaning.
_PIXELS = ("BitsAllocated", "PixelRepresentation", "Rows", "Columns")
_INTS = ("SeriesNumber", "AcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex")
_SETTINGS = ("EchoTime", "DiffusionBValue", "RepetitionTime", "InversionTime", "FlipAngle", "KVP")


def answer_of(path: Path) -> Json:
    """What a file is: `image` with its header, `other` object, `none`, or `damaged`.

    Args:
        path: A regular file.
    """
    with path.open("rb") as file:
        head = file.read(_PREAMBLE + 4)
        sure = head[_PREAMBLE:] == b"DICM"
        if not sure and head[:2] not in _FIRST_GROUPS:
            return {"kind": "none", "what": "0 bytes" if not head else ""}
        file.seek(0)
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            return _described(dataset, file, sure)
        except MemoryError:
            return {"kind": "memory"}
        except Exception:  # of damaged data, pydicom raises anything; its words may quote them
            return {"kind": "damaged" if sure else "none", "what": "its header is damaged"}


def _described(dataset: FileDataset, file: BinaryIO, sure: bool) -> Json:
    sop_class = UID(str(dataset.get("SOPClassUID") or _meta(dataset, "MediaStorageSOPClassUID")))
    known = sop_class.name if sop_class.name != sop_class else ""
    pixels = _has_pixels(dataset, file)
    has_size = "Rows" in dataset and "Columns" in dataset
    if known and not known.endswith("Image Storage"):
        return {"kind": "other", "what": known}
    if not known and not (has_size or pixels):
        if sop_class:
            return {"kind": "other", "what": "object of a private class"}
        return {"kind": "damaged" if sure else "none", "what": "its header ends too early"}
    if not has_size:
        return {"kind": "damaged", "what": "its header ends before the size of its image"}
    return {"kind": "image", "header": _header(dataset, pixels)}


def _meta(dataset: FileDataset, keyword: str) -> str:
    return str(dataset.file_meta.get(keyword) or "") if hasattr(dataset, "file_meta") else ""


def _has_pixels(dataset: FileDataset, file: BinaryIO) -> bool:
    if _syntax(dataset) == DeflatedExplicitVRLittleEndian:  # the file is no place to look there
        file.seek(0)
        return "PixelData" in pydicom.dcmread(file, force=True)
    return file.read(4) in _PIXEL_DATA  # where reading stopped


def _syntax(dataset: FileDataset) -> UID:
    """The transfer syntax; that of a data set without file meta is told by its bytes."""
    stated = _meta(dataset, "TransferSyntaxUID")
    if stated:
        return UID(stated)
    implicit, little = dataset.original_encoding
    names = {(False, False): "1.2.840.10008.1.2.2", (False, True): "1.2.840.10008.1.2.1"}
    return UID(names.get((bool(implicit), bool(little)), "1.2.840.10008.1.2"))


def _header(dataset: FileDataset, pixels: bool) -> Json:
    syntax = _syntax(dataset)
    return {
        "series": str(dataset.get("SeriesInstanceUID") or ""),
        "frame_of_reference": str(dataset.get("FrameOfReferenceUID") or ""),
        "modality": str(dataset.get("Modality") or ""),
        "derived": _is_derived(dataset),
        "syntax": syntax.name,
        "decodable": _decodable(syntax),
        "pixels": pixels,
        "rows": _whole(dataset, "Rows", 0),
        "columns": _whole(dataset, "Columns", 0),
        "frames": _whole(dataset, "NumberOfFrames", 1),
        "samples": _whole(dataset, "SamplesPerPixel", 1),
        "colours": str(dataset.get("PhotometricInterpretation") or ""),
        "allocated": _whole(dataset, "BitsAllocated", 0),
        "stored": _whole(dataset, "BitsStored", 0),
        "high": _whole(dataset, "HighBit", -1),
        "signed": _whole(dataset, "PixelRepresentation", 0),
        "table": "ModalityLUTSequence" in dataset,
        "slope": _reals(dataset, "RescaleSlope"),
        "intercept": _reals(dataset, "RescaleIntercept"),
        "padding": _reals(dataset, "PixelPaddingValue") + _reals(dataset, "PixelPaddingRangeLimit"),
        "spacing": _reals(dataset, "PixelSpacing"),
        "orientation": _reals(dataset, "ImageOrientationPatient"),
        "position": _reals(dataset, "ImagePositionPatient"),
        "number": _whole(dataset, "InstanceNumber", -1),
        "between": _reals(dataset, "SpacingBetweenSlices"),
        "thickness": _reals(dataset, "SliceThickness"),
        "acquired": _whole(dataset, "ImagesInAcquisition", 0),
        "scan": _scan(dataset),
        "settings": {keyword: _real(dataset, keyword) for keyword in _SETTINGS},
    }


def _scan(dataset: Dataset) -> dict[str, str]:
    """What tells one scan from another, by keyword: a hash of each, "" where it is absent."""
    stated = {keyword: _text(dataset, keyword) for keyword in _TEXTS}
    for keyword in _INTS:
        stated[keyword] = "/".join(f"{value:.17g}" for value in _reals(dataset, keyword)).encode()
    # One name, or one date, may be written in several ways: DOE^JOHN^^ and Doe^John.
    stated["PatientName"] = re.sub(rb"[\^\s]+", b" ", stated["PatientName"].lower()).strip(b" =")
    stated["PatientBirthDate"] = re.sub(rb"\D", b"", stated["PatientBirthDate"])
    return {
        keyword: hashlib.sha256(value).hexdigest()[:16] if value else ""
        for keyword, value in stated.items()
    }


def _text(dataset: Dataset, keyword: str) -> bytes:
    """A text of the header as its bytes: in an unknown character set it is the same text, too."""
    element = dataset.get_item(keyword)
    if element is None or element.value is None:
        return b""
    value = element.value
    return (value if isinstance(value, bytes) else str(value).encode()).strip(b" \0")


def _is_derived(dataset: Dataset) -> bool:
    """Whether the image was computed from others, or is none of a scanner (ImageType)."""
    return not {b"DERIVED", b"SECONDARY"}.isdisjoint(_text(dataset, "ImageType").split(b"\\")[:2])


def _decodable(syntax: UID) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:  # no image, e.g. a video, or unknown
        return False


def _whole(dataset: Dataset, keyword: str, absent: int) -> int:
    """A whole number of the header; -1 where it is none."""
    values = _reals(dataset, keyword)
    if not values:
        return absent
    return int(values[0]) if len(values) == 1 and abs(values[0]) < 1 << 31 else -1


def _real(dataset: Dataset, keyword: str) -> float | None:
    values = _reals(dataset, keyword)
    return values[0] if len(values) == 1 and abs(values[0]) < float("inf") else None


def _reals(dataset: Dataset, keyword: str) -> list[float]:
    """The numbers of an element; none where it is absent or empty, NaN where it is no number."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return []
        return [float(item) for item in (value if isinstance(value, MultiValue) else [value])]
    except (TypeError, ValueError, OverflowError):
        return [float("nan")]


def pixels_of(path: Path) -> tuple[bytes, int]:
    """The stored values (rows, columns) of one image, little endian, and how many bytes too many.

    Raises:
        ValueError: Says what is wrong, in words without any text of the file.
    """
    dataset = pydicom.dcmread(path, force=True)
    if "PixelData" not in dataset:
        raise ValueError("its pixel data are missing or cut off")
    lacking = [keyword for keyword in _PIXELS if dataset.get(keyword) in (None, "")]
    if lacking:
        raise ValueError(f"its header states no {' and no '.join(lacking)}")
    syntax = _syntax(dataset)
    bits, signed = int(dataset.BitsAllocated), int(dataset.PixelRepresentation)
    shape = (int(dataset.Rows), int(dataset.Columns))
    wanted = shape[0] * shape[1] * bits // 8
    extra = 0
    if syntax.is_encapsulated:
        _check_frames(dataset.PixelData, syntax)
    else:
        have = len(dataset.PixelData)
        if have < wanted or have >= 2 * wanted:
            raise ValueError(f"it holds {have:,} bytes of pixels, its header declares {wanted:,}")
        extra = have - wanted - wanted % 2
    if not getattr(dataset, "file_meta", None):
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    try:
        values = dataset.pixel_array
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything; their words may quote the data
        raise ValueError(f"it cannot be decoded as {syntax.name}") from error
    if values.shape != shape:
        raise ValueError(f"it decodes to {values.shape}, its header declares {shape}")
    return values.astype(np.dtype(f"<{'i' if signed else 'u'}{bits // 8}")).tobytes(), max(extra, 0)


def _check_frames(encapsulated: bytes, syntax: UID) -> None:
    """One frame, and of JPEG and its kin the whole of it: decoders fill up what is missing."""
    try:
        frames = list(generate_frames(encapsulated, number_of_frames=1))
    except Exception as error:
        raise ValueError("its compressed data are damaged") from error
    if not frames or not frames[0]:
        raise ValueError("it holds no compressed image")
    if syntax in _JPEGS and not frames[0].rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise ValueError(f"its compressed data ({syntax.name}) stop before their end")


def _send_pixels(output: BinaryIO, folder: Path, names: Iterable[str]) -> None:
    for name in names:
        try:
            content, extra = pixels_of(folder / name)
        except MemoryError:
            _send(output, {"memory": True})
        except ValueError as error:
            _send(output, {"problem": str(error)})
        except Exception as error:  # see `answer_of`
            _send(output, {"problem": f"it cannot be read ({type(error).__name__})"})
        else:
            _send(output, {"size": len(content), "extra": extra})
            output.write(content)
            output.flush()


def _send(output: BinaryIO, value: Json) -> None:
    output.write(json.dumps(value).encode() + b"\n")
    output.flush()


def main() -> None:
    """Serves one folder, then ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the main process decides when to stop
    warnings.simplefilter("ignore")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints must not come between the answers
    request = json.loads(sys.stdin.buffer.readline())
    try:
        resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
    except (ValueError, OSError) as error:  # a system without this limit, or with a lower one
        print(error, file=sys.stderr)
    folder = Path(request["folder"])
    for name in request["files"]:
        _send(output, answer_of(folder / name))
    wanted = sys.stdin.buffer.readline()
    if wanted:
        _send_pixels(output, folder, json.loads(wanted))


if __name__ == "__main__":
    main()
