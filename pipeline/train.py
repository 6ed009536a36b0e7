"""Trains one network: the training part teaches, the validation part chooses, the test waits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from .build import (
    build_batch_augmentation,
    build_dataset,
    build_optimizer,
    build_order,
    build_schedule,
    build_task,
    build_views,
)
from .data.covariates import CovariateEncoder, fit_encoder
from .data.covariates_file import write_encoder
from .data.dataset import VolumeDataset, evaluation_batches, training_steps
from .evaluation.metrics import validation_auroc
from .progress import Bar
from .run import Member, Run, training_identity
from .storage import make_folder, write_table
from .training.checkpoint import CheckpointFolder
from .training.fold import FoldTraining, Validation, restore
from .training.inference import check_finite, negative_log_likelihood, predict_logits, softmax
from .training.loop import fit
from .training.monitor import TensorBoardMonitor
from .training.optim import AveragedWeights
from .training.signals import StopRequest
from .training.state import Row, TrainState
from .training.task import ClassificationTask


def train_member(
    run: Run,
    member: Member,
    bars: tuple[Bar, ...],
    stop: StopRequest,
    epochs: int,
    *,
    watch: Callable[[Row], None] | None = None,
) -> None:
    """Trains a network to its end, from its newest checkpoint where there is one.

    Args:
        run: The run.
        member: Which network.
        bars: Each is advanced by the epochs done; earlier ones and saved ones are skipped.
        stop: Whether somebody asked to stop.
        epochs: Most epochs of it.
        watch: Told once of each epoch, in order, by the first process; those before a resume come
            first. What it raises ends the training, and no checkpoint of that epoch is written.

    Raises:
        DivergedError: A loss or gradient is not finite.
        PreemptedError: The process was asked to end.
        InterruptedRunError: Ctrl-C.
        StorageError: A checkpoint cannot be written or trusted.
    """
    training, dataset = _assemble(run, member, bars, stop, epochs)
    restore(training, run.display.line)
    if watch is not None and training.accelerator.is_main_process:
        for row in training.state.history:
            watch(row)
        training.show = partial(_show, bars, watch)
    go_on(run, member, training, dataset, bars, epochs)


def go_on(
    run: Run,
    member: Member,
    training: FoldTraining,
    dataset: VolumeDataset,
    bars: tuple[Bar, ...],
    epochs: int,
) -> None:
    """Trains from where `training` stands to its end.

    Args:
        run: The run.
        member: Which network.
        training: Restored where there was a checkpoint.
        dataset: The cases that teach it.
        bars: Each is advanced by the epochs done; earlier ones and saved ones are skipped.
        epochs: Most epochs of it.

    Raises:
        DivergedError: A loss or gradient is not finite.
        PreemptedError: The process was asked to end.
        InterruptedRunError: Ctrl-C.
        StorageError: A checkpoint cannot be written.
    """
    state, config = training.state, run.config.train
    _skip(bars, state.epoch)
    workers, rank, processes = run.loads
    order = build_order(config, dataset.labels, training.seed)
    if training.accelerator.is_main_process:
        training.monitor = TensorBoardMonitor(
            run.folder.member(member) / "tensorboard", state.step + 1
        )
    try:
        if not state.finished:
            steps = training_steps(
                dataset,
                order,
                start=state.step,
                epochs=epochs,
                workers=workers,
                rank=rank,
                processes=processes,
            )
            fit(training, steps)
    finally:
        if training.monitor:
            training.monitor.close()
        run.accelerator.free_memory()
    _skip(bars, epochs - state.epoch)


def _skip(bars: tuple[Bar, ...], epochs: int) -> None:
    for bar in bars:
        bar.skip(epochs)


def _show(bars: tuple[Bar, ...], watch: Callable[[Row], None] | None, row: Row) -> None:
    auroc = row["validation_auroc"]
    judged = "" if auroc is None else f", validation AUROC {auroc:.3f}"
    for bar in bars:
        bar.advance(1, f"loss {row['train_loss']:.3f}{judged}")
    if watch is not None:
        watch(row)


def _assemble(
    run: Run, member: Member, bars: tuple[Bar, ...], stop: StopRequest, epochs: int
) -> tuple[FoldTraining, VolumeDataset]:
    config, classes = run.config, run.folds.classes
    seed = member.seed(config.seed)
    cases = run.select(run.taught(member))
    augment_seed = None if config.model.slices.frozen else seed
    encoder = _encoder(run, member)
    dataset = build_dataset(
        config,
        cases,
        run.contents,
        classes,
        run.lessons,
        augment_seed=augment_seed,
        encoder=encoder,
        masks=config.model.masks.weight > 0,
    )
    width = 0 if encoder is None else encoder.width
    task = build_task(
        config,
        dataset.labels,
        len(classes),
        seed,
        covariates=width,
        fold=member.fold,
        noted=run.start,
    )
    task = task.to(run.accelerator.device)
    if config.system.compile:
        task.network.compile()
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
        schedule=build_schedule(config, order.steps_per_epoch, epochs),
        state=TrainState(),
        checkpoints=CheckpointFolder(run.folder.checkpoints(member), training_identity(run)),
        seed=seed,
        case_ids=[case.case_id for case in dataset.cases],
        validate=None
        if member.fold is None
        else _validation(run, member.fold, task, averaged, encoder),
        write_log=lambda rows: write_table(log, list(rows[0]), rows),
        show=partial(_show, bars, None),
        monitor=None,
        stop=stop,
        augment=build_batch_augmentation(config),
    )
    return training, dataset


def _encoder(run: Run, member: Member) -> CovariateEncoder | None:
    """How this network reads clinical variables, by the cases that teach it; noted on disk."""
    if not run.config.data.covariates:
        return None
    # Whoever trains must have noted them: a network without them would be another one.
    assert run.covariates is not None
    encoder = fit_encoder(run.select(run.taught(member)), run.covariates.kinds)
    if run.accelerator.is_main_process:
        path = run.folder.encoder(member.fold)
        make_folder(path.parent)
        write_encoder(path, encoder)
    return encoder


def _validation(
    run: Run,
    number: int,
    task: ClassificationTask,
    averaged: AveragedWeights,
    encoder: CovariateEncoder | None,
) -> Callable[[], Validation]:
    """Judges the averaged weights; the network's own are put back afterwards."""
    cases = run.select(run.folds.folds[number].validation)
    classes = run.folds.classes
    dataset = build_dataset(run.config, cases, run.contents, classes, run.lessons, encoder=encoder)
    labels = np.array(dataset.labels, dtype=np.int64)
    batches = evaluation_batches(dataset, run.config.train.batch_size, *run.loads, stay=True)
    views = build_views(run.config)

    def validate() -> Validation:
        """Logits by the averaged weights, and the figures that follow from them."""
        network = task.plain_network
        with averaged.in_place_of(network):
            logits = predict_logits(network, batches, run.accelerator, len(cases), views)
        check_finite(logits, [case.case_id for case in cases])
        probabilities = softmax(logits)
        accuracy = float((logits.argmax(axis=1) == labels).mean())
        loss = negative_log_likelihood(logits, labels)
        return Validation(loss, validation_auroc(labels, probabilities), accuracy)

    return validate
