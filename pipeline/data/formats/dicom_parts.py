"""Whether several folders hold parts of one DICOM series, each of which would pass for a volume."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ..volume import Reason, VolumeError
from .dicom_folder import first_image
from .dicom_header import SliceHeader
from .dicom_process import SeriesProcess
from .stored import system_errors

_BUDGET = 1 << 30


def check_parts(folders: Sequence[Path]) -> None:
    """Refuses folders of which two hold images of one series, be they halves of it or copies.

    One image tells for a folder, as a folder with several series is refused when it is read. A
    series is told by its UID with patient and study: some tools give all scans one UID.

    Args:
        folders: Folders with DICOM images, absolute, each once.

    Raises:
        VolumeError: E_DICOM_PARTS: names two of them.
    """
    found: defaultdict[tuple[str, ...], list[Path]] = defaultdict(list)
    for folder, header in _headers([folder for folder in folders if folder.is_dir()]).items():
        if header.series:
            scan = header.scan
            found[header.series, scan["PatientID"], scan["StudyInstanceUID"]].append(folder)
    for parts in found.values():
        if len(parts) > 1:
            inside = Path(os.path.commonpath(parts))
            first, second = (str(part.relative_to(inside)) for part in parts[:2])
            why = f"{first} and {second} in it hold images of one series"
            raise VolumeError(Reason.E_DICOM_PARTS, inside, why)


def _headers(folders: Sequence[Path]) -> dict[Path, SliceHeader]:
    """The header of an image of each folder; none of one that cannot be read."""
    if len(folders) < 2:
        return {}
    return _asked(folders)


def _asked(folders: Sequence[Path]) -> dict[Path, SliceHeader]:
    inside = Path(os.path.commonpath(folders))
    images: dict[str, Path] = {}
    for folder in folders:
        with system_errors(folder, folder):
            image = first_image(folder)
        if image is not None:
            images[str(image.relative_to(inside))] = folder
    sizes = {name: (inside / name).stat().st_size for name in images}
    try:
        with SeriesProcess(inside, inside, sizes, _BUDGET) as process:
            answers = process.headers()
    except VolumeError:
        # Of a folder whose image ends the process, its reading says so, and of the others all.
        if len(folders) == 1:
            return {}
        half = len(folders) // 2
        return {**_asked(folders[:half]), **_asked(folders[half:])}
    headers = ((images[name], answer.header) for name, answer in answers.items())
    return {folder: header for folder, header in headers if header is not None}
