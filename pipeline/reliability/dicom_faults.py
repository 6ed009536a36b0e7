"""Rows 54 to 56: folders of DICOM slices that are no volume, and some that are one."""

from __future__ import annotations

import copy

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRLittleEndian,
    RLELossless,
    RTStructureSetStorage,
)

from ..data.formats.dicom_series import series_hash
from .bad_file import BadFile, Outcome
from .series import Series, Spoil, content, moved, planted, slices, uid

_MIDDLE = 7


def _bad(
    row: int,
    name: str,
    spoil: Spoil,
    *codes: str,
    expected: Outcome = "quarantine",
    choice: str = "",
) -> BadFile:
    # What is read in the end must be the reference volume, whatever lay beside it.
    twin = expected != "quarantine"
    return BadFile(row, name, expected, codes, planted(spoil, choice), twin=twin)


def dicom_faults() -> list[BadFile]:
    """Rows 54 to 56."""
    gap, several = "E_SLICE_GAP", "E_DICOM_SERIES"
    stacks, unread = "E_DICOM_STACKS", "E_DICOM_SLICE"
    first = f"#series={series_hash(uid('series a'))}"
    return [
        _bad(54, "a slice is missing", lambda made: made.slices.pop(_MIDDLE), gap),
        _bad(54, "two neighbours are missing", _without_two, gap),
        _bad(54, "a slice twice", _doubled, gap),
        _bad(54, "two slices too near", lambda made: moved(made.slices[4], z=1.0), gap),
        _bad(54, "whole, in no order", lambda _: None, expected="ok"),
        _bad(55, "two series", _second_series, several),
        _bad(55, "no such series", _second_series, several, choice="#series=00000000"),
        _bad(55, "the series that was asked for", _second_series, expected="ok", choice=first),
        _bad(55, "two stacks, one above the other", _apart, stacks),
        _bad(55, "two stacks, side by side", _beside, stacks),
        _bad(55, "two images at each place", _echoes, stacks),
        _bad(55, "two directions", _turned, stacks),
        _bad(55, "two sizes", _localiser, "E_DICOM_SIZES"),
        _bad(55, "two pixel spacings", _finer, "E_DICOM_SIZES"),
        _bad(55, "contours beside the slices", _contours, "W_SKIPPED", expected="warn"),
        _bad(56, "tilted gantry", _tilted, "E_DICOM_TILT"),
        _bad(56, "file cut in half", lambda made: made.cut.update({_MIDDLE: 900}), unread),
        _bad(
            56, "file cut within its header", lambda made: made.cut.update({_MIDDLE: 200}), unread
        ),
        _bad(56, "empty file among the slices", _empty, unread),
        _bad(56, "no pixels", lambda made: delattr(made.slices[_MIDDLE], "PixelData"), unread),
        _bad(56, "fewer pixels than declared", _short, unread),
        _bad(56, "syntax without a decoder", _video, unread),
        _bad(56, "damaged compressed data", _damaged, unread),
        _bad(56, "several frames a file", _frames, "E_DICOM_FRAMES"),
    ]


def _without_two(made: Series) -> None:
    del made.slices[_MIDDLE : _MIDDLE + 2]


def _doubled(made: Series) -> None:
    """The same image twice, as a copy under another name leaves it."""
    made.files["IM9999"] = content(made.slices[_MIDDLE])


def _second_series(made: Series) -> None:
    """Another series of the same grid, as a scanner stores several echoes or doses together."""
    made.slices += slices("b", seed=1)


def _apart(made: Series) -> None:
    for item in made.slices[8:]:
        moved(item, z=400.0)


def _beside(made: Series) -> None:
    for item in made.slices[8:]:
        moved(item, x=60.0)


def _echoes(made: Series) -> None:
    others = slices("b", seed=1)
    for item in others:
        item.SeriesInstanceUID = made.slices[0].SeriesInstanceUID
    made.slices += others


def _turned(made: Series) -> None:
    for item in made.slices[8:]:
        item.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def _localiser(made: Series) -> None:
    item = made.slices[0]
    item.Rows = 12
    item.PixelData = item.PixelData[: 2 * 12 * item.Columns]


def _finer(made: Series) -> None:
    made.slices[0].PixelSpacing = [0.75, 1.0]


def _contours(made: Series) -> None:
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.SOPClassUID, item.SOPInstanceUID = RTStructureSetStorage, uid("contours")
    item.SeriesInstanceUID, item.Modality = uid("series of contours"), "RTSTRUCT"
    made.files["contours.dcm"] = content(item)


def _tilted(made: Series) -> None:
    """A gantry of 15 degrees: each slice lies a little more to the back."""
    step = 3.0 * float(np.tan(np.radians(15.0)))
    for number, item in enumerate(made.slices):
        moved(item, y=number * step)


def _empty(made: Series) -> None:
    made.cut[_MIDDLE] = 0


def _short(made: Series) -> None:
    made.slices[_MIDDLE].PixelData = made.slices[_MIDDLE].PixelData[:100]


def _video(made: Series) -> None:
    for item in made.slices:
        item.compress(RLELossless, generate_instance_uid=False)
        item.file_meta.TransferSyntaxUID = MPEG2MPML


def _damaged(made: Series) -> None:
    for item in made.slices:
        item.compress(RLELossless, generate_instance_uid=False)
    made.slices[_MIDDLE].PixelData = encapsulate([bytes(64)])


def _frames(made: Series) -> None:
    item = copy.deepcopy(made.slices[0])
    item.NumberOfFrames = len(made.slices)
    item.PixelData = b"".join(each.PixelData for each in made.slices)
    made.slices[:] = [item]
