"""The random steps of training on whole batches, on the device that trains.

What `augment.py` does to each volume in a loading process is done to all volumes of a batch at
once, for machines whose GPU waits for few cores. Each case's is a function of its seed here too:
moves are the very same, to rounding; grey values change by the same rules, drawn otherwise.
"""

from __future__ import annotations

import numpy as np

from ..batches import Batch
from .batch_grey import GreyChances, recoloured
from .batch_moves import moved
from .moves import Moves


class BatchAugmentation:
    """Random changes of the volumes of a batch; the same seeds give the same to rounding.

    Args:
        moves: What moves voxels, and those of masks.
        chances: Of the steps that change grey values.
    """

    def __init__(self, moves: Moves, chances: GreyChances) -> None:
        self._moves = moves
        self._chances = chances

    def __call__(self, batch: Batch) -> Batch:
        """Augments a batch whose cases have seeds; another one stays as it is."""
        if "seed" not in batch:
            return batch
        seeds: list[int] = batch["seed"].tolist()
        matrices = np.stack([self._moves.draw(seed).matrix for seed in seeds])
        changed = batch.copy()
        images = moved(batch["image"], matrices, "linear")
        changed["image"] = recoloured(images, [self._chances.draw(seed) for seed in seeds], seeds)
        if "mask" in batch:
            changed["mask"] = moved(batch["mask"], matrices, "nearest")
        return changed
