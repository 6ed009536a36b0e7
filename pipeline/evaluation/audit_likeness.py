"""Which volumes show the same: by their voxels, or by signatures that are nearly equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .audit_near import NearPair, near_rows
from .audit_record import AuditedVolume, Differs, Pair


@dataclass(frozen=True, eq=False)
class Likenesses:
    """What a set shows twice.

    Attributes:
        pairs: Volumes that show the same, those with a contradiction first.
        nearest: Smallest distance of two signatures that are not taken for copies.
        crowded: Case ids of volumes that have many others as near as copies: that a set of
            lookalikes, or of many copies of one volume, cannot be told apart.
    """

    pairs: tuple[Pair, ...]
    nearest: float | None
    crowded: tuple[str, ...]


def find_pairs(
    volumes: Sequence[AuditedVolume],
    voxels: Sequence[str],
    signatures: NDArray[np.int8],
) -> Likenesses:
    """All pairs that show the same, and how near others come.

    Of several volumes with the same voxels each is paired with the first. What is near is paired
    once for each content.

    Args:
        volumes: N of them.
        voxels: Hash of the voxels of each.
        signatures: (N, k^3).
    """
    first: dict[str, int] = {}
    pairs = []
    for place, content in enumerate(voxels):
        other = first.setdefault(content, place)
        if other != place:
            pairs.append(_pair(volumes[other], volumes[place]))
    kept = sorted(first.values())
    alike = near_rows(signatures[kept])
    pairs += [
        _pair(volumes[kept[item.first]], volumes[kept[item.second]], item) for item in alike.pairs
    ]
    pairs.sort(key=lambda pair: (not pair.differs, pair.distance))
    crowded = tuple(volumes[kept[row]].case_id for row in alike.crowded)
    return Likenesses(tuple(pairs), alike.nearest, crowded)


def _pair(first: AuditedVolume, second: AuditedVolume, near: NearPair | None = None) -> Pair:
    told: Mapping[Differs, bool] = {
        "label": first.label != second.label,
        "patient": first.patient_id != second.patient_id,
        "split": None not in (first.split, second.split) and first.split != second.split,
    }
    return Pair(
        kind="same" if near is None else "near",
        first=first.case_id,
        second=second.case_id,
        distance=0.0 if near is None else near.distance,
        mirrored=() if near is None or near.turn.is_permuted else near.turn.axes,
        turned=near is not None and near.turn.is_permuted,
        inverted=near is not None and near.inverted,
        differs=tuple(name for name, is_so in told.items() if is_so),
    )
