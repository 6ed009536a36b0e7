"""Which signatures of a set are so near that their volumes must be copies, beside all others.

What all volumes of a set have in common says nothing: brains in one space look alike, and so do
phantoms. The set's mean is therefore taken out first, and two volumes are copies where they are
much nearer to each other than either is to the neighbours that it has anyway.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from .audit_turns import TURNS, Turn

#: Copies are nearer to each other than this share of the distance to their usual neighbours (the
#: geometric mean of coarse and fine). Measured over all 48 ways and inverted: pairs that are no
#: copies reach 0.23 (1,584 binary shapes of 28 x 28 x 28), 0.26 (88 phantoms), 0.46 (158 MR
#: patches), 0.61 (36 CT, PET and MR volumes) and 0.82 or more (64 bodies of one outline). Copies
#: with noise of 5 % of their spread lie within 0.02, of 20 % within 0.12; mirrored, rotated by 90
#: degrees, inverted and rescaled ones below 0.01; resampled to 0.7 of the voxels within 0.02 to
#: 0.24, with a gamma of 0.8 within 0.03 (0.33 where all volumes have one outline). A crop by one
#: voxel is mostly missed.
SHARE = 0.18
#: Where no pair at all lies between these two shares, copies and others are plainly apart, and what
#: lies below them is a copy.
GAP = (0.3, 0.6)
#: Farther apart than this, as 1 - correlation, nothing is a copy.
FARTHEST = 0.4
#: Nearer than this a pair looks like copies, whatever its neighbours are.
ALIKE = 0.05

#: Frequencies along each axis of the first, coarse comparison of all with all.
_COARSE = 8
#: Neighbours of each volume that are then compared in all frequencies.
_NEIGHBOURS = 10
#: Which of its neighbours is usual, counted from 0: a scan may have as many copies.
_USUAL = 5
_BLOCK = 256
#: By so much another way to lie must be better than an earlier one: symmetrical volumes are not
#: called mirrored for a rounding's sake.
_BETTER = 1e-4
#: A volume is laid otherwise than it is where it is so much more like the set's mean then.
_PLAINLY = 0.1
_TINY = 1e-6

_Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two rows that look like one volume.

    Attributes:
        first: The smaller row.
        second: The other.
        distance: 1 - correlation of what they have beyond the set's mean, 0..2.
        turn: How one lies in the other.
        inverted: Whether bright is dark in it.
    """

    first: int
    second: int
    distance: float
    turn: Turn
    inverted: bool


@dataclass(frozen=True, eq=False)
class Likeness:
    """Rows that look alike, and how near the others come.

    Attributes:
        pairs: Copies, the nearest first.
        nearest: Smallest distance of the other pairs; None where there is none.
        crowded: Rows that have many neighbours as near as copies: no pair of them stands out.
    """

    pairs: tuple[NearPair, ...]
    nearest: float | None
    crowded: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Meeting:
    """Two rows in the way in which they are most alike: `turned` is the one that is laid so."""

    coarse: float
    turned: int
    other: int
    place: int
    sign: int


def near_rows(signatures: NDArray[np.int8]) -> Likeness:
    """Compares every signature with every other, laid in 48 ways, and inverted.

    Args:
        signatures: (N, k^3) at frequencies (x, y, z); a row of zeros is like no other. Of one or
            two rows nothing can be said: they have no set.
    """
    rows = np.flatnonzero(signatures.any(axis=1))
    if len(rows) < 3:
        return Likeness((), None, ())
    side = round(signatures.shape[1] ** (1 / 3))
    whole = _unit(signatures[rows].astype(np.float32)).reshape(-1, side, side, side)
    placed = _placed(whole)
    coarse = _unit(placed[:, :_COARSE, :_COARSE, :_COARSE].reshape(len(rows), -1))
    meetings = _meetings(coarse.reshape(len(rows), *(min(side, _COARSE),) * 3))
    fine = _fine(placed, meetings)
    usual = [_usual([item.coarse for item in meetings], meetings), _usual(fine, meetings)]
    shares = [
        _share((item.coarse, distance), usual, (item.turned, item.other))
        for item, distance in zip(meetings, fine, strict=True)
    ]
    between = any(GAP[0] <= share <= GAP[1] for share in shares)
    limit = SHARE if between else GAP[0]
    pairs, others, crowded = [], [], set()
    for item, distance, share in zip(meetings, fine, shares, strict=True):
        one, other = sorted(int(rows[place]) for place in (item.turned, item.other))
        if distance < FARTHEST and share < limit:
            turn, inverted = _way(whole[item.turned], whole[item.other])
            pairs.append(NearPair(one, other, round(distance, 4), turn, inverted))
            continue
        others.append(distance)
        crowded |= {one, other} if distance < ALIKE else set()
    pairs.sort(key=lambda pair: (pair.distance, pair.first, pair.second))
    return Likeness(tuple(pairs), min(others, default=None), tuple(sorted(crowded)))


def _share(
    distances: tuple[float, float], usual: list[dict[int, float]], rows: tuple[int, int]
) -> float:
    """Distances of two rows as a share of the usual ones, geometric mean of coarse and fine."""
    parts = [
        found / max(min(near[row] for row in rows), _TINY)
        for found, near in zip(distances, usual, strict=True)
    ]
    return float(np.sqrt(parts[0] * parts[1]))


def _placed(whole: _Floats) -> _Floats:
    """Rows laid as the set's mean lies, where that is plain.

    A mirrored brain among others has their mirrored mean in common with nobody; left as it is, the
    mean could not be taken out of it.
    """
    flat = whole.reshape(len(whole), -1)
    mean = flat.mean(axis=0, keepdims=True)
    found, likeness = whole.copy(), (flat @ mean[0]) / max(float(np.linalg.norm(mean)), _TINY)
    likeness = likeness + _PLAINLY
    for turn in TURNS:
        turned = turn.of(whole)
        cosines = (turned.reshape(len(whole), -1) @ mean[0]) / max(
            float(np.linalg.norm(mean)), _TINY
        )
        for sign in (1, -1):
            better = sign * cosines > likeness
            found[better], likeness[better] = sign * turned[better], sign * cosines[better]
    return found


def _way(one: _Floats, other: _Floats) -> tuple[Turn, bool]:
    """How one signature lies in another, and whether it is inverted; the first of equal ways."""
    cosines = np.array([float((turn.of(one[None])[0] * other).sum()) for turn in TURNS])
    ways = np.concatenate([cosines, -cosines])
    best = int(np.argmax(ways > ways.max() - 100 * _BETTER))
    return TURNS[best % len(TURNS)], best >= len(TURNS)


def _unit(rows: _Floats) -> _Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return cast("_Floats", rows / np.where(lengths > 0, lengths, 1.0))


def _meetings(coarse: _Floats) -> list[_Meeting]:
    """Each row with its nearest neighbours by low frequencies, every pair once."""
    count = len(coarse)
    flat = coarse.reshape(count, -1)
    mean = flat.mean(axis=0)
    known: dict[tuple[int, int], _Meeting] = {}
    for start in range(0, count, _BLOCK):
        block = coarse[start : start + _BLOCK]
        best, way = _best(block, _unit(flat - mean), mean)
        own = np.arange(len(block))
        best[own, start + own] = -np.inf
        nearest = np.argsort(-best, axis=1, kind="stable")[:, : min(_NEIGHBOURS, count - 1)]
        rows = np.repeat(own, nearest.shape[1]).tolist()
        for row, column in zip(rows, nearest.ravel().tolist(), strict=True):
            turned, found = start + row, int(way[row, column])
            distance = min(max(1.0 - float(best[row, column]), 0.0), 2.0)
            item = _Meeting(distance, turned, column, found // 2, 1 - 2 * (found % 2))
            key = (min(turned, column), max(turned, column))
            # The earlier way wins where both rows find each other equally well.
            rank = (round(distance / _BETTER), item.place, item.sign < 0)
            other = known.get(key)
            if other is None or rank < (round(other.coarse / _BETTER), other.place, other.sign < 0):
                known[key] = item
    return [known[key] for key in sorted(known)]


def _best(block: _Floats, residuals: _Floats, mean: _Floats) -> tuple[_Floats, NDArray[np.int16]]:
    """Highest correlation of each row of a block with each row, and the way that gave it.

    A row is laid so first, and the mean taken out then: a mirrored brain has to come back to the
    place of the others. The way is twice its place in `TURNS`, and one more where it is inverted.
    """
    flat = block.reshape(len(block), -1)
    best = np.full((len(block), len(residuals)), -np.inf, dtype=np.float32)
    way = np.zeros(best.shape, dtype=np.int16)
    of_mean = residuals @ mean
    size = (flat**2).sum(axis=1) + (mean**2).sum()
    ways = [(place, sign) for sign in (1, -1) for place in range(len(TURNS))]
    for place, sign in ways:
        turned = sign * TURNS[place].of(block).reshape(len(block), -1)
        length = np.sqrt(np.maximum(size - 2 * turned @ mean, _TINY))[:, None]
        cosines = (turned @ residuals.T - of_mean) / length
        better = cosines > best + _BETTER
        best[better], way[better] = cosines[better], 2 * place + (sign < 0)
    return best, way


def _fine(whole: _Floats, meetings: list[_Meeting]) -> list[float]:
    """Distances of pairs in all frequencies, in the way that the low ones gave."""
    flat = whole.reshape(len(whole), -1)
    mean = flat.mean(axis=0)
    residuals = _unit(flat - mean)
    by_place: defaultdict[int, list[int]] = defaultdict(list)
    for number, item in enumerate(meetings):
        by_place[item.place].append(number)
    found = [0.0] * len(meetings)
    for place, numbers in by_place.items():
        for start in range(0, len(numbers), _BLOCK):
            part = numbers[start : start + _BLOCK]
            rows = TURNS[place].of(whole[[meetings[number].turned for number in part]])
            signs = np.array([[meetings[number].sign] for number in part], dtype=np.float32)
            turned = _unit(signs * rows.reshape(len(part), -1) - mean)
            against = residuals[[meetings[number].other for number in part]]
            for number, cosine in zip(part, (turned * against).sum(axis=1).tolist(), strict=True):
                found[number] = min(max(1.0 - cosine, 0.0), 2.0)
    return found


def _usual(distances: list[float], meetings: list[_Meeting]) -> dict[int, float]:
    """How far from each row the neighbour is that it would have without any copy."""
    near: defaultdict[int, list[float]] = defaultdict(list)
    for distance, item in zip(distances, meetings, strict=True):
        near[item.turned].append(distance)
        near[item.other].append(distance)
    return {
        row: sorted(found)[_USUAL if len(found) > _USUAL else len(found) // 2]
        for row, found in near.items()
    }
