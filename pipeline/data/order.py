"""The order of training: which case is seen in which step, as a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..batches import PlannedStep
from ..seeds import derived_seed


@dataclass(frozen=True, slots=True)
class TrainingOrder:
    """Plans every epoch.

    Steps of an epoch differ by at most one case in size, so that no step is left with a remnant.

    Args:
        labels: Class index of each case.
        batch_size: Most cases a forward pass.
        accumulate: Most forward passes a step.
        sampler: `shuffle` sees each case once; `balanced` draws each class equally often.
        seed: Of the run and fold.
    """

    labels: Sequence[int]
    batch_size: int
    accumulate: int
    sampler: Literal["shuffle", "balanced"]
    seed: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps an epoch."""
        return -(-len(self.labels) // (self.batch_size * self.accumulate))

    def epoch(self, epoch: int) -> list[PlannedStep]:
        """The steps of an epoch."""
        steps = np.array_split(self._drawn(epoch), self.steps_per_epoch)
        planned: list[PlannedStep] = []
        for number, step in enumerate(steps):
            parts = np.array_split(step, -(-len(step) // self.batch_size))
            batches = tuple(tuple(int(index) for index in part) for part in parts)
            planned.append(PlannedStep(epoch, batches, number == len(steps) - 1))
        return planned

    def from_step(self, step: int, epochs: int) -> Iterator[PlannedStep]:
        """All steps from `step` (counted from 0 over all epochs) to the end of training."""
        first, skipped = divmod(step, self.steps_per_epoch)
        for epoch in range(first, epochs):
            yield from self.epoch(epoch)[skipped if epoch == first else 0 :]

    def _drawn(self, epoch: int) -> NDArray[np.int64]:
        generator = np.random.default_rng(derived_seed(self.seed, "order", epoch))
        labels = np.asarray(self.labels)
        if self.sampler == "shuffle":
            return generator.permutation(len(labels))
        classes = np.unique(labels)
        wanted = generator.permutation(np.resize(generator.permutation(classes), len(labels)))
        drawn = np.empty(len(labels), dtype=np.int64)
        for label in classes:
            members = generator.permutation(np.flatnonzero(labels == label))
            places = np.flatnonzero(wanted == label)
            drawn[places] = np.resize(members, len(places))
        return drawn
