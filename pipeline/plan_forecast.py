"""What training by a plan takes, measured on a step of it; and the batch that memory allows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import psutil
import torch
from accelerate import Accelerator

from .config import Config, is_volume_network
from .data.splits import Folds
from .forecast import Step, epoch_seconds, measure_step, memory_peak
from .planning.choices import Choice
from .planning.training import Counts
from .progress import duration, size

#: Cases of the first step; one alone has no spread for a batch norm to measure.
_FEWEST = 2
#: Weights, their gradients, average and two moments, in single precision.
_BYTES_A_WEIGHT = 5 * 4
#: Peak of a step over what is kept for its backward pass; 1.6 to 1.75 were measured on a CPU.
_BACKWARD = 1.75
_PART_OF_FREE = 0.5


@dataclass(frozen=True, slots=True)
class PlanForecast:
    """What training by a plan takes on this machine, if no fold stops early.

    Attributes:
        epoch: Seconds an epoch.
        fold: Seconds a fold.
        folds: How many there are.
        epochs: Of a fold.
        memory: Bytes at the peak of a training step, of this process or of the GPU.
        parameters: Numbers of the network.
        stages: (channels, x, y, z) of each stage.
        warnings: What is doubtful about the network on these volumes.
    """

    epoch: float
    fold: float
    folds: int
    epochs: int
    memory: int
    parameters: int
    stages: tuple[tuple[int, ...], ...]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """The forecast in words."""
        grids = " -> ".join(f"{c} x {x}x{y}x{z}" for c, x, y, z in self.stages)
        whole = f", {duration(self.fold * self.folds)} for all {self.folds}" * (self.folds > 1)
        return [
            f"network: {self.parameters:,} parameters, stages {grids}",
            f"forecast on this machine: {_short(self.epoch)} an epoch, {duration(self.fold)} a "
            f"fold of {self.epochs} epochs{whole}; {size(self.memory)} memory",
        ]


def plan_forecast(
    config: Config,
    accelerator: Accelerator,
    folds: Folds,
    counts: Counts,
    asked: Collection[str],
) -> tuple[PlanForecast, list[Choice]]:
    """Measures a training step, first of two cases, then of the batch.

    Args:
        config: With the batch that is wanted.
        accelerator: Device and precision.
        folds: That are trained.
        counts: How much there is to learn from.
        asked: Keys that the user decided.

    Returns:
        The forecast, and the batch as memory allows it: a smaller one takes several steps.
    """
    classes, wanted = len(folds.classes), config.train.batch_size
    first = measure_step(_with_batch(config, _FEWEST), accelerator, classes)
    free = _free(accelerator.device)
    allowed = _allowed(first, free)
    choices, warnings = [], _narrow(config, first)
    if "train.batch_size" in asked:
        batch = wanted
        if wanted > max(allowed, _FEWEST):
            warnings.append(_scarce(first, free, f"train.batch_size={wanted} may not have room"))
    else:
        batch = min(wanted, max(allowed, _FEWEST))
    if batch < wanted:
        reason = _scarce(first, free, f"{wanted} cases together would take over half of the memory")
        choices.append(Choice("train.batch_size", batch, reason))
        if "train.accumulate" not in asked:
            steps = config.train.accumulate * -(-wanted // batch)
            together = "so many batches make one step of the optimizer"
            choices.append(Choice("train.accumulate", steps, together))
    config = _with_batch(config, batch)
    step = first if batch == _FEWEST else measure_step(config, accelerator, classes)
    epoch = config.train.seeds * epoch_seconds(config, step, counts.cases, counts.validated)
    forecast = PlanForecast(
        epoch=epoch,
        fold=epoch * config.train.epochs,
        folds=len(folds.folds),
        epochs=config.train.epochs,
        memory=memory_peak(accelerator.device),
        parameters=step.parameters,
        stages=step.stages,
        warnings=tuple(warnings),
    )
    return forecast, choices


def _with_batch(config: Config, batch: int) -> Config:
    train = config.train.model_copy(update={"batch_size": batch})
    return config.model_copy(update={"train": train})


def _per_case(step: Step) -> float:
    return _BACKWARD * step.kept / _FEWEST


def _allowed(step: Step, free: int) -> int:
    """How many cases fit half of the free memory beside the weights."""
    room = _PART_OF_FREE * free - _BYTES_A_WEIGHT * step.parameters
    return int(room // max(_per_case(step), 1.0))


def _free(device: torch.device) -> int:
    """Bytes of memory that are free: of the GPU, or of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _scarce(step: Step, free: int, what: str) -> str:
    return f"{what}: a step needs {size(_per_case(step))} a case, and {size(free)} are free"


def _narrow(config: Config, step: Step) -> list[str]:
    """A warning for each axis along which stages have one voxel only."""
    if not is_volume_network(config.model.name):
        return []
    warnings = []
    for place, axis in enumerate("xyz"):
        single = [
            str(number) for number, (_, *grid) in enumerate(step.stages, 1) if grid[place] == 1
        ]
        if single:
            warnings.append(
                f"stage{'s' if len(single) > 1 else ''} {', '.join(single)} of the network "
                f"{'are' if len(single) > 1 else 'is'} one voxel wide along {axis}, so nothing is "
                "mixed there: raise preprocess.size, or lower model.strides or model.stem.stride"
            )
    return warnings


def _short(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)
