"""Where the weights of a network start: random, in a file, or as published 2D weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

import models2d
from models2d.published import recognise
from models2d.slices import SliceClassifier
from models3d.contract import VolumeModel
from models3d.inflate import inflate

from ..config import ModelConfig
from ..errors import ConfigError
from ..training.checkpoint import read_weights

#: The 2D network whose published weights fit, once inflated, by the name of the 3D one.
FLAT_COUNTERPART = {
    f"poolformer3d_{size}": f"poolformer_{size}" for size in ("s12", "s24", "s36", "m36", "m48")
} | {"monai_resnet18": "resnet18", "monai_resnet50": "resnet50"}


def start_weights(network: VolumeModel | SliceClassifier, config: ModelConfig) -> list[str]:
    """Gives a network the weights that the configuration names.

    Returns:
        Lines that say what was taken, converted, left out and missing; none for random weights.

    Raises:
        ConfigError: They do not fit, are not what they seem to be, or cannot be had.
        StorageError: The file cannot be read.
    """
    if config.init == "random" and config.weights is None:
        return []
    with _told(config):
        if isinstance(network, SliceClassifier):
            return _start_slices(network, config)
        if config.init == "random":
            return _own_weights(network, Path(str(config.weights)))
        return _inflated(network, config)


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


def _start_slices(network: SliceClassifier, config: ModelConfig) -> list[str]:
    if config.weights is None:
        return models2d.load_published(network.network).lines()
    path = Path(config.weights)
    if path.suffix == ".safetensors":
        tensors = read_weights(path)
        if any(name.startswith("network.network.") for name in tensors):
            return _taken(network, tensors, path)
    return models2d.load_file(network.network, path).lines()


def _own_weights(network: VolumeModel, path: Path) -> list[str]:
    return _taken(network, read_weights(path), path)


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
        tensors = recognise(models2d.read_tensors(Path(config.weights))).tensors
    elif flat is not None:
        tensors = models2d.published_tensors(flat)
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
    known = not config.any_intensity
    table = inflate(
        network,
        tensors,
        config.inflate.mode,
        "xyz".index(config.inflate.axis),
        mean=like.mean if known else None,
        std=like.std if known else None,
    )
    return table.lines()
