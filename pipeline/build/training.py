"""What training consists of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import AdamW

from ..config import Config, TrainConfig
from ..data.augment import quarter_turn_planes
from ..data.order import TrainingOrder
from ..seeds import derived_seed
from ..training.fold import Schedule
from ..training.optim import parameter_groups
from ..training.task import ClassificationTask, balanced_class_weights
from ..training.views import View, symmetries
from .network import build_network, build_supervised, is_supervised


def build_task(
    config: Config, labels: Sequence[int], num_classes: int, seed: int
) -> ClassificationTask:
    """Network and loss of a fold; `labels` are those of its training cases."""
    torch.manual_seed(derived_seed(seed, "weights"))
    network = build_network(config.model, num_classes, seed=config.seed)
    balanced = config.train.class_weights == "balanced"
    weights = balanced_class_weights(labels, num_classes) if balanced else torch.ones(num_classes)
    return ClassificationTask(
        build_supervised(config.model, network, num_classes),
        weights,
        smoothing=config.train.smoothing,
        focal_gamma=config.train.focal_gamma if config.train.loss == "focal" else None,
        supervised=is_supervised(config.model),
        head_weight=config.model.supervision.weight,
    )


def build_optimizer(config: TrainConfig, task: nn.Module) -> AdamW:
    """AdamW with weight decay on matrices and kernels only."""
    return AdamW(parameter_groups(task, config.weight_decay), lr=config.lr)


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
