"""A folder with one DICOM series becomes a checked volume, like any file.

Headers come first: which files are images, which series they belong to, whether they make one
stack, and how large it is. Pixels are decoded only then, by a process of its own (`dicom_child`).
Sub-folders are searched only for further images of the series: with them there it is not whole.

Source: DICOM PS3.3 and PS3.10.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..series_part import SeriesPart
from ..volume import Finding, Reason, Volume, VolumeError, content_sha256
from .dicom_folder import images_below, regular_files, split_series
from .dicom_header import Answer, SliceHeader, Stack, listed, millimetres
from .dicom_numbers import check_whole
from .dicom_padding import Padding
from .dicom_parts import picture_hash, series_part
from .dicom_process import SeriesProcess
from .dicom_scan import check_one_scan
from .dicom_stack import stack_of
from .dicom_strays import check_strays, skipped
from .dicom_values import check_values
from .plausible import implausible
from .stored import system_errors
from .values import Values, sparse

_nib: Any = nib  # the functions of nibabel have no types
_HASH_DIGITS = 8
_MODALITY = re.compile(r"[A-Z]{2,16}")


def read_series(path: Path, *, budget: int = 4 << 30, seconds: float | None = None) -> Volume:
    """Reads and checks one DICOM series.

    Args:
        path: A folder with the files of one series, or `FOLDER#series=HASH`.
        budget: Most bytes that the voxels may take.
        seconds: Time for the headers and again for the pixels, beside that in proportion to their
            size; a minute by default.

    Raises:
        VolumeError: The volume is refused.
    """
    folder, choice = split_series(path)
    with system_errors(path, path):
        files = regular_files(path, folder)
        below, folders = images_below(folder)
    with SeriesProcess(path, folder, {**files, **below}, budget, seconds) as process:
        told = process.headers()
        answers = {name: told[name] for name in files}
        slices = _chosen(path, answers, choice)
        _check_below(path, slices, {name: told[name] for name in below})
        check_strays(path, answers)
        doubtful = check_one_scan(path, slices)
        doubtful += check_values(path, slices)
        stack = stack_of(path, slices)
        doubtful += check_whole(path, stack)
        needed = 4 * math.prod(stack.shape)
        if needed > budget:
            reason = f"its headers declare {needed:,} bytes; at most {budget:,} are allowed"
            raise VolumeError(Reason.E_BUDGET, path, reason)
        voxels, affine, trailing, pictures = _voxels(path, stack, process)
    x, y, z = (float(size) for size in _nib.affines.voxel_sizes(affine))
    found = (*trailing, *sparse(voxels), *implausible((x, y, z), voxels.shape))
    findings = (*skipped(answers, folders), *doubtful, *found)
    content = content_sha256(voxels, affine)
    part = series_part(stack.slices, pictures)
    return Volume(voxels, affine, stack.affine, (x, y, z), content, findings, part)


def series_facts(path: Path, *, budget: int = 4 << 30) -> tuple[str, str]:
    """The voxel type of a series, and its format with the transfer syntax, by its headers alone.

    Raises:
        VolumeError: There is no such series.
    """
    folder, choice = split_series(path)
    with system_errors(path, path):
        files = regular_files(path, folder)
    with SeriesProcess(path, folder, files, budget) as process:
        slices = _chosen(path, process.headers(), choice)
    check_values(path, slices)
    types = sorted({item.dtype.name for item in slices})
    return ", ".join(types), ", ".join(["dicom", *sorted({item.syntax for item in slices})])


def slices_in(path: Path, *, budget: int = 4 << 30) -> tuple[SeriesPart, ...]:
    """Each image in a folder whose series is refused; nothing where no header can be read."""
    folder, choice = split_series(path)
    try:
        with system_errors(path, path):
            files = regular_files(path, folder)
        with SeriesProcess(path, folder, files, budget) as process:
            series = _by_series(process.headers())
    except VolumeError:
        return ()
    named = series if choice is None else _named(series, choice)
    found = (series_part([item]) for uid in named for item in series[uid])
    return tuple(part for part in found if part is not None)


def series_hash(series: str) -> str:
    """The short name of a series: its UID is found by it again, but not told."""
    return hashlib.sha256(series.encode()).hexdigest()[:_HASH_DIGITS]


def _chosen(path: Path, answers: Mapping[str, Answer], choice: str | None) -> list[SliceHeader]:
    """The slices of the one series, or of the one that was chosen."""
    series = _by_series(answers)
    if not series:
        check_strays(path, answers)
        others = "; ".join(finding.text for finding in skipped(answers))
        why = f"it is a directory without DICOM images ({others})"
        raise VolumeError(Reason.E_IRREGULAR, path, why)
    named = list(series) if choice is None else _named(series, choice)
    if len(named) == 1:
        return series[named[0]]
    found = sorted(_described(uid, slices) for uid, slices in series.items())
    about = "" if choice is None else f"{len(named)} of its series fit series={choice}; "
    why = f"{about}its series are {'; '.join(found)}"
    raise VolumeError(Reason.E_DICOM_SERIES, path, why)


def _by_series(answers: Mapping[str, Answer]) -> dict[str, list[SliceHeader]]:
    series: dict[str, list[SliceHeader]] = {}
    for answer in answers.values():
        if answer.header is not None:
            series.setdefault(answer.header.series, []).append(answer.header)
    return series


def _named(series: Iterable[str], choice: str) -> list[str]:
    """Those of which a user wrote the short name or the UID, or the start of either."""
    named = [uid for uid in series if series_hash(uid).startswith(choice.lower())]
    return named or [uid for uid in series if uid.startswith(choice)]


def _check_below(path: Path, slices: Sequence[SliceHeader], below: Mapping[str, Answer]) -> None:
    """Refuses a series of which images lie in sub-folders; `below` are those that lie there.

    The sub-folders are not named, for they may be called by people.
    """
    names = [
        PurePath(name).name
        for name, answer in below.items()
        if answer.header is not None and answer.header.series == slices[0].series
    ]
    if names:
        count = f"{len(names)} image{'s' if len(names) > 1 else ''} of the series"
        why = f"{count} beside its {len(slices)} lie in sub-folders: {listed(names)}"
        raise VolumeError(Reason.E_DICOM_PARTS, path, why)


def _described(uid: str, slices: Sequence[SliceHeader]) -> str:
    modality = slices[0].modality if _MODALITY.fullmatch(slices[0].modality) else "unknown"
    sizes = listed(sorted({item.size for item in slices}))
    count = f"{len(slices)} slice{'s' if len(slices) > 1 else ''}"
    return f"series={series_hash(uid)} ({modality}, {count} of {sizes})"


def _voxels(
    path: Path, stack: Stack, process: SeriesProcess
) -> tuple[NDArray[np.float32], NDArray[np.float64], tuple[Finding, ...], list[str]]:
    """True values in RAS+ order, their affine, and hashes of the images that show something.

    Slice by slice, each by its own slope.
    """
    orientation = _nib.orientations.io_orientation(stack.affine)
    axes = [int(axis) for axis in orientation[:, 0]]
    shape = [stack.shape[axes.index(axis)] for axis in range(3)]
    voxels = np.empty(shape, dtype=np.float32)
    flips = tuple(slice(None, None, int(sign)) for sign in orientation[:, 1])
    as_stored = voxels.transpose(axes)[flips]
    seen, padding, problems, trailing = Values(), Padding(), [], 0
    count = stack.shape[0] * stack.shape[1]
    pictures: list[str | None] = []
    process.ask_for_pixels([item.file for item in stack.slices], 4 * voxels.size)
    for place, item in enumerate(stack.slices):
        decoded = process.pixels(item.file, count * item.dtype.itemsize)
        if decoded.problem:
            height = stack.affine[:3] @ (0.0, 0.0, place, 1.0)
            problems.append(f"{item.file} at {_place(height)}: {decoded.problem}")
            continue
        trailing += bool(decoded.extra)
        raw = np.frombuffer(decoded.content, dtype=item.dtype).reshape(stack.shape[:2], order="F")
        true: NDArray[np.generic] = raw
        with np.errstate(over="ignore", invalid="ignore"):
            if item.rescale != (1.0, 0.0):
                true = raw * item.rescale[0] + item.rescale[1]
            as_stored[..., place] = true
        seen.see(raw, *item.rescale)
        padding.see(raw, item)
        pictures.append(picture_hash(raw))
    if problems:
        raise VolumeError(Reason.E_DICOM_SLICE, path, listed(problems))
    seen.check(path, voxels.size)
    found: tuple[Finding, ...] = ()
    if trailing:
        found = (Finding("W_TRAILING", f"bytes follow the pixels of {trailing} slices; ignored"),)
    affine = stack.affine @ _nib.orientations.inv_ornt_aff(orientation, stack.shape)
    found = (*found, *padding.findings(), *seen.findings(voxels.size))
    return voxels, affine, found, [picture for picture in pictures if picture]


def _place(point: NDArray[np.float64]) -> str:
    """A point in the words of DICOM, whose axes point to left, back and top (LPS)."""
    return f"({millimetres(*(point * (-1.0, -1.0, 1.0)).tolist())}) mm"
