"""Whether the images of one series number are of one scan, by what their headers say of it.

Anonymised and merged exports give one series UID, or none, to several scans. Slices of two of them
may lie between each other as evenly as those of one.

Source: DICOM PS3.3, C.7.1.1 (Patient), C.7.2.1 (General Study), C.7.6.1 (General Image).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ..volume import Finding, Reason, VolumeError
from .dicom_header import SliceHeader, listed

#: What never differs within a volume, and how a series in which it does is refused.
_REFUSED = {
    "PatientID": Reason.E_DICOM_MIXED,
    "StudyInstanceUID": Reason.E_DICOM_MIXED,
    "Modality": Reason.E_DICOM_MIXED,
    "RescaleType": Reason.E_DICOM_VALUES,
    "Units": Reason.E_DICOM_VALUES,
    "EchoTime": Reason.E_DICOM_STACKS,
    "TemporalPositionIdentifier": Reason.E_DICOM_STACKS,
    "TemporalPositionIndex": Reason.E_DICOM_STACKS,
    "DiffusionBValue": Reason.E_DICOM_STACKS,
}
#: What differs within a CT that was taken in several runs of the table as well.
_DOUBTED = ("AcquisitionNumber", "ImageType")


def check_one_scan(path: Path, slices: Sequence[SliceHeader]) -> tuple[Finding, ...]:
    """Refuses slices of several patients, studies, modalities, units, echoes, times or b-values.

    An element that some slices state and others do not differs, too. Without a series UID all of
    them must agree, for nothing else says that the files belong together.

    Args:
        path: The volume, as messages name it.
        slices: All images of one series.

    Returns:
        What is doubtful: another acquisition or image type in some slices, or no series UID.

    Raises:
        VolumeError: They are not of one scan; says which elements differ, never their values.
    """
    found = differing(slices)
    refused = [keyword for keyword in found if keyword in _REFUSED]
    numbered = bool(slices[0].series)
    if refused or (found and not numbered):
        reason = _REFUSED[refused[0]] if numbered else Reason.E_DICOM_MIXED
        start = "its slices" if numbered else "its files carry no SeriesInstanceUID, and"
        of_one = _by_value(slices, (refused or found)[0])
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
    return [
        keyword
        for keyword in (*_REFUSED, *_DOUBTED)
        if len({item.scan[keyword] for item in slices}) > 1
    ]


def _by_value(slices: Sequence[SliceHeader], keyword: str) -> str:
    """How many slices share a value, each with a file, in words without the value."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for item in slices:
        files[item.scan[keyword]].append(item.file)
    groups = sorted(files.values(), key=lambda names: (-len(names), names))
    return listed([f"{len(names)} like {min(names)}" for names in groups])
