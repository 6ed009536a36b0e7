"""What training consists of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torch.optim import AdamW

from models3d.contract import VolumeModel
from models3d.masking import hide_blocks

from ..config import Config, TrainConfig
from ..data.augment import quarter_turn_planes
from ..data.order import TrainingOrder
from ..errors import ConfigError
from ..seeds import derived_seed
from ..training.fold import Schedule
from ..training.optim import parameter_groups
from ..training.reconstruction import ReconstructionTask
from ..training.task import ClassificationTask, balanced_class_weights
from ..training.views import View, symmetries
from .freezing import check_freezing, freeze
from .masks import build_mask_part
from .network import (
    Body,
    body_of,
    build_network,
    build_supervised,
    is_slice_network,
    is_supervised,
)
from .weights import StartedWeights, start_weights


def build_task(
    config: Config,
    labels: Sequence[int],
    num_classes: int,
    seed: int,
    *,
    covariates: int = 0,
    fold: int | None = None,
    start: bool = True,
    noted: str | None = None,
) -> ClassificationTask:
    """Network and loss of a fold.

    Args:
        config: The configuration.
        labels: Class indices of its training cases.
        num_classes: Number of classes.
        seed: Of the run and fold.
        covariates: Numbers that the network reads beside the volume.
        fold: Whose pretrained weights it starts from, where the configuration names some; None
            takes those of all cases.
        start: Whether to load the weights that it starts from; not where only its shape counts.
        noted: `Run.start`, so that a pretraining is the one that the run began with.

    Raises:
        ConfigError: The network cannot be built, or its weights or what is frozen do not fit.
        StorageError: The weights cannot be read.
    """
    torch.manual_seed(derived_seed(seed, "weights"))
    network = build_network(
        config.model, num_classes, start=False, seed=config.seed, covariates=covariates
    )
    check_freezing(config, network)
    body = cast("Body", body_of(network))
    started = StartedWeights()
    if start:
        started = start_weights(body, config.model, fold, noted=noted)
    balanced = config.train.class_weights == "balanced"
    weights = balanced_class_weights(labels, num_classes) if balanced else torch.ones(num_classes)
    supervised = build_supervised(config.model, network, num_classes)
    task = ClassificationTask(
        supervised,
        weights,
        smoothing=config.train.smoothing,
        focal_gamma=config.train.focal_gamma if config.train.loss == "focal" else None,
        supervised=is_supervised(config.model),
        head_weight=config.model.supervision.weight,
        # Last, so that the network starts from the same weights with masks and without.
        masks=build_mask_part(config.model, network),
    )
    freeze(config, task, started)
    return task


def build_pretraining(config: Config, seed: int) -> ReconstructionTask:
    """The network that reconstructs hidden blocks, and its loss.

    Raises:
        ConfigError: The network cannot be built, or cannot be pretrained.
        StorageError: The weights that it starts from cannot be read.
    """
    check_pretraining_network(config)
    torch.manual_seed(derived_seed(seed, "weights"))
    network = cast("VolumeModel", build_network(config.model, 0, seed=config.seed))
    pretrain = config.pretrain
    return ReconstructionTask(network, pretrain.hidden, pretrain.block)


def check_pretraining_network(config: Config) -> None:
    """Refuses what cannot be pretrained, at no cost.

    Raises:
        ConfigError: A 2D network, another pretraining to start from, or blocks that do not fit.
    """
    if is_slice_network(config.model.name):
        raise ConfigError(
            f"{config.model.name} cannot be pretrained on volumes",
            where="model.name",
            why="it is a 2D network, which sees no blocks of a volume",
            remedy="choose a 3D network; 2D ones have published weights: model.init=timm",
        )
    if config.model.pretrained_run is not None:
        raise ConfigError(
            "a pretraining does not start from another one",
            where="model.init",
            why="what the other one has seen would be forgotten",
            remedy="set model.init=random",
        )
    hidden, block = config.pretrain.hidden, config.pretrain.block
    try:
        hide_blocks(
            torch.zeros(1, 1, *config.preprocess.size), hidden, block, generator=torch.Generator()
        )
    except ValueError as error:
        raise ConfigError(
            "these volumes cannot be hidden so",
            where="pretrain.hidden, pretrain.block",
            why=str(error),
        ) from None


def build_optimizer(config: TrainConfig, task: nn.Module) -> AdamW:
    """AdamW with weight decay on matrices and kernels only, slower in earlier parts if asked."""
    groups = parameter_groups(task, config.weight_decay, config.layer_decay)
    return AdamW(groups, lr=config.lr)


def build_order(config: TrainConfig, labels: Sequence[int], seed: int) -> TrainingOrder:
    """Which training cases come when."""
    return TrainingOrder(labels, config.batch_size, config.accumulate, config.sampler, seed)


def build_schedule(config: Config, steps_per_epoch: int, last_epoch: int) -> Schedule:
    """How long and how fast to train; `last_epoch` may end it before `train.epochs`."""
    train = config.train
    return Schedule(
        epochs=train.epochs,
        last_epoch=last_epoch,
        steps_per_epoch=steps_per_epoch,
        peak=train.lr,
        warmup=train.warmup,
        clip=train.clip,
        patience=train.patience,
        monitor=train.monitor,
        keep=train.keep,
        checkpoint_seconds=train.checkpoint_seconds,
        mixup=config.augment.mixup,
    )


def build_views(config: Config) -> list[View]:
    """Sides from which volumes are seen at evaluation; none where they are taken as they are."""
    match config.augment.test_time:
        case "none":
            return []
        case "flips":
            return symmetries([])
        case "symmetries":
            # Unknown spacings may differ, and with them what a turn would exchange.
            known = config.preprocess.spacing is not None
            return symmetries(quarter_turn_planes(config.preprocess) if known else [])
