"""Padding that is brighter than the picture: what takes it for grey values sees a ring.

Scanners fill what they did not measure with one value, which the header states. Below all others it
looks like air, or darker. Above, it is taken for foreground, and stretches the range of values.

Source: DICOM PS3.3, C.7.5.1.1.2 (Pixel Padding Value and Pixel Padding Range Limit).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..volume import Finding
from .dicom_header import SliceHeader

#: Fewer voxels may be the brightest ones of the picture.
_FEWEST = 10


@dataclass(slots=True)
class Padding:
    """What was seen of padding and of the other values, slice by slice.

    Attributes:
        count: Voxels that hold padding.
        least: Smallest true value of them.
        most: Largest true value of the others.
    """

    count: int = 0
    least: float = math.inf
    most: float = -math.inf

    def see(self, raw: NDArray[np.integer[Any]], item: SliceHeader) -> None:
        """Takes note of a slice.

        Args:
            raw: As it is stored.
            item: Its header.
        """
        measured = raw
        if stated := _stored_range(item):
            padded = (raw >= stated[0]) & (raw <= stated[1])
            padding, measured = raw[padded], raw[~padded]
            self.count += padding.size
            self.least = min((self.least, *_true_ends(padding, item)))
        self.most = max((self.most, *_true_ends(measured, item)))

    def findings(self) -> tuple[Finding, ...]:
        """Says so if padding is brighter than all that was measured."""
        if self.count < _FEWEST or not math.isfinite(self.most) or self.least <= self.most:
            return ()
        text = (
            f"{self.count:,} voxels hold its PixelPaddingValue, {self.least:g}, which stands for "
            f"what was not measured, and are brighter than all others (at most {self.most:g})"
        )
        return (Finding("W_FILLED", text),)


def _true_ends(values: NDArray[np.integer[Any]], item: SliceHeader) -> tuple[float, ...]:
    """The true values of the smallest and largest stored value, if there is one."""
    ends = (float(values.min()), float(values.max())) if values.size else ()
    return tuple(float(end * item.rescale[0] + item.rescale[1]) for end in ends)


def _stored_range(item: SliceHeader) -> tuple[int, int] | None:
    """First and last stored value that is padding; None where none is stated.

    Headers state the same bits with a sign or without, whatever the voxels have.
    """
    if not 1 <= len(item.padding) <= 2 or not all(map(math.isfinite, item.padding)):
        return None
    values = 1 << item.allocated
    ends = [int(number) % values for number in item.padding]
    if item.signed:
        ends = [end - values if end >= values >> 1 else end for end in ends]
    return min(ends), max(ends)
