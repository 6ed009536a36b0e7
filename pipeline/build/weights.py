"""Where the weights of a network start: random, in a file, or as published 2D weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

import models2d
from models2d.slices import SliceClassifier
from models3d.contract import VolumeModel
from models3d.inflate import inflate

from ..config import ModelConfig
from ..errors import ConfigError
from ..storage import file_sha256, sha256
from ..training.checkpoint import read_weights

#: The 2D network whose published weights fit, once inflated, by the name of the 3D one.
FLAT_COUNTERPART = {
    f"poolformer3d_{size}": f"poolformer_{size}" for size in ("s12", "s24", "s36", "m36", "m48")
} | {"monai_resnet18": "resnet18", "monai_resnet50": "resnet50"}


@dataclass(frozen=True, slots=True)
class StartedWeights:
    """What became of the weights that a configuration names.

    Attributes:
        lines: What was taken, converted, left out and missing, in words; none for random weights.
        random: Parts beside the classifier that have random weights all the same.
    """

    lines: tuple[str, ...] = ()
    random: tuple[str, ...] = ()


def start_weights(network: VolumeModel | SliceClassifier, config: ModelConfig) -> StartedWeights:
    """Gives a network the weights that the configuration names.

    Raises:
        ConfigError: They do not fit, are not what they seem to be, or cannot be had; or a part
            without weights would stay random for ever.
        StorageError: The file cannot be read.
    """
    if config.init == "random" and config.weights is None:
        return StartedWeights(random=("network",))
    with _told(config):
        if isinstance(network, SliceClassifier):
            return _start_slices(network, config)
        if config.init == "random":
            return _own_weights(network, Path(str(config.weights)))
        return StartedWeights(tuple(_inflated(network, config)))


def start_sha256(config: ModelConfig) -> str | None:
    """What the weights are that training starts from; None for random ones.

    Raises:
        ConfigError: Published ones cannot be had.
        StorageError: The file cannot be read.
    """
    if config.weights is not None:
        return file_sha256(Path(config.weights))
    if config.init != "timm":
        return None
    with _told(config):
        tensors = models2d.published_tensors(FLAT_COUNTERPART.get(config.name, config.name))
    return sha256(tensors_to_bytes({name: t.contiguous() for name, t in tensors.items()}))


def own_names(path: Path) -> frozenset[str]:
    """Names of the tensors of a 2D run's own file of weights; none for any other file."""
    if path.suffix != ".safetensors" or not path.is_file():
        return frozenset()
    try:
        with safe_open(path, framework="pt") as file:
            names = frozenset(file.keys())
    except SafetensorError:  # said when it is loaded
        return frozenset()
    return names if any(name.startswith("network.network.") for name in names) else frozenset()


@contextmanager
def _told(config: ModelConfig) -> Iterator[None]:
    """Says what the model packages refuse in the words of the configuration."""
    where = "model.init" if config.weights is None else "model.weights"
    name = "" if config.weights is None else f": {Path(config.weights).name}"
    try:
        yield
    except models2d.WeightsError as error:
        raise ConfigError(
            error.what, where=where + name, why=error.why, remedy=error.remedy
        ) from None
    except ValueError as error:
        raise ConfigError(
            f"the weights do not fit {config.name}",
            where=where + name,
            why=str(error),
            remedy="set model.name and model.options as the weights were trained",
        ) from None


def _start_slices(network: SliceClassifier, config: ModelConfig) -> StartedWeights:
    path = None if config.weights is None else Path(config.weights)
    if path is not None and own_names(path):
        return _own_weights(network, path)
    flat = network.network
    table = models2d.load_published(flat) if path is None else models2d.load_file(flat, path)
    if table.fresh_body and (config.slices.frozen or config.slices.freeze_stages):
        raise ConfigError(
            "frozen parts of the network would stay random",
            where="model.options",
            why=f"the weights have nothing for {', '.join(table.fresh_body)}",
            remedy="leave out small_stem, or train the network: model.slices.frozen=false "
            "model.slices.freeze_stages=0",
        )
    pyramid = ("pyramid",) if network.levels is not None else ()
    return StartedWeights(tuple(table.lines()), (*table.fresh_body, *pyramid))


def _own_weights(network: VolumeModel | SliceClassifier, path: Path) -> StartedWeights:
    return StartedWeights(tuple(_taken(network, read_weights(path), path)))


def _taken(
    network: VolumeModel | SliceClassifier, tensors: Mapping[str, Tensor], path: Path
) -> list[str]:
    """Takes weights of the same network; those of its classifier may lack or differ."""
    own = network.state_dict()
    classifier = {name for name in own if name.startswith(network.classifier_prefix)}
    fitting = {n: t for n, t in tensors.items() if n in own and t.shape == own[n].shape}
    misfits = sorted((set(own) - classifier - set(fitting)) | (set(tensors) - set(own)))
    if misfits:
        raise ConfigError(
            f"the weights do not fit {type(network).__name__}",
            where=f"model.weights: {path.name}",
            why=f"missing, unknown or of another shape: {', '.join(misfits[:8])}"
            + (f" and {len(misfits) - 8} more" if len(misfits) > 8 else ""),
            remedy="set model.name and model.options as the weights were trained",
        )
    network.load_state_dict(fitting, strict=False)
    left = "" if len(fitting) == len(own) else "; the classifier starts anew"
    return [f"weights: {len(fitting)} of {len(own)} tensors taken from {path.name}{left}"]


def _inflated(network: VolumeModel, config: ModelConfig) -> list[str]:
    flat = FLAT_COUNTERPART.get(config.name)
    if config.weights is not None:
        weights = models2d.read_weights(Path(config.weights))
        tensors, own = weights.tensors, weights.own
    elif flat is not None:
        tensors, own = models2d.published_tensors(flat), False
    else:
        raise ConfigError(
            f"there are no published 2D weights for {config.name}",
            where="model.init",
            why=f"timm has them for the shapes of {', '.join(FLAT_COUNTERPART)}",
            remedy="choose one of these, or start from a file of 2D weights: "
            "model.init=inflate model.weights=PATH",
        )
    # Published weights without a known name were most likely trained on ImageNet, too.
    with torch.device("meta"):
        like = models2d.create_model(flat or "resnet18")
    known = not (config.any_intensity or own)
    table = inflate(
        network,
        tensors,
        config.inflate.mode,
        "xyz".index(config.inflate.axis),
        mean=like.mean if known else None,
        std=like.std if known else None,
    )
    return table.lines()
