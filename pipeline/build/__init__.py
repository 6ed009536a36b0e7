"""The one place where configuration becomes objects."""

from .machine import build_accelerator
from .network import (
    IN_CHANNELS,
    Network,
    build_network,
    build_supervised,
    check_network,
    describe_models,
    describe_start,
    is_supervised,
)
from .training import build_optimizer, build_order, build_schedule, build_task, build_views
from .volumes import build_dataset, build_manifest, build_store
from .weights import start_sha256, start_weights

__all__ = [
    "IN_CHANNELS",
    "Network",
    "build_accelerator",
    "build_dataset",
    "build_manifest",
    "build_network",
    "build_optimizer",
    "build_order",
    "build_schedule",
    "build_store",
    "build_supervised",
    "build_task",
    "build_views",
    "check_network",
    "describe_models",
    "describe_start",
    "is_supervised",
    "start_sha256",
    "start_weights",
]
