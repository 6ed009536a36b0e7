"""What loading hands to training: batches of volumes, planned into optimizer steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from torch import Tensor


class Batch(TypedDict):
    """Cases side by side.

    Attributes:
        image: (B, C, X, Y, Z) float32.
        label: (B,) int64 class indices; -1 where unknown.
        index: (B,) int64, the case's place in the list that the loader was made from.
    """

    image: Tensor
    label: Tensor
    index: Tensor


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
