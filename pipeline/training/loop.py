"""The training loop of one fold, explicit from the first step to the last.

Everything random in it is seeded by (seed, step, process), so the same steps give the same bits
whether the run was interrupted or not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor

from ..batches import Batch, LoadedStep, to_device
from ..errors import DivergedError
from ..seeds import derived_seed
from .checkpoint import Checkpoint
from .fold import FoldTraining, Validation, save
from .mixup import mixed
from .signals import StopRequest
from .state import Row, TrainState
from .task import Losses

_CHEAP = 0.05
_SUM = "sum_"


def fit(run: FoldTraining, steps: Iterable[LoadedStep]) -> None:
    """Trains to the end, to early stopping or to a stop request.

    Args:
        run: What is trained; its state says where `steps` begin.
        steps: All steps that are left.

    Raises:
        DivergedError: A loss or gradient is not finite; the last checkpoint is kept.
        PreemptedError: The process was asked to end; a checkpoint was written.
        InterruptedRunError: Ctrl-C; a checkpoint was written.
    """
    run.saved_at = time.monotonic()
    for loaded, waited in _timed(steps):
        started = time.monotonic()
        _step(run, loaded)
        run.state.add("wait", waited)
        run.state.add("seconds", waited + time.monotonic() - started)
        if loaded.plan.last:
            _finish_epoch(run)
        elif time.monotonic() - run.saved_at > run.schedule.checkpoint_seconds:
            save(run)
        if run.state.finished:
            return
        _obey_stop(run)


def _timed(steps: Iterable[LoadedStep]) -> Iterator[tuple[LoadedStep, float]]:
    iterator = iter(steps)
    while True:
        asked = time.monotonic()
        loaded = next(iterator, None)
        if loaded is None:
            return
        yield loaded, time.monotonic() - asked


def _step(run: FoldTraining, loaded: LoadedStep) -> None:
    """One optimizer step over all its forward passes."""
    state, plan = run.state, loaded.plan
    torch.manual_seed(derived_seed(run.seed, "step", state.step, run.accelerator.process_index))
    rate = run.schedule.rate(state.step)
    for group in run.optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)
    if run.monitor and state.step == 0:
        run.monitor.inputs(0, _ready(run, loaded.batches[0])["image"])
    sums, bad = _gradients(run, loaded)
    if not math.isfinite(sums["total"]):
        raise _diverged(run, loaded, "loss", bad)
    if not math.isfinite(_clip(run)) and not _scaled(run):
        raise _diverged(run, loaded, "gradient", [])
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    run.averaged.update(run.plain_task.plain_network)
    state.step += 1
    state.averaged = run.averaged.updates
    state.add("cases", plan.cases)
    for name, value in sums.items():
        state.add(_SUM + name, value)
    if run.monitor:
        run.monitor.step(state.step, {n: v / plan.cases for n, v in sums.items()}, rate)


def _gradients(run: FoldTraining, loaded: LoadedStep) -> tuple[dict[str, float], list[int]]:
    """Accumulates the gradients of a step over its forward passes.

    Returns:
        Losses by name, summed over all processes, and indices of cases of this process whose
        loss is not finite.
    """
    accelerator = run.accelerator
    run.task.train()
    totals: dict[str, Tensor] = {}
    bad: list[int] = []
    for number, batch in enumerate(loaded.batches):
        ready = _ready(run, batch)
        images, labels = ready["image"], ready["label"]
        beside = {"covariates": ready["covariates"]} if "covariates" in ready else {}
        if "mask" in ready:
            beside["masks"] = ready["mask"]
        target: tuple[Tensor, ...] = (labels,)
        if run.schedule.mixup > 0:
            purpose = (run.seed, run.state.step, number, int(accelerator.process_index))
            images, partners, shares = mixed(images, labels, run.schedule.mixup, *purpose)
            target = (labels, partners, shares)
        with _synchronised(run, number == len(loaded.batches) - 1), accelerator.autocast():
            losses: Losses = run.task(images, *target, **beside)
            # DDP averages over processes; we want the sum over the cases of the whole step.
            accelerator.backward(losses["total"] * accelerator.num_processes / loaded.plan.cases)
        finite = torch.isfinite(losses.pop("cases")).cpu()
        bad += batch["index"][~finite].tolist()
        for name, value in losses.items():
            totals[name] = totals.get(name, torch.zeros_like(value)) + value.detach()
    return {name: float(accelerator.reduce(value)) for name, value in totals.items()}, bad


def _ready(run: FoldTraining, batch: Batch) -> Batch:
    """The batch as the network learns from it."""
    moved = to_device(batch, run.accelerator.device)
    return moved if run.augment is None else run.augment(moved)


def _synchronised(run: FoldTraining, final: bool) -> AbstractContextManager[None]:
    # Processes synchronise their gradients once a step, in its last backward pass.
    if final:
        return nullcontext()
    return cast("AbstractContextManager[None]", run.accelerator.no_sync(run.task))


def _clip(run: FoldTraining) -> float:
    largest = run.schedule.clip if run.schedule.clip > 0 else math.inf
    return float(run.accelerator.clip_grad_norm_(run.task.parameters(), largest))


def _scaled(run: FoldTraining) -> bool:
    # In fp16 an overflow is normal: the scaler skips the step and lowers its scale.
    return getattr(run.accelerator, "scaler", None) is not None


def _diverged(run: FoldTraining, loaded: LoadedStep, what: str, bad: list[int]) -> DivergedError:
    bad = bad or [index for batch in loaded.plan.batches for index in batch]
    names = ", ".join(run.case_ids[index] for index in bad)
    return DivergedError(
        f"the {what} is not finite in epoch {loaded.plan.epoch + 1}, step {run.state.step + 1}",
        where=f"cases {names}",
        why="the learning rate is too high, or grey values of these cases are extreme",
        remedy="lower train.lr, set train.clip, or look at these volumes; "
        "the last checkpoint is kept",
    )


def _finish_epoch(run: FoldTraining) -> None:
    """Validates, keeps the weights if they are the best, or the last asked for, logs, and saves."""
    state, schedule = run.state, run.schedule
    state.epoch += 1
    ended = state.epoch >= schedule.last_epoch
    validation = run.validate() if run.validate else None
    if validation is None or schedule.keep == "last":
        better = ended
    else:
        better = state.judge(schedule.monitor, validation.auroc, validation.loss)
    row = _row(state, validation, better, schedule.rate(state.step - 1))
    state.history.append(row)
    state.sums = {}
    state.finished = ended or state.stale >= schedule.patience
    if run.accelerator.is_main_process:
        if better:
            best = Checkpoint(dict(run.averaged.tensors), {"epoch": state.epoch})
            run.checkpoints.save_best(f"best-{state.epoch:04d}", best)
        run.write_log(state.history)
        if run.monitor:
            run.monitor.epoch(state.step, row)
        run.show(row)
    cheap = run.saving_took < _CHEAP * float(row["seconds"] or 0.0)
    late = time.monotonic() - run.saved_at > schedule.checkpoint_seconds
    if state.finished or cheap or late:
        save(run)


def _row(state: TrainState, validation: Validation | None, better: bool, rate: float) -> Row:
    sums, cases = state.sums, max(state.sums["cases"], 1.0)
    further = {
        f"train_loss_{name.removeprefix(_SUM)}": value / cases
        for name, value in sums.items()
        if name.startswith((f"{_SUM}stage_", f"{_SUM}mask"))
    }
    return {
        "epoch": state.epoch,
        "step": state.step,
        "lr": rate,
        "train_loss": sums[f"{_SUM}total"] / cases,
        "train_loss_main": sums[f"{_SUM}main"] / cases,
        **further,
        "validation_loss": validation.loss if validation else None,
        "validation_auroc": validation.auroc if validation else None,
        "validation_accuracy": validation.accuracy if validation else None,
        "best": int(better),
        "seconds": round(sums["seconds"], 3),
        "data_wait": round(sums["wait"] / max(sums["seconds"], 1e-9), 4),
    }


def asked_to_stop(accelerator: Accelerator, stop: StopRequest) -> bool:
    """Whether any process was asked to stop; all processes get the same answer at the same step."""
    if accelerator.num_processes == 1:
        return stop.received is not None
    if stop.received is not None:
        accelerator.set_trigger()
    return bool(accelerator.check_trigger())


def _obey_stop(run: FoldTraining) -> None:
    if asked_to_stop(run.accelerator, run.stop):
        save(run)
        # The launcher ends all processes as soon as one does: none may leave before it is written.
        run.accelerator.wait_for_everyone()
        raise run.stop.error()
