"""What training knows about itself beside tensors: all of it fits in JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Literal, cast

from pydantic import JsonValue, TypeAdapter

#: One row of log.csv.
Row = dict[str, float | int | None]


@dataclass
class TrainState:
    """Where training stands.

    Attributes:
        step: Optimizer steps done.
        epoch: Epochs done.
        best: Best value of the monitored figure so far, or None.
        best_epoch: Epoch of that value, counted from 1; 0 before the first.
        stale: Epochs since then.
        averaged: Updates of the averaged weights.
        sums: Sums over the current epoch, for the log.
        history: One row an epoch.
        finished: Whether training is over.
    """

    step: int = 0
    epoch: int = 0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    averaged: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    finished: bool = False

    def to_json(self) -> dict[str, JsonValue]:
        """The state as JSON; floats keep all their digits."""
        return cast("dict[str, JsonValue]", asdict(self))

    @classmethod
    def from_json(cls, tree: dict[str, JsonValue]) -> TrainState:
        """The state that `to_json` gave.

        Raises:
            ValidationError: The fields are not those of this version.
        """
        return TypeAdapter(cls).validate_python(tree)

    def add(self, name: str, value: float) -> None:
        """Adds to a sum of the current epoch."""
        self.sums[name] = self.sums.get(name, 0.0) + value

    def judge(self, monitor: Literal["auroc", "loss"], auroc: float | None, loss: float) -> bool:
        """Notes the epoch's validation figure; whether it is the best so far.

        Where the AUROC is not defined (a class is missing), or ties at its best, the lower loss
        decides.
        """
        value = -loss if monitor == "loss" or auroc is None else auroc - math.tanh(loss) * 1e-6
        better = self.best is None or value > self.best
        if better:
            self.best, self.best_epoch, self.stale = value, self.epoch, 0
        else:
            self.stale += 1
        return better
