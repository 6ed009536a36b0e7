"""The one place where configuration becomes objects."""

from .freezing import check_freezing
from .machine import build_accelerator, check_augmentation, check_compile
from .network import (
    IN_CHANNELS,
    Network,
    body_of,
    build_network,
    build_supervised,
    check_network,
    describe_models,
    describe_start,
    is_supervised,
)
from .training import (
    build_optimizer,
    build_order,
    build_pretraining,
    build_schedule,
    build_task,
    build_views,
    check_pretraining_network,
)
from .volumes import (
    build_batch_augmentation,
    build_dataset,
    build_manifest,
    build_store,
    build_unlabelled,
    mask_store,
)
from .weights import start_sha256, start_weights

__all__ = [
    "IN_CHANNELS",
    "Network",
    "body_of",
    "build_accelerator",
    "build_batch_augmentation",
    "build_dataset",
    "build_manifest",
    "build_network",
    "build_optimizer",
    "build_order",
    "build_pretraining",
    "build_schedule",
    "build_store",
    "build_supervised",
    "build_task",
    "build_unlabelled",
    "build_views",
    "check_augmentation",
    "check_compile",
    "check_freezing",
    "check_network",
    "check_pretraining_network",
    "describe_models",
    "describe_start",
    "is_supervised",
    "mask_store",
    "start_sha256",
    "start_weights",
]
