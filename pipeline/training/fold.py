"""All that the training of one fold consists of, and how it is saved and taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer

from ..batches import Batch
from .checkpoint import Checkpoint, CheckpointFolder, Json
from .monitor import TensorBoardMonitor
from .optim import AveragedWeights, learning_rate
from .reconstruction import ReconstructionTask
from .signals import StopRequest
from .state import Row, TrainState
from .task import ClassificationTask


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        epochs: Most epochs; the learning rate falls over all of them.
        last_epoch: Where training ends at the latest, counted from 1.
        steps_per_epoch: Optimizer steps an epoch.
        peak: Largest learning rate.
        warmup: Part of all steps in which it rises.
        clip: Largest gradient norm; 0 for none.
        patience: Epochs without a better figure before training stops.
        monitor: The validation figure that decides.
        keep: Whether the weights of the best or the last epoch are kept.
        checkpoint_seconds: Most seconds between two checkpoints.
        mixup: Alpha of the blends of two volumes; 0 for none.
    """

    epochs: int
    last_epoch: int
    steps_per_epoch: int
    peak: float
    warmup: float
    clip: float
    patience: int
    monitor: Literal["auroc", "loss"]
    keep: Literal["best", "last"]
    checkpoint_seconds: float
    mixup: float = 0.0

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        return learning_rate(step, self.epochs * self.steps_per_epoch, self.peak, self.warmup)


@dataclass(frozen=True, slots=True)
class Validation:
    """Figures of the averaged weights on the validation part."""

    loss: float
    auroc: float | None
    accuracy: float | None


@dataclass
class FoldTraining:
    """All that the training of one fold consists of.

    Attributes:
        accelerator: Device, precision, processes.
        task: As prepared by the accelerator.
        plain_task: The same task, unwrapped.
        optimizer: As prepared by the accelerator.
        averaged: Follows the network without its auxiliary heads.
        schedule: How long and how fast.
        state: Where training stands.
        checkpoints: Where it is saved.
        seed: Of the run and fold.
        case_ids: Ids of the training cases, by index.
        validate: Judges the averaged weights; None where no case is left to judge them by, and
            those of the last epoch are kept.
        write_log: Writes the rows of the log.
        show: Told once an epoch.
        monitor: TensorBoard; None on all processes but the first.
        stop: Whether somebody asked to stop.
        augment: Changes a batch on the device where it is learned from; None where volumes come
            as they are to be learned from.
    """

    accelerator: Accelerator
    task: torch.nn.Module
    plain_task: ClassificationTask | ReconstructionTask
    optimizer: Optimizer
    averaged: AveragedWeights
    schedule: Schedule
    state: TrainState
    checkpoints: CheckpointFolder
    seed: int
    case_ids: list[str]
    validate: Callable[[], Validation] | None
    write_log: Callable[[list[Row]], None]
    show: Callable[[Row], None]
    monitor: TensorBoardMonitor | None
    stop: StopRequest
    augment: Callable[[Batch], Batch] | None
    saved_at: float = 0.0
    saving_took: float = 0.0


def save(run: FoldTraining) -> None:
    """Writes a checkpoint from which training goes on bit for bit.

    Random state is not part of it: every random choice is a function of the step.
    """
    started = time.monotonic()
    if run.accelerator.is_main_process:
        state: Json = {"training": run.state.to_json(), "scaler": _scaler_state(run.accelerator)}
        run.checkpoints.save(f"step-{run.state.step:07d}", Checkpoint(_tensors(run), state))
    run.saved_at = time.monotonic()
    run.saving_took = run.saved_at - started


def restore(run: FoldTraining, warn: Callable[[str], None]) -> bool:
    """Takes up the newest sound checkpoint of the fold; whether there was one.

    Args:
        run: What is trained; its state is replaced.
        warn: Told when a damaged checkpoint is passed over.

    Raises:
        StorageError: The checkpoints are damaged or of another run.
    """
    checkpoint = run.checkpoints.latest(warn)
    if checkpoint is None:
        return False
    parts: dict[str, dict[str, Tensor]] = {"task": {}, "averaged": {}, "optimizer": {}}
    for name, tensor in checkpoint.tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    run.state = TrainState.from_json(cast("Json", checkpoint.state["training"]))
    run.plain_task.load_state_dict(parts["task"])
    run.averaged.load(parts["averaged"], run.state.averaged)
    _load_optimizer(run.optimizer, parts["optimizer"])
    scaler = getattr(run.accelerator, "scaler", None)
    if scaler is not None and checkpoint.state["scaler"] is not None:
        scaler.load_state_dict(checkpoint.state["scaler"])
    return True


def _tensors(run: FoldTraining) -> dict[str, Tensor]:
    tensors = {f"task.{name}": value for name, value in run.plain_task.state_dict().items()}
    tensors |= {f"averaged.{name}": value for name, value in run.averaged.tensors.items()}
    for place, entry in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{place}.{name}": value for name, value in entry.items()}
    return tensors


def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        place, _, key = name.partition(".")
        state.setdefault(int(place), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _scaler_state(accelerator: Accelerator) -> Json | None:
    scaler = getattr(accelerator, "scaler", None)
    return None if scaler is None else cast("Json", scaler.state_dict())
