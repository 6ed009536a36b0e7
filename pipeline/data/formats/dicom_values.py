"""Whether the grey values of DICOM slices can be decoded, and what they mean.

Source: DICOM PS3.3, C.7.6.3 (Image Pixel) and C.11.1 (Modality LUT).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from ..volume import Reason, VolumeError
from .dicom_header import SliceHeader, listed

_GREY = ("MONOCHROME1", "MONOCHROME2")


def check_values(path: Path, slices: Sequence[SliceHeader]) -> None:
    """Refuses slices whose values cannot be had, or would be wrong.

    `MONOCHROME1` says that a display shows low values bright; it changes no value (C.7.6.3.1.2),
    so nothing is inverted. A series that mixes it with `MONOCHROME2` has two meanings.

    Args:
        path: The volume, as messages name it.
        slices: All images of one series.

    Raises:
        VolumeError: Several frames, channels or colours, a voxel type that is not understood, no
            pixels, no decoder, no slope and intercept that can be used, or some slices with them
            and others without. Where none states them they are 1 and 0.
    """
    for reason, wrong, text in _RULES:
        files = [item for item in slices if wrong(item)]
        if files:
            names = listed([item.file for item in files])
            raise VolumeError(reason, path, f"{text(files[0])}: {names}")
    for name, stated in (("slope", _slope_stated), ("intercept", _intercept_stated)):
        without = [item.file for item in slices if not stated(item)]
        if 0 < len(without) < len(slices):
            why = f"some of its slices state no rescale {name}: {listed(without)}; the others do"
            raise VolumeError(Reason.E_DICOM_VALUES, path, why)
    if len({item.colours for item in slices}) > 1:
        why = "some of its slices are MONOCHROME1 and others MONOCHROME2"
        raise VolumeError(Reason.E_DICOM_VALUES, path, why)


def _bad_type(item: SliceHeader) -> bool:
    return not (
        item.allocated in (8, 16, 32)
        and 1 <= item.stored <= item.allocated
        and item.high == item.stored - 1
        and item.signed in (0, 1)
    )


def _type_text(item: SliceHeader) -> str:
    return (
        f"its values take {item.allocated} bits, {item.stored} of them stored up to bit "
        f"{item.high}, with the sign {item.signed}"
    )


def _slope_stated(item: SliceHeader) -> bool:
    return bool(item.slope)


def _intercept_stated(item: SliceHeader) -> bool:
    return bool(item.intercept)


def _bad_rescale(item: SliceHeader) -> bool:
    slope, intercept = item.rescale
    return not (math.isfinite(slope) and math.isfinite(intercept) and slope != 0)


def _no_decoder(item: SliceHeader) -> str:
    install = 'pip install "volclass[dicom]", or convert the series with dcm2niix'
    return f"no decoder for {item.syntax} is installed; {install}"


#: What is refused, in this order: whether a slice is, and what is said of it.
_RULES: tuple[tuple[Reason, Callable[[SliceHeader], bool], Callable[[SliceHeader], str]], ...] = (
    (
        Reason.E_DICOM_FRAMES,
        lambda item: item.frames != 1,
        lambda item: f"a file holds {item.frames} frames",
    ),
    (
        Reason.E_CHANNELS,
        lambda item: item.samples != 1 or item.colours not in _GREY,
        lambda item: f"it has {item.samples} channels; its colours are {_colours(item)}",
    ),
    (
        Reason.E_DICOM_SLICE,
        lambda item: not item.pixels,
        lambda _: "files without pixels, cut off or written by half",
    ),
    (Reason.E_DTYPE, _bad_type, _type_text),
    (Reason.E_DICOM_SLICE, lambda item: not item.decodable, _no_decoder),
    (
        Reason.E_DICOM_VALUES,
        lambda item: item.table,
        lambda _: "a table (Modality LUT) takes the place of slope and intercept",
    ),
    (
        Reason.E_DICOM_VALUES,
        _bad_rescale,
        lambda item: f"rescale slope {list(item.slope)} and intercept {list(item.intercept)}",
    ),
)


def _colours(item: SliceHeader) -> str:
    """A defined term of the standard; anything else is no text to repeat."""
    known = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", *_GREY)
    return item.colours if item.colours in known else "not understood"
