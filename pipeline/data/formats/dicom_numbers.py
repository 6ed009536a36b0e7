"""Whether an even stack of slices is the whole of it, by what the headers say beside positions.

Every second slice alone, or all but the first and last, lie as evenly as the whole stack does.

Source: DICOM PS3.3, C.7.6.1 (Instance Number, Images in Acquisition) and C.8.2.1, C.8.3.1 (Spacing
Between Slices, Slice Thickness).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..volume import Finding, Reason, VolumeError
from .dicom_header import SliceHeader, Stack

#: Headers round; of a stack with every second slice the distance is twice what they state.
_SHARE = 0.1


def check_whole(path: Path, stack: Stack) -> tuple[Finding, ...]:
    """Refuses a stack of which two signs say that slices between its slices are missing.

    The first sign is an instance number that grows by two or more from each slice to the next. The
    second is a SpacingBetweenSlices, or where none is stated a SliceThickness, that would fill the
    gaps with just the slices that the numbers leave out. Any other contradiction has harmless
    causes, alone or together: series that were numbered in turn, and scanners that state the gap in
    place of the distance.

    Args:
        path: The volume, as messages name it.
        stack: Its slices in order.

    Returns:
        What numbers or distances contradict, and whether the acquisition had more images.

    Raises:
        VolumeError: E_SLICE_GAP: both signs are there.
    """
    distance = float(np.linalg.norm(stack.affine[:3, 2]))
    step, between = _number_step(stack.slices), _common(stack.slices, lambda item: item.between)
    thickness = _common(stack.slices, lambda item: item.thickness)
    told: list[str] = []
    if step > 1:
        numbers = [item.number for item in stack.slices]
        told.append(f"InstanceNumber goes from {min(numbers)} to {max(numbers)} in steps of {step}")
    filled = step > 1 and abs(distance - step * (between or thickness)) <= _SHARE * distance
    if between and abs(distance - between) > _SHARE * distance:
        contradicted = f"SpacingBetweenSlices is {between:.4g} mm"
        told.append(f"its slices lie {distance:.4g} mm apart, and {contradicted}")
    elif filled:
        told.append(f"its slices lie {distance:.4g} mm apart, and are {thickness:.4g} mm thick")
    if filled:
        why = f"slices between its slices seem to be missing: {'; '.join(told)}"
        raise VolumeError(Reason.E_SLICE_GAP, path, why)
    told += _of_more(stack.slices)
    return (Finding("W_SLICES", "; ".join(told)),) if told else ()


def _number_step(slices: Sequence[SliceHeader]) -> int:
    """By how much the instance number grows from each slice to the next; 0 if not evenly."""
    if any(item.number < 0 for item in slices):
        return 0
    steps = set(np.diff([item.number for item in slices]).tolist())
    return abs(steps.pop()) if len(steps) == 1 else 0


def _common(slices: Sequence[SliceHeader], of: Callable[[SliceHeader], tuple[float, ...]]) -> float:
    """The one length in mm that all slices state; 0 where they do not."""
    stated = {of(item) for item in slices}
    only = stated.pop() if len(stated) == 1 else ()
    return only[0] if len(only) == 1 and 0 < only[0] < np.inf else 0.0


def _of_more(slices: Sequence[SliceHeader]) -> list[str]:
    """What is said where the acquisition had more images than there are, in words.

    An instance number that does not start at 1 says nothing by itself: many scanners count on from
    series to series.
    """
    acquired = {item.acquired for item in slices}
    count = acquired.pop() if len(acquired) == 1 else 0
    if count <= len(slices):
        return []
    numbers = [item.number for item in slices]
    known = min(numbers) >= 0
    about = f", numbered {min(numbers)} to {max(numbers)}" if known else ""
    return [f"ImagesInAcquisition is {count}, and these are {len(slices)}{about}"]
