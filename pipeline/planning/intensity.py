"""How grey values are scaled, by what they are."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from .fingerprint import Fingerprint, Kind

#: Window in HU for the soft tissue of the body.
SOFT_TISSUE = (-160, 240)
#: How far the highest value may lie above the median, in distances from there to the 95 % value;
#: of a normal distribution it is two or three.
_FAR = 8.0


@dataclass(frozen=True, slots=True)
class Scale:
    """A section `preprocess.intensity`, with its reason.

    Attributes:
        name: As the configuration has it.
        reason: In words.
        ends: Low and high, of a window.
    """

    name: Literal["zscore", "window", "unit", "percentiles"]
    reason: str
    ends: tuple[int, int] | None = None

    @property
    def setting(self) -> dict[str, JsonValue]:
        """What the configuration says."""
        low, high = self.ends or (None, None)
        return {"name": self.name, "low": low, "high": high}


def soft_tissue(kinds: Collection[Kind]) -> Scale | None:
    """The window for CT of which only some is known; None where not all volumes are CT."""
    if not kinds or set(kinds) != {"ct"}:
        return None
    return Scale(
        "window",
        "the grey values start at -900 or below, as of CT in HU: a window for soft tissue",
        SOFT_TISSUE,
    )


def scale_for(found: Fingerprint) -> Scale:
    """The scaling that suits the grey values of all volumes."""
    if found.kinds == {"ct"}:
        low, high = _window(found.greys)
        return Scale(
            "window",
            "all volumes are CT in HU, the same scale in every scanner: the window holds 99 % of "
            "what is denser than -500 HU, as nnU-Net clips it. A window of the organ in question "
            f"is often better: {SOFT_TISSUE[0]} to {SOFT_TISSUE[1]} for soft tissue, "
            "-1000 to 400 for lungs, 0 to 80 for the brain",
            (low, high),
        )
    if "shape" in found.kinds:
        some = "the volumes" if len(found.kinds) == 1 else "some of the volumes"
        return Scale(
            "unit",
            f"{some} are shapes of one value, which has no deviation to scale by: the lowest "
            "value becomes 0 and the highest 1. Where all are shapes, networks may gain from "
            "{name: distance}, how far each voxel lies from the outside",
        )
    if len(found.kinds) > 1 and "ct" in found.kinds:
        return Scale(
            "zscore",
            "some volumes are CT and some are not, so no window suits all: each is scaled by its "
            "own foreground",
        )
    if _far(found) > _FAR:
        return Scale(
            "percentiles",
            "single voxels are far brighter than the rest, so that mean and deviation would "
            "follow them: what lies outside of 0.5 to 99.5 % is clipped",
        )
    return Scale(
        "zscore",
        "the unit of the grey values is arbitrary, as in MR: each volume is scaled by the mean and "
        "deviation of its own foreground",
    )


def _window(greys: Sequence[float]) -> tuple[int, int]:
    """The 0.5 and 99.5 % values, to ten HU outwards."""
    low, high = 10 * math.floor(greys[0] / 10), 10 * math.ceil(greys[4] / 10)
    return low, max(high, low + 10)


def _far(found: Fingerprint) -> float:
    """How far the brightest voxels of the median volume are off."""
    _, _, middle, upper, _, highest = found.greys
    return (highest - middle) / (upper - middle) if upper > middle else 0.0
