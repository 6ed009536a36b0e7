"""Whether the grey values of DICOM slices can be decoded, and what they mean.

Source: DICOM PS3.3, C.7.6.3 (Image Pixel), C.11.1 (Modality LUT), C.8.2.1 (CT Image) and C.8.9.4
(PET Image).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ..volume import Finding, Reason, VolumeError
from .dicom_header import SliceHeader, listed

_GREY = ("MONOCHROME1", "MONOCHROME2")
#: What a scanner must state (type 1); of PET the intercept is 0 by definition.
_MANDATORY = {"CT": ("slope", "intercept"), "PT": ("slope",)}


def check_values(path: Path, slices: Sequence[SliceHeader]) -> tuple[Finding, ...]:
    """Refuses slices whose values cannot be had, or would be wrong.

    `MONOCHROME1` says that a display shows low values bright; it changes no value (C.7.6.3.1.2),
    so nothing is inverted. A series that mixes it with `MONOCHROME2` has two meanings.

    Args:
        path: The volume, as messages name it.
        slices: All images of one series.

    Returns:
        What is doubtful: a CT with several slopes or intercepts, or a CT or PET that was computed
        from other images and states none.

    Raises:
        VolumeError: Several frames, channels or colours, a voxel type that is not understood, no
            pixels, no decoder, no slope and intercept that can be used, some slices with them and
            others without, or a CT or PET of a scanner without. Where else none states them they
            are 1 and 0.
    """
    for reason, wrong, text in _RULES:
        files = [item for item in slices if wrong(item)]
        if files:
            names = listed([item.file for item in files])
            raise VolumeError(reason, path, f"{text(files[0])}: {names}")
    for name, stated in _STATED.items():
        without = [item.file for item in slices if not stated(item)]
        if 0 < len(without) < len(slices):
            why = f"some of its slices state no rescale {name}: {listed(without)}; the others do"
            raise VolumeError(Reason.E_DICOM_VALUES, path, why)
    if len({item.colours for item in slices}) > 1:
        why = "some of its slices are MONOCHROME1 and others MONOCHROME2"
        raise VolumeError(Reason.E_DICOM_VALUES, path, why)
    return (*_unscaled(path, slices), *_unevenly_scaled(slices))


def _unscaled(path: Path, slices: Sequence[SliceHeader]) -> tuple[Finding, ...]:
    """Of slices that all state a slope, or none: that it is missing where it must be there."""
    modality = slices[0].modality
    lacking = [name for name in _MANDATORY.get(modality, ()) if not _STATED[name](slices[0])]
    if not lacking:
        return ()
    text = f"its {modality} slices state no rescale {' and no rescale '.join(lacking)}"
    if all(item.derived for item in slices):
        return (Finding("W_SLOPE", f"{text}; 1 and 0 are taken"),)
    why = f"{text}, so that their unit is lost; export them again (a tool that removes names may "
    raise VolumeError(Reason.E_DICOM_VALUES, path, f"{why}have removed what it is told by, too)")


def _unevenly_scaled(slices: Sequence[SliceHeader]) -> tuple[Finding, ...]:
    """Of a CT: several slopes or intercepts. Those of PET differ rightly."""
    counts = Counter(item.rescale for item in slices if item.modality == "CT")
    if len(counts) < 2:
        return ()
    told = [
        f"{count} with slope {slope:g} and intercept {intercept:g}"
        for (slope, intercept), count in counts.most_common()
    ]
    return (Finding("W_SLOPE", f"its CT slices differ in their rescale: {listed(told)}"),)


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


#: Whether a slice states one of the two numbers.
_STATED: dict[str, Callable[[SliceHeader], bool]] = {
    "slope": lambda item: bool(item.slope),
    "intercept": lambda item: bool(item.intercept),
}


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
