"""What loading hands to training: batches of volumes, planned into optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NotRequired, TypedDict

import torch
from torch import Tensor

#: What the mask of a case without one is filled with; no structure at all would be zeros.
NO_MASK = -1.0


class Batch(TypedDict):
    """Cases side by side.

    Attributes:
        image: (B, C, X, Y, Z) float32.
        label: (B,) int64 class indices; -1 where unknown.
        index: (B,) int64, the case's place in the list that the loader was made from.
        covariates: (B, F) float32, as the fold encodes them; where the network reads any.
        mask: (B, 1, X, Y, Z) float32, 1 in the structure and 0 elsewhere; in training alone, where
            it is a target. `NO_MASK` throughout for a case that has none.
        seed: (B,) int64, of each case's augmentation; where the batch is yet to be augmented.
    """

    image: Tensor
    label: Tensor
    index: Tensor
    covariates: NotRequired[Tensor]
    mask: NotRequired[Tensor]
    seed: NotRequired[Tensor]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device; indices, which name cases, and seeds stay where they are."""
    moved = batch.copy()
    moved["image"] = batch["image"].to(device, non_blocking=True)
    moved["label"] = batch["label"].to(device, non_blocking=True)
    if "covariates" in batch:
        moved["covariates"] = batch["covariates"].to(device, non_blocking=True)
    if "mask" in batch:
        moved["mask"] = batch["mask"].to(device, non_blocking=True)
    return moved


def beside_the_volume(batch: Batch) -> tuple[Tensor, ...]:
    """What the network reads beside the volumes: the covariates, or nothing."""
    return (batch["covariates"],) if "covariates" in batch else ()


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One optimizer step.

    Attributes:
        epoch: Counted from 0.
        batches: Indices of cases, a tuple a forward pass, over all processes.
        last: Whether the epoch ends with this step.
    """

    epoch: int
    batches: tuple[tuple[int, ...], ...]
    last: bool

    @property
    def cases(self) -> int:
        """Number of cases in the step, over all forward passes and processes."""
        return sum(len(batch) for batch in self.batches)


@dataclass(frozen=True, slots=True)
class LoadedStep:
    """An optimizer step with its volumes.

    Attributes:
        plan: What all processes together do in this step.
        batches: This process's part of each forward pass.
    """

    plan: PlannedStep
    batches: list[Batch]
