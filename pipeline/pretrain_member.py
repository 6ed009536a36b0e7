"""Pretrains one network, and keeps its encoder with a record of what it has seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial

import safetensors.torch
import torch
from torch import Tensor

from .build import (
    build_batch_augmentation,
    build_network,
    build_optimizer,
    build_order,
    build_pretraining,
    build_schedule,
    build_unlabelled,
)
from .data.dataset import VolumeDataset, evaluation_batches
from .data.splits import Fold
from .data.volume import voxels_of
from .pretrained import KIND, PretrainedNetwork, SeenCase
from .progress import Bar
from .run import Member, Run, training_identity
from .storage import make_folder, read_table, sha256, write_bytes, write_table
from .train import go_on
from .training.checkpoint import CheckpointFolder
from .training.fold import FoldTraining, Validation, restore
from .training.optim import AveragedWeights
from .training.parts import HEAD, parts_of
from .training.reconstruction import ReconstructionTask, mean_loss
from .training.signals import StopRequest
from .training.state import Row, TrainState

#: Of the network within the task's reconstructor.
_PREFIX = "network."


def pretrain_member(
    run: Run, member: Member, parts: Fold, bars: tuple[Bar, ...], stop: StopRequest
) -> PretrainedNetwork:
    """Pretrains a network to its end, from its newest checkpoint where there is one.

    Args:
        run: The pretraining.
        member: Which network.
        parts: Its training part teaches, its validation part judges.
        bars: Each is advanced by the epochs done.
        stop: Whether somebody asked to stop.

    Raises:
        DivergedError: A loss or gradient is not finite.
        PreemptedError: The process was asked to end.
        InterruptedRunError: Ctrl-C.
        StorageError: A checkpoint cannot be written or trusted.
    """
    training, dataset = _assemble(run, member, parts, bars, stop)
    restore(training, run.display.line)
    go_on(run, member, training, dataset, bars, run.config.train.epochs)
    # The best weights are written by the first process alone.
    run.accelerator.wait_for_everyone()
    return _kept(run, member, parts)


def pretraining_identity(run: Run) -> str:
    """Hash of all that decides a pretraining; none of a training has the same."""
    settings = json.loads(run.config.pretrain.model_dump_json())
    return sha256(json.dumps(["pretraining", training_identity(run), settings]).encode())


def _assemble(
    run: Run, member: Member, parts: Fold, bars: tuple[Bar, ...], stop: StopRequest
) -> tuple[FoldTraining, VolumeDataset]:
    config, seed = run.config, member.seed(run.config.seed)
    dataset = build_unlabelled(
        config, run.select(parts.train), run.contents, run.store, seed, augmented=True
    )
    task = build_pretraining(config, seed).to(run.accelerator.device)
    averaged = AveragedWeights(task.plain_network, config.train.ema)
    order = build_order(config.train, dataset.labels, seed)
    log = run.folder.log(member)
    make_folder(log.parent)
    prepared, optimizer = run.accelerator.prepare(task, build_optimizer(config.train, task))
    training = FoldTraining(
        accelerator=run.accelerator,
        task=prepared,
        plain_task=task,
        optimizer=optimizer,
        averaged=averaged,
        schedule=build_schedule(config, order.steps_per_epoch, config.train.epochs),
        state=TrainState(),
        checkpoints=CheckpointFolder(run.folder.checkpoints(member), pretraining_identity(run)),
        seed=seed,
        case_ids=[case.case_id for case in dataset.cases],
        validate=_validation(run, parts.validation, task, averaged, seed),
        write_log=lambda rows: write_table(log, list(rows[0]), rows),
        show=partial(_show, bars),
        monitor=None,
        stop=stop,
        augment=build_batch_augmentation(run.config),
    )
    return training, dataset


def _validation(
    run: Run,
    case_ids: tuple[str, ...],
    task: ReconstructionTask,
    averaged: AveragedWeights,
    seed: int,
) -> Callable[[], Validation]:
    """Judges the averaged weights on the same hidden blocks every time."""
    cases = run.select(case_ids)
    dataset = build_unlabelled(run.config, cases, run.contents, run.store, seed, augmented=False)
    batches = evaluation_batches(dataset, run.config.train.batch_size, *run.loads, stay=True)

    def validate() -> Validation:
        """The mean reconstruction loss; there are no labels for other figures."""
        with averaged.in_place_of(task.plain_network):
            loss = mean_loss(task, batches, run.accelerator, len(cases))
        return Validation(loss, None, None)

    return validate


def _show(bars: Sequence[Bar], row: Row) -> None:
    for bar in bars:
        bar.advance(1, f"loss {row['train_loss']:.3f}, validation {row['validation_loss']:.3f}")


def _kept(run: Run, member: Member, parts: Fold) -> PretrainedNetwork:
    """Writes the encoder of the best epoch, and says what it is."""
    best = CheckpointFolder(run.folder.checkpoints(member), pretraining_identity(run)).best()
    epoch = int(str(best.state["epoch"]))
    (row,) = (row for row in read_table(run.folder.log(member)) if int(row["epoch"]) == epoch)
    # A copy of the file still says what it is.
    content = safetensors.torch.save(_encoder_tensors(run, best.tensors), {KIND: "encoder"})
    path = run.folder.pretrained_encoder(member)
    if run.accelerator.is_main_process:
        write_bytes(path, content)
    return PretrainedNetwork(
        fold=member.fold,
        file=path.relative_to(run.folder.path).as_posix(),
        sha256=sha256(content),
        epoch=epoch,
        loss=float(row["validation_loss"]),
        train=_seen(run, parts.train),
        validation=_seen(run, parts.validation),
    )


def _encoder_tensors(run: Run, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stem and stages by the names that they have in the network itself."""
    with torch.device("meta"):
        parts = parts_of(build_network(run.config.model, 0, start=False))
    own = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in tensors.items()
        if name.startswith(_PREFIX)
    }
    return {name: own[name].contiguous() for name in sorted(own) if parts.of(name) != HEAD}


def _seen(run: Run, case_ids: tuple[str, ...]) -> dict[str, SeenCase]:
    assumed = all(case.patient_id == name for name, case in run.cases.items())
    return {
        name: SeenCase(
            voxels=voxels_of(run.contents[name]),
            patient_id=None if assumed else run.cases[name].patient_id,
        )
        for name in case_ids
    }
