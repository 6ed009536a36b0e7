"""The grey values of a volume: finite, in the range of single precision, and more than one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..volume import Finding, Reason, VolumeError
from .rules import rules_in_force
from .wrapped import Wrapped

_FLOAT32_MAX = float(np.finfo(np.float32).max)
#: Above this part of all voxels with one value a volume shows next to nothing.
_SPARSE = 0.99
#: A volume of two values is a shape if this many voxels have the rarer one. The smallest of
#: AdrenalMNIST3D has 36 of 21,952; a speck of fewer is hardly one.
_SHAPE_VOXELS = 10
#: Voxels that are looked at first: where 99 % of a volume have one value, 97 % of so many have it
#: (the standard deviation of that part is 0.16 %).
_PROBED = 4096
_PROBED_LEAST = 0.97


@dataclass(slots=True)
class Values:
    """What was seen of a volume's values, slab by slab.

    Attributes:
        ends: Smallest and largest finite value of each slab that has one.
        nonfinite: Number of stored values that are NaN or infinite.
        wrapped: What tells whether negative values were stored without their sign.
    """

    ends: list[int | float] = field(default_factory=list)
    nonfinite: int = 0
    wrapped: Wrapped = field(default_factory=Wrapped)

    def see(self, raw: NDArray[np.generic], slope: float = 1.0, inter: float = 0.0) -> None:
        """Takes note of a slab.

        Args:
            raw: As it is stored.
            slope: Factor from the stored to the true value.
            inter: Added after the factor.
        """
        self.wrapped.see(raw)
        with np.errstate(over="ignore", invalid="ignore"):
            ends = [raw.min().item(), raw.max().item()]  # of int64, float would round them
        if not math.isfinite(ends[1] - ends[0]):
            finite = np.isfinite(raw)
            if count := int(finite.size - np.count_nonzero(finite)):
                self.nonfinite += count
                kept = raw[finite]
                ends = [kept.min().item(), kept.max().item()] if kept.size else []
        if (slope, inter) != (1.0, 0.0):
            # Rounding keeps the order of values, so these are the ends of the true ones; what slope
            # and intercept make infinite is out of range.
            ends = [float(end) * slope + inter for end in ends]
        self.ends += ends

    def check(self, path: Path, count: int) -> None:
        """Refuses values that no volume should have.

        Args:
            path: The volume, as messages name it.
            count: Number of voxels.

        Raises:
            VolumeError: Values are not finite (and no rule fills them), beyond single precision,
                or all the same.
        """
        if self.nonfinite and (rules_in_force().nan == "refuse" or self.nonfinite == count):
            reason = f"{self.nonfinite:,} of {count:,} voxels"
            raise VolumeError(Reason.E_NONFINITE, path, reason)
        low, high = min(self.ends), max(self.ends)
        if not -_FLOAT32_MAX <= low <= high <= _FLOAT32_MAX:
            raise VolumeError(Reason.E_RANGE, path, f"its values reach from {low:g} to {high:g}")
        if low == high:
            raise VolumeError(Reason.E_CONSTANT, path, f"every voxel is {low:g}")
        if np.float32(low) == np.float32(high):
            reason = f"its values, near {low:g}, differ by less than single precision can tell"
            raise VolumeError(Reason.E_RANGE, path, f"{reason} apart; subtract an offset")

    def filler(self) -> float | None:
        """What stands for values that are not finite, the least finite one; None: all are."""
        return min(self.ends) if self.nonfinite else None

    def findings(self, count: int) -> tuple[Finding, ...]:
        """How many of `count` values were filled, if any, and whether some seem wrapped."""
        found = self.wrapped.findings()
        least = self.filler()
        if least is None:
            return found
        text = f"{self.nonfinite:,} of {count:,} voxels were not finite and are {least:g} now"
        return (Finding("W_FILLED", f"{text}, as data.nan says"), *found)


def sparse(voxels: NDArray[np.float32]) -> tuple[Finding, ...]:
    """Says whether more than 99 % of the voxels have one value, and it is no shape of two values.

    Args:
        voxels: (X, Y, Z), C-contiguous.
    """
    flat = voxels.reshape(-1)
    # A step that no usual size divides, so that the probe is no plane or line of the volume.
    probe = flat[np.arange(min(_PROBED, flat.size), dtype=np.int64) * 1_000_003 % flat.size]
    value = np.partition(probe, probe.size // 2)[probe.size // 2]
    if np.count_nonzero(probe == value) < _PROBED_LEAST * probe.size:
        return ()
    others = flat[flat != value]
    if others.size >= (1 - _SPARSE) * flat.size:
        return ()
    if others.size >= _SHAPE_VOXELS and others.min() == others.max():
        return ()
    text = f"all but {others.size:,} of {flat.size:,} voxels are {value:g}"
    return (Finding("W_SPARSE", text),)
