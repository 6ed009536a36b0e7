"""Where weights start: random, in a file, in a pretraining, or as published 2D weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

import models2d
from models2d.slices import SliceClassifier
from models3d.contract import VolumeModel
from models3d.inflate import inflate

from ..config import ModelConfig
from ..errors import ConfigError, StorageError
from ..pretrained import (
    PretrainedNetwork,
    Pretraining,
    check_encoder,
    read_pretraining,
    refuse_encoder,
)
from ..storage import file_sha256, sha256
from ..training.parts import HEAD, parts_of
from .own_weights import take_own_weights

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
        fresh: Those tensors of the encoder that the weights had nothing for, by name.
    """

    lines: tuple[str, ...] = ()
    random: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()


def start_weights(
    network: VolumeModel | SliceClassifier,
    config: ModelConfig,
    fold: int | None = None,
    *,
    any_fold: bool = False,
    noted: str | None = None,
) -> StartedWeights:
    """Gives a network the weights that the configuration names.

    Args:
        network: Changed in place.
        config: Names the weights.
        fold: Of a pretraining, take the network that did not see this fold's test part; None
            takes that of all cases.
        any_fold: Of a pretraining, take whichever is there: only to see whether it fits.
        noted: What `start_sha256` said as the run began; a pretraining must still be that one.

    Raises:
        ConfigError: They do not fit, are not what they seem to be, or cannot be had; or a part
            without weights would stay random for ever; or a file is the encoder of a pretraining.
        StorageError: The file cannot be read.
    """
    if config.starts_random:
        return StartedWeights(random=("network",))
    with _told(config):
        if config.pretrained_run is not None:
            folder = Path(config.pretrained_run)
            _check_noted(folder, noted)
            return _pretrained(network, config, folder, fold, any_fold)
        if config.weights is not None:
            refuse_encoder(Path(config.weights))
        if isinstance(network, SliceClassifier):
            return _start_slices(network, config)
        if config.init == "random":
            return StartedWeights(take_own_weights(network, Path(str(config.weights))))
        return StartedWeights(tuple(_inflated(network, config)))


def start_sha256(config: ModelConfig) -> str | None:
    """What the weights are that training starts from; None for random ones.

    Raises:
        ConfigError: Published ones cannot be had.
        StorageError: The file cannot be read.
    """
    if config.weights is not None:
        return file_sha256(Path(config.weights))
    if config.pretrained_run is not None:
        return read_pretraining(Path(config.pretrained_run)).start
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
        return StartedWeights(take_own_weights(network, path))
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
    fresh = tuple(f"network.{name}" for name in table.fresh_body)
    return StartedWeights(tuple(table.lines()), (*table.fresh_body, *pyramid), fresh)


def _check_noted(folder: Path, noted: str | None) -> None:
    if noted is not None and read_pretraining(folder).start != noted:
        raise ConfigError(
            "the pretraining is not the one any more that this run began with",
            where=f"model.init: {folder.name}",
            why="its networks have changed, and folds that start differently cannot be pooled",
            remedy="restore it, or start a new run with another --out",
        )


def _pretrained(
    network: VolumeModel | SliceClassifier,
    config: ModelConfig,
    folder: Path,
    fold: int | None,
    any_fold: bool,
) -> StartedWeights:
    record = read_pretraining(folder)
    check_encoder(record, folder, config)
    item = record.networks[0] if any_fold and record.networks else record.network(fold)
    if item is None:
        raise _no_network(record, folder, fold)
    parts = parts_of(network)
    own = {n: t for n, t in parts.encoder.state_dict().items() if parts.of(n) != HEAD}
    tensors = _checked_tensors(folder, item)
    misfits = {n for n, t in tensors.items() if n not in own or own[n].shape != t.shape}
    misfits |= own.keys() - tensors.keys()
    if misfits:
        raise ValueError(f"missing, unknown or of another shape: {', '.join(sorted(misfits)[:8])}")
    parts.encoder.load_state_dict(tensors, strict=False)
    many = any_fold and item.fold is not None and len(record.networks) > 1
    which = "all cases" if item.fold is None else f"fold {item.fold}"
    which = "each fold starts from its own" if many else f"{which}, epoch {item.epoch}"
    line = (
        f"pretrained weights: {len(tensors)} tensors of stem and {len(parts.names) - 1} stages "
        f"from {folder.name} ({which}); the head starts anew"
    )
    return StartedWeights((line,))


def _no_network(record: Pretraining, folder: Path, fold: int | None) -> ConfigError:
    names = ["all cases" if n.fold is None else f"fold {n.fold}" for n in record.networks]
    wanted = "all cases" if fold is None or record.scope == "all" else f"fold {fold}"
    both = fold is None and record.scope == "fold"
    return ConfigError(
        f"the pretraining has no network of {wanted}",
        where=f"model.init: {folder.name}",
        why=f"it has those of {', '.join(names)}" if names else "none of it is finished yet",
        remedy="set cv.refit=true, or pretrain.scope=all, in another pretraining"
        if both
        else "finish it: the same `volclass pretrain` command with --resume",
    )


def _checked_tensors(folder: Path, item: PretrainedNetwork) -> dict[str, Tensor]:
    path = folder / item.file
    try:
        content = path.read_bytes()
    except OSError as error:
        content, why = None, str(error.strerror)
    else:
        why = "it does not have the SHA-256 that it was written with"
    if content is None or sha256(content) != item.sha256:
        raise StorageError(
            "pretrained weights are missing or damaged",
            where=str(path),
            why=why,
            remedy="restore the file, or pretrain again into another folder",
        )
    return safetensors.torch.load(content)


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
    with models2d.without_numbers():
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
