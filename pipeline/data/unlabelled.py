"""Volumes without labels: each comes with what its hidden blocks are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from ..batches import Batch
from ..seeds import derived_seed
from .augment import Augmentation
from .cases import Case
from .dataset import ImageStore, Request, VolumeDataset


class UnlabelledVolumes(VolumeDataset):
    """Volumes by `(epoch, index)`, with a seed in the place of the label.

    The seed is a function of (seed, epoch, case): a case comes once an epoch, so any number of
    workers or processes, and a resumed run, hide the same blocks of it.

    Args:
        cases: The cases, in the order that indices refer to; their labels are not looked at.
        contents: Content hash by case id.
        store: Where volumes come from.
        augment: The random chain, or None.
        seed: Of the run and fold.
        seeded: Whether volumes come with the seeds by which their batch is augmented.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        contents: Mapping[str, str],
        store: ImageStore,
        augment: Augmentation | None,
        seed: int,
        *,
        seeded: bool = False,
    ) -> None:
        unlabelled = [replace(case, label=None) for case in cases]
        super().__init__(unlabelled, contents, (), store, augment, seed, seeded=seeded)
        self._blocks_seed = derived_seed(seed, "blocks")

    def __getitem__(self, request: Request) -> Batch:
        epoch, index = request
        item = super().__getitem__(request)
        chosen = derived_seed(self._blocks_seed, epoch, self.cases[index].case_id)
        item["label"] = torch.tensor(chosen)
        return item
