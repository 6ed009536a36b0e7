"""Whether the images of one series number are of one scan, by what their headers say of it.

Anonymised and merged exports give one series UID, or none, to several scans. Slices of two of them
may lie between each other as evenly as those of one.

Source: DICOM PS3.3, C.7.1.1 (Patient), C.7.2.1 (General Study), C.7.3.1 (General Series), C.7.6.1
(General Image), C.7.6.4 (Contrast/Bolus), C.8.2.1 (CT Image) and C.8.3.1 (MR Image).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ..volume import Finding, Reason, VolumeError
from .dicom_header import SliceHeader, listed

#: What never differs within a volume, and how a series in which it does is refused.
_REFUSED = {
    "PatientID": Reason.E_DICOM_MIXED,
    "PatientName": Reason.E_DICOM_MIXED,
    "PatientBirthDate": Reason.E_DICOM_MIXED,
    "StudyInstanceUID": Reason.E_DICOM_MIXED,
    "SeriesNumber": Reason.E_DICOM_MIXED,
    "Modality": Reason.E_DICOM_MIXED,
    "RescaleType": Reason.E_DICOM_VALUES,
    "Units": Reason.E_DICOM_VALUES,
    "EchoTime": Reason.E_DICOM_STACKS,
    "TemporalPositionIdentifier": Reason.E_DICOM_STACKS,
    "TemporalPositionIndex": Reason.E_DICOM_STACKS,
    "DiffusionBValue": Reason.E_DICOM_STACKS,
}
#: What differs within some scans as well: a CT that was taken in several runs of the table, an MR
#: whose repetition follows the breath.
_DOUBTED = (
    *("AcquisitionNumber", "ImageType", "SeriesDescription", "ContrastBolusAgent"),
    *("KVP", "ConvolutionKernel", "RepetitionTime", "InversionTime", "FlipAngle"),
)
#: What tools leave empty in some files of a scan. Without a contrast agent its name is absent, so
#: that one is not among them.
_OFTEN_EMPTY = frozenset(
    (
        *("PatientName", "PatientBirthDate", "SeriesNumber", "SeriesDescription", "KVP"),
        *("ConvolutionKernel", "RepetitionTime", "InversionTime", "FlipAngle"),
    )
)
#: Settings nearer than this part of their size are the same: headers round, scanners jitter.
_JITTER = 1e-3


def check_one_scan(path: Path, slices: Sequence[SliceHeader]) -> tuple[Finding, ...]:
    """Refuses slices of several patients, studies, series, units, echoes, times or b-values.

    Of patient's ID, study, modality and what decides the values, an element that some slices state
    and others do not differs, too. Without a series UID all of them must agree, for nothing else
    says that the files belong together.

    Args:
        path: The volume, as messages name it.
        slices: All images of one series.

    Returns:
        What is doubtful: another acquisition, image type, description, contrast agent or setting of
        the scanner in some slices, or no series UID.

    Raises:
        VolumeError: They are not of one scan; says which elements differ, never their values.
    """
    found = differing(slices)
    refused = [keyword for keyword in found if keyword in _REFUSED]
    numbered = bool(slices[0].series)
    if refused or (found and not numbered):
        reason = _REFUSED[refused[0]] if numbered else Reason.E_DICOM_MIXED
        start = "its slices" if numbered else "its files carry no SeriesInstanceUID, and"
        of_one = _in_words(_by_value(slices, (refused or found)[0]))
        why = f"{start} differ in {' and '.join(refused or found)}: {of_one}"
        raise VolumeError(reason, path, why)
    if found:
        return (Finding("W_SERIES", f"its slices differ in {' and '.join(found)}"),)
    if numbered or len(slices) == 1:
        return ()
    known = [keyword for keyword in ("PatientID", "StudyInstanceUID") if slices[0].scan[keyword]]
    about = f"; they agree in {' and '.join(known)}" if known else ", PatientID or StudyInstanceUID"
    return (Finding("W_SERIES", f"its files carry no SeriesInstanceUID{about}"),)


def differing(slices: Sequence[SliceHeader]) -> list[str]:
    """The keywords of what tells one scan from another in which slices differ."""
    return [keyword for keyword in (*_REFUSED, *_DOUBTED) if len(_by_value(slices, keyword)) > 1]


def _by_value(slices: Sequence[SliceHeader], keyword: str) -> list[list[str]]:
    """The files of the slices that share a value, for each value; an absent one is one, too."""
    if keyword in slices[0].settings:
        values = _steps([item.settings[keyword] for item in slices])
    else:
        values = [item.scan[keyword] for item in slices]
    files: defaultdict[str, list[str]] = defaultdict(list)
    for item, value in zip(slices, values, strict=True):
        if value or keyword not in _OFTEN_EMPTY:
            files[value].append(item.file)
    return list(files.values())


def _steps(settings: Sequence[float | None]) -> list[str]:
    """A name of each setting, the same for those that jitter joins; "" where there is none."""
    stated = sorted({number for number in settings if number is not None})
    names = {number: repr(number) for number in stated}
    for before, number in pairwise(stated):
        if number - before <= _JITTER * abs(number):
            names[number] = names[before]
    return ["" if number is None else names[number] for number in settings]


def _in_words(files: Sequence[Sequence[str]]) -> str:
    """How many slices share a value, each with a file, in words without the value."""
    groups = sorted(files, key=lambda names: (-len(names), sorted(names)))
    return listed([f"{len(names)} like {min(names)}" for names in groups])
