"""From slices in any order to one stack: their order, their distance, and where the voxels lie.

Source: DICOM PS3.3, C.7.6.2.1.1 (Image Position and Image Orientation).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..volume import Reason, VolumeError
from .canonical import checked_affine
from .dicom_header import FARTHEST_MM, SliceHeader, Stack, listed, millimetres
from .dicom_scan import differing

#: Degrees between the stack and the normal of its slices, and between other directions that should
#: be equal. Cosines with three digits are off by up to 0.05; gantries tilt by a degree and more.
_DEGREES = 0.1
_SINE = float(np.sin(np.radians(_DEGREES)))
#: Positions nearer than this are the same one.
_SAME_MM = 1e-3
#: What headers with one digit make of the distance between two slices along one axis, and of its
#: three axes together.
_ROUNDED_MM = 0.1
_AXES = float(np.sqrt(3.0))
_LPS = np.array([-1.0, -1.0, 1.0])

Numbers = NDArray[np.float64]


def stack_of(path: Path, slices: Sequence[SliceHeader]) -> Stack:
    """Orders slices by their position along the normal, whatever their names and numbers.

    A slice may lie up to 0.1 mm off its place in an even stack between the first and the last,
    which is what headers with one digit make of it (0.05 mm there, and 0.05 mm at the ends), but
    no more than a fifth of the spacing; or 1 % of the spacing where that is more. That is along one
    axis: three of them add up in an oblique stack. A missing slice moves others by half the spacing
    or more. One that is missing at either end of a stack cannot be told from positions.

    A stack that leans by no more than rounding makes it is upright.

    Args:
        path: The volume, as messages name it.
        slices: Two or more images of one series, with equal meaning of their values.

    Raises:
        VolumeError: They are not one even, upright stack; says which slices, where.
    """
    _check_alike(path, slices)
    if len(slices) < 2:
        raise VolumeError(Reason.E_NDIM, path, "it has one slice; a volume has two or more")
    rows, columns, normal = _directions(path, slices)
    positions = _positions(path, slices)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    ordered = [slices[index] for index in order]
    positions, heights = positions[order], heights[order]
    _check_repeated(path, ordered, positions, heights)
    between_rows, between_columns = _pixel_spacing(path, ordered)
    whole = _line(path, ordered, positions, normal, min(between_rows, between_columns))
    _check_even(path, ordered, heights, float(np.abs(normal).sum()))
    step = whole / (len(ordered) - 1)
    affine = np.eye(4)
    # A row runs along the columns, so its direction goes with the distance between columns.
    lps = np.stack([rows * between_columns, columns * between_rows, step, positions[0]])
    affine[:3] = (lps * _LPS).T
    shape = (ordered[0].columns, ordered[0].rows, len(ordered))
    return Stack(tuple(ordered), checked_affine(path, affine), shape)


def _check_alike(path: Path, slices: Sequence[SliceHeader]) -> None:
    """One matrix, one pixel spacing, one orientation, one space."""

    def check(reason: Reason, what: str, names: Sequence[str]) -> None:
        counts = Counter(names)
        if len(counts) > 1:
            found = [f"{count} with {name}" for name, count in counts.most_common()]
            raise VolumeError(reason, path, f"its slices differ in {what}: {listed(found)}")

    if min(min(item.rows, item.columns) for item in slices) < 1:
        raise VolumeError(Reason.E_DIMS, path, f"its slices are {slices[0].size}")
    check(Reason.E_DICOM_SIZES, "size", [f"{item.size} voxels" for item in slices])
    check(Reason.E_DICOM_SIZES, "pixel spacing", _kinds([item.spacing for item in slices], 4))
    frames = [item.frame_of_reference for item in slices]
    spaces = sorted(set(frames))
    named = [f"frame {spaces.index(frame) + 1}" for frame in frames]
    check(Reason.E_DICOM_STACKS, "frame of reference", named)
    check(Reason.E_DICOM_STACKS, "orientation", _kinds([item.orientation for item in slices], 2))


def _kinds(stated: Sequence[tuple[float, ...]], digits: int) -> list[str]:
    """A name of each, one for all that differ by no more than a unit of the last digit.

    Rounding alone would tell apart what lies at either side of a half.
    """
    if len({len(numbers) for numbers in stated}) == 1 and stated[0]:
        with np.errstate(invalid="ignore"):  # no number is told apart, not compared
            off = np.ptp(np.asarray(stated), axis=0).max()
        stated = [stated[0]] * len(stated) if off <= 10.0**-digits else stated
    names = ["/".join(f"{round(part, digits) + 0.0:g}" for part in numbers) for numbers in stated]
    return [name or "none" for name in names]


def _pixel_spacing(path: Path, slices: Sequence[SliceHeader]) -> tuple[float, float]:
    """Between rows and between columns, in mm; alike in all slices."""
    stated = slices[0].spacing
    if not stated:
        why = "its slices state no PixelSpacing; export them again with it (a tool that removes "
        raise VolumeError(Reason.E_SPACING, path, f"{why}names may have removed it, too)")
    if len(stated) != 2 or not all(0 < number < np.inf for number in stated):
        raise VolumeError(Reason.E_SPACING, path, f"its PixelSpacing is {list(stated)}")
    return stated[0], stated[1]


def _directions(path: Path, slices: Sequence[SliceHeader]) -> tuple[Numbers, Numbers, Numbers]:
    """Unit vectors along a row, along a column, and from slice to slice."""
    if any(len(item.orientation) != 6 for item in slices):
        why = "its slices state no ImageOrientationPatient"
        raise VolumeError(Reason.E_AFFINE, path, why)
    stated = np.array([item.orientation for item in slices])
    if not np.isfinite(stated).all():
        raise VolumeError(Reason.E_AFFINE, path, "its ImageOrientationPatient is no number")
    if np.abs(stated - stated[0]).max() > _SINE:
        far = slices[int(np.abs(stated - stated[0]).max(axis=1).argmax())]
        why = f"its slices differ in orientation: {listed([slices[0].file, far.file])}"
        raise VolumeError(Reason.E_DICOM_STACKS, path, why)
    rows, columns = stated[0, :3], stated[0, 3:]
    lengths = np.linalg.norm(rows), np.linalg.norm(columns)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(rows @ columns)) > _SINE:
        why = f"its ImageOrientationPatient is {stated[0].tolist()}, which is no right angle"
        raise VolumeError(Reason.E_AFFINE, path, why)
    normal = np.cross(rows, columns)
    return rows / lengths[0], columns / lengths[1], normal / np.linalg.norm(normal)


def _positions(path: Path, slices: Sequence[SliceHeader]) -> Numbers:
    """First voxels (slices, 3) in LPS mm."""
    bad = [item.file for item in slices if len(item.position) != 3]
    if not bad:
        positions = np.array([item.position for item in slices])
        sound = (np.abs(positions) <= FARTHEST_MM).all(axis=1)
        bad = [item.file for item, good in zip(slices, sound, strict=True) if not good]
    if bad:
        far = f"up to {FARTHEST_MM:,.0f} mm"
        why = f"no ImagePositionPatient of three numbers of {far} in {listed(bad)}"
        raise VolumeError(Reason.E_AFFINE, path, why)
    return positions


def _check_repeated(
    path: Path, slices: Sequence[SliceHeader], positions: Numbers, heights: Numbers
) -> None:
    groups: list[list[int]] = [[0]]
    for index in range(1, len(slices)):
        if heights[index] - heights[groups[-1][0]] <= _SAME_MM:
            groups[-1].append(index)
        else:
            groups.append([index])
    if len(groups) == len(slices):
        return
    aside = max(np.ptp(positions[group], axis=0).max() for group in groups)
    if aside > _SAME_MM:
        why = f"slices at one height lie {aside:.4g} mm beside each other"
        raise VolumeError(Reason.E_DICOM_STACKS, path, why)
    if len(groups) == 1:
        raise VolumeError(Reason.E_DICOM_STACKS, path, "all its slices lie at one position")
    counts = {len(group) for group in groups}
    if len(counts) == 1:
        known = differing(slices)
        apart = f"they differ in {' and '.join(known)}" if known else "echoes, phases?"
        why = f"{counts.pop()} slices lie at each of {len(groups)} positions ({apart})"
        raise VolumeError(Reason.E_DICOM_STACKS, path, why)
    doubled = [
        f"{millimetres(heights[group[0]])} mm ({listed([slices[index].file for index in group])})"
        for group in groups
        if len(group) > 1
    ]
    why = f"several slices lie at one position: {listed(doubled)}"
    raise VolumeError(Reason.E_SLICE_GAP, path, why)


def _tolerance(spacing: float) -> float:
    """Along one axis, in mm."""
    return max(min(_ROUNDED_MM, spacing / 5), spacing / 100)


def _line(
    path: Path, slices: Sequence[SliceHeader], positions: Numbers, normal: Numbers, pixel: float
) -> Numbers:
    """From the first slice to the last, in mm; first voxels lie on one line, the normal."""
    whole: Numbers = positions[-1] - positions[0]
    heights = positions @ normal
    height = heights[-1] - heights[0]
    line = positions[0] + ((heights - heights[0]) / height)[:, None] * whole
    off = np.linalg.norm(positions - line, axis=1)
    if off.max() > _AXES * _tolerance(float(np.median(np.diff(heights)))):
        name = listed([slices[int(off.argmax())].file])
        why = f"its slices lie beside each other: {name} is {off.max():.4g} mm off the line"
        raise VolumeError(Reason.E_DICOM_STACKS, path, f"{why} of the others")
    aside = np.sqrt(max(whole @ whole - height**2, 0.0))
    degrees = float(np.degrees(np.arctan2(aside, height)))
    if degrees <= _DEGREES:
        return whole
    if aside > _SINE * height + _AXES * min(_ROUNDED_MM, pixel / 5):
        why = f"its slices lie {degrees:.3g} degrees off their normal, {aside:.4g} mm in all"
        raise VolumeError(Reason.E_DICOM_TILT, path, why)
    upright: Numbers = height * normal
    return upright


def _check_even(path: Path, slices: Sequence[SliceHeader], heights: Numbers, axes: float) -> None:
    """Equal distances; `axes` is how much of three axes adds up along the normal, 1 for one."""
    even = np.linspace(heights[0], heights[-1], len(heights))
    steps = np.diff(heights)
    usual = float(np.median(steps))
    tolerance = axes * _tolerance(usual)
    if np.abs(heights - even).max() <= tolerance:
        return
    lacking = int(np.maximum(np.rint(steps / usual) - 1, 0).sum())
    if lacking >= len(slices):
        why = f"its slices leave gaps in which {lacking:,} more would fit: separate stacks?"
        raise VolumeError(Reason.E_DICOM_STACKS, path, why)
    missing: list[str] = []
    uneven: list[str] = []
    for (low, high), (first, last) in zip(pairwise(heights), pairwise(slices), strict=True):
        count = round((high - low) / usual)
        places = [f"{millimetres(low + number * usual)} mm" for number in range(1, count)]
        missing += places
        if not places and abs(high - low - usual) > tolerance:
            between = f"between {listed([first.file])} and {listed([last.file])}"
            uneven.append(f"{high - low:.4g} mm {between} at {millimetres(low)} mm")
    found = f"no slice at {listed(missing)}" if missing else f"distances of {listed(uneven)}"
    if not missing and not uneven:
        found = f"their positions drift by up to {np.abs(heights - even).max():.3g} mm"
    why = f"{found}; the others are {usual:.4g} mm apart"
    raise VolumeError(Reason.E_SLICE_GAP, path, why)
