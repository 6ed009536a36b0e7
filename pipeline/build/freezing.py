"""What of a network keeps the weights that it starts with, as the configuration says."""

from __future__ import annotations

from torch import nn

from ..config import Config
from ..errors import ConfigError
from ..training.parts import Parts, batch_norms, keep_still, parts_of
from .weights import StartedWeights


def check_freezing(config: Config, network: nn.Module) -> None:
    """Refuses to freeze what is not there, what would stay random, or what is frozen otherwise.

    Args:
        config: The configuration.
        network: The network, also one on the meta device.

    Raises:
        ConfigError: Names the key, and the parts that there are.
    """
    train = config.train
    if not train.freeze and not train.freeze_norm and train.layer_decay == 1.0:
        return
    key = "train.freeze" if train.freeze else "train.freeze_norm"
    if config.model.slices.frozen:
        raise ConfigError(
            "the whole 2D network is frozen already",
            where="train.freeze, train.freeze_norm, train.layer_decay",
            why="with model.slices.frozen=true the pool and the classifier alone are trained",
            remedy="leave these keys out, or set model.slices.frozen=false",
        )
    if config.model.starts_random and (train.freeze or train.freeze_norm):
        raise ConfigError(
            "frozen parts would stay random for ever",
            where=key,
            why="model.init is random, and model.weights names no file",
            remedy="start from weights (model.init=timm, a pretraining's folder, or "
            f"model.weights=FILE), or set {key}={'[]' if train.freeze else 'false'}",
        )
    parts = parts_of(network)
    _check_names(config, parts)
    if train.freeze_norm and not batch_norms(parts):
        raise ConfigError(
            f"{config.model.name} has no batch norm to keep",
            where="train.freeze_norm",
            why="its stem and stages have norms without running statistics",
            remedy="set train.freeze_norm=false",
        )


def _check_names(config: Config, parts: Parts) -> None:
    named, name = config.train.freeze, config.model.name
    unknown = sorted(set(named) - set(parts.names))
    if unknown:
        raise ConfigError(
            f"{name} has no {', '.join(unknown)} to freeze",
            where="train.freeze",
            why=f"its parts are {', '.join(parts.names)}",
            remedy="name some of these",
        )
    stages = config.model.slices.freeze_stages
    kept = parts.names[: stages + 1] if stages else ()
    if named and kept and set(named) != set(kept):
        raise ConfigError(
            f"train.freeze={list(named)} and model.slices.freeze_stages={stages} contradict "
            "each other",
            where="train.freeze",
            why=f"the latter keeps {', '.join(kept)}",
            remedy="leave out one of them",
        )


def freeze(config: Config, task: nn.Module, started: StartedWeights) -> None:
    """Keeps the parts and norms of a task's network that the configuration names.

    Args:
        config: The configuration; `check_freezing` accepts it.
        task: What the training loop calls.
        started: What became of the weights that the network starts from.

    Raises:
        ConfigError: The weights had nothing for a part that is to be kept.
    """
    train = config.train
    if not train.freeze and not train.freeze_norm:
        return
    parts = parts_of(task)
    random = sorted({parts.of(name) for name in started.fresh} & set(train.freeze))
    if random:
        raise ConfigError(
            f"{', '.join(random)} would stay random for ever",
            where="train.freeze",
            why="the weights have nothing for it",
            remedy="take it out of train.freeze, or leave out what makes it differ, such as "
            "small_stem in model.options",
        )
    keep_still(task, train.freeze, train.freeze_norm)
