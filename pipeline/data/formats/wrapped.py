"""Negative values that were stored without a sign: -1000 becomes 64536 in 16 bits.

Of a CT the air is then brighter than any bone. The range of values is a possible one, so what
tells is the gap: a picture with values up to 65535 has some in between. Once the sign is lost, the
values may be kept as any type; in 32 bits, -1000 becomes 4294966296.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..volume import Finding

#: Values of bone and metal end below.
_LOW_END = 1 << 15
#: Those of air and padding (-3024 and less) are at most so far below the range's end.
_DEEPEST = 5_536
_RANGES = (1 << 16, 1 << 32)
#: Every so many values are looked at for a fraction.
_SAMPLED = 61
#: Types without room for any of these.
_SMALL = (np.int8, np.uint8, np.int16)
#: Voxels above the gap; fewer may be dots of noise.
_FEWEST = 10
#: What scanners and tools put where nothing was measured. Any other value that is alone far above
#: all others stands for what was too bright, or is 65535, the usual one for padding.
_FILLERS = frozenset({-1000, -1024, -2000, -2048, -3000, -3024, -3071, -3072})


@dataclass(slots=True)
class Wrapped:
    """What was seen of the values on both sides of the gap, slab by slab.

    Attributes:
        low: Largest value below the gap.
        high: Smallest and largest value above it.
        count: Number of voxels above it.
        cleared: Whether there is a value that ends the suspicion: a negative one, a fraction, or
            one in the gap.
    """

    low: int | None = None
    high: tuple[int, int] | None = None
    count: int = 0
    cleared: bool = False

    def see(self, raw: NDArray[np.generic]) -> None:
        """Takes note of a slab, as it is stored; of small types there is nothing to note."""
        if self.cleared or raw.dtype.newbyteorder("=") in _SMALL:
            return
        values: NDArray[Any] = raw
        is_real = raw.dtype.kind == "f"
        if is_real and not (np.isfinite(raw.min(initial=0)) and np.isfinite(raw.max(initial=0))):
            values = raw[np.isfinite(raw)]
        if not values.size:
            return
        most = int(values.max())
        # Where all is below the gap, some of the values are enough to meet a fraction.
        looked = values if most >= _LOW_END else values.ravel(order="K")[::_SAMPLED]
        if values.min() < 0 or (is_real and (looked != np.rint(looked)).any()):
            self.cleared = True
            return
        if most < _LOW_END:
            self.low = max(most, self.low or 0)
            return
        above = values[values >= _LOW_END]
        first, last = self.high or (most, most)
        self.high = min(first, int(above.min())), max(last, most)
        end = _end_of(self.high[1])
        self.cleared = self.high[0] < end - _DEEPEST or self.high[1] > end
        self.count += above.size
        if above.size < values.size:
            self.low = max(int(values[values < _LOW_END].max()), self.low or 0)

    def findings(self) -> tuple[Finding, ...]:
        """Says so if values look like negative ones without their sign."""
        if self.cleared or self.low is None or self.high is None or self.count < _FEWEST:
            return ()
        first, last = self.high
        signed = [value - _end_of(last) for value in self.high]
        if first == last and signed[0] not in _FILLERS:
            return ()
        have, alike = (
            (f"are {first}", f"{signed[0]}")
            if first == last
            else (f"are from {first} to {last}", f"{signed[0]} to {signed[1]}")
        )
        text = (
            f"{self.count:,} of its stored values {have}, and none from {self.low + 1} to "
            f"{first - 1}: they look like {alike} stored without a sign; convert the original "
            "images again, as int16"
        )
        return (Finding("W_WRAPPED", text),)


def _end_of(value: int) -> int:
    """The end of the range without a sign that a value is in; single precision rounds up to it."""
    return _RANGES[0] if value < _RANGES[0] else _RANGES[1]
