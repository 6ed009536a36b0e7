"""Negative values that were stored without a sign: -1000 becomes 64536 in 16 bits.

Of a CT the air is then brighter than any bone. The range of values is a possible one, so what
tells is the gap: a picture with values up to 65535 has some in between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..volume import Finding

#: Values of bone and metal end below, those of air and padding (-3024 and less) are above.
_GAP = (1 << 15, 60_000)
_RANGE = 1 << 16
#: Voxels above the gap; fewer may be dots of noise.
_FEWEST = 10


@dataclass(slots=True)
class Wrapped:
    """What was seen of the values on both sides of the gap, slab by slab.

    Attributes:
        low: Largest value below the gap.
        high: Smallest and largest value above it.
        count: Number of voxels above it.
        between: Whether there are values in it, which end the suspicion.
    """

    low: int | None = None
    high: tuple[int, int] | None = None
    count: int = 0
    between: bool = False

    def see(self, raw: NDArray[np.generic]) -> None:
        """Takes note of a slab, as it is stored; of other types there is nothing to note."""
        if self.between or raw.dtype.newbyteorder("=") != np.uint16:
            return
        values = raw.astype(np.uint16, copy=False)
        if (most := int(values.max())) < _GAP[0]:
            self.low = max(most, self.low or 0)
            return
        above = values[values >= _GAP[0]]
        least = int(above.min())
        if least < _GAP[1]:
            self.between = True
            return
        earlier = self.high or (least, most)
        self.high = min(earlier[0], least), max(earlier[1], most)
        self.count += above.size
        if above.size < values.size:
            self.low = max(int(values[values < _GAP[0]].max()), self.low or 0)

    def findings(self) -> tuple[Finding, ...]:
        """Says so if values look like negative ones without their sign."""
        if self.between or self.low is None or self.high is None or self.count < _FEWEST:
            return ()
        first, last = self.high
        if first == last:  # one value far above stands for padding, or for what was too bright
            return ()
        text = (
            f"{self.count:,} of its stored values are from {first} to {last}, and none from "
            f"{self.low + 1} to {first - 1}: they look like {first - _RANGE} to {last - _RANGE} "
            "stored without a sign; convert the original images again, as int16"
        )
        return (Finding("W_WRAPPED", text),)
