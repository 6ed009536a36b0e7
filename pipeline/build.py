"""The one place where configuration becomes objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.optim import AdamW

from models3d import DeepSupervision, create_model, list_models
from models3d.contract import VolumeModel

from .config import Config, ModelConfig, SystemConfig, TrainConfig
from .data.augment import augmentation, quarter_turn_planes
from .data.cache import VolumeCache
from .data.cases import Case
from .data.dataset import VolumeDataset
from .data.manifest import Manifest, read_manifest
from .data.memory import MemoryCache
from .data.order import TrainingOrder
from .data.sources.medmnist import write_medmnist
from .data.sources.medmnist_sets import medmnist_note
from .data.sources.phantoms import write_phantoms
from .data.transforms import preprocessing_key
from .data.volumes import VolumeStore
from .errors import ConfigError
from .seeds import derived_seed
from .storage import make_folder
from .training.checkpoint import read_weights
from .training.fold import Schedule
from .training.optim import parameter_groups
from .training.task import ClassificationTask, balanced_class_weights
from .training.views import View, symmetries

IN_CHANNELS = 1


def build_accelerator(system: SystemConfig, precision: str) -> Accelerator:
    """Device, precision and processes.

    Raises:
        ConfigError: The device is not there.
    """
    if system.threads != "auto":
        torch.set_num_threads(system.threads)
    there = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[system.device]:
        raise ConfigError(
            f"there is no {system.device} device here", where="system.device", remedy="use auto"
        )
    if precision == "fp16" and (system.device == "cpu" or not torch.cuda.is_available()):
        raise ConfigError(
            "fp16 needs a CUDA device", where="train.precision", remedy="use bf16 or fp32"
        )
    mixed = "no" if precision == "fp32" else precision
    # Its state is one a process and refuses another precision; a session may do several runs.
    AcceleratorState._reset_state()
    return Accelerator(cpu=system.device == "cpu", mixed_precision=mixed)


def build_manifest(
    config: Config,
    cache: Path,
    advance: Callable[[int, int], None],
    *,
    labels_required: bool = True,
) -> Manifest:
    """The cases of the configured source; generated or unpacked ones lie in the cache folder.

    Args:
        config: The configuration.
        cache: The cache folder.
        advance: Told how many of how many volumes are made.
        labels_required: False where labels play no part.

    Raises:
        ConfigError: The set must be downloaded, and the package that does so is missing.
        DataError: The manifest, or the file of the set, is refused.
    """
    data = config.data
    # Whoever comes first makes the folder: it will hold images, so it is closed to others.
    make_folder(cache, mode=0o700)
    if data.source == "phantoms":
        made = data.phantoms
        folder = cache / "phantoms" / f"{made.patients}-{made.scans}-{made.seed}"
        path = write_phantoms(made, folder, advance)
        data = data.model_copy(update={"source": "manifest", "manifest": str(path)})
    elif data.source == "medmnist":
        name, root = cast("str", data.name), None if data.root is None else Path(data.root)
        folder = cache / "medmnist" / f"{name}-{data.size}"
        path = write_medmnist(name, data.size, root, folder, advance)
        update = {"source": "manifest", "manifest": str(path), "root": None}
        manifest = read_manifest(data.model_copy(update=update), labels_required)
        return replace(manifest, remark=medmnist_note(name, config.data.size))
    return read_manifest(data, labels_required)


def build_store(config: Config, cache: Path) -> VolumeStore:
    """Preprocessed volumes by case, kept on disk or in memory."""
    preprocess = config.preprocess
    if config.system.cache == "ram":
        return VolumeStore(preprocess, MemoryCache())
    return VolumeStore(preprocess, VolumeCache(cache, preprocessing_key(preprocess)))


def build_dataset(
    config: Config,
    cases: Sequence[Case],
    contents: dict[str, str],
    classes: Sequence[str],
    store: VolumeStore,
    *,
    augment_seed: int | None = None,
) -> VolumeDataset:
    """Volumes of some cases; augmented where a seed is given."""
    if augment_seed is None:
        return VolumeDataset(cases, contents, classes, store)
    chain = augmentation(config.augment, config.preprocess)
    return VolumeDataset(cases, contents, classes, store, chain, augment_seed)


def build_network(config: ModelConfig, num_classes: int) -> VolumeModel:
    """The plain network, weights drawn from torch's random state or read from a file.

    Raises:
        ConfigError: The name or an option is not known to the network, or weights do not fit.
        StorageError: The weights cannot be read.
    """
    named = {
        "mixer": config.mixer,
        "drop_path": config.drop_path,
        "stem_kernel": config.stem.kernel,
        "stem_stride": config.stem.stride,
        "strides": config.strides,
    }
    options = {name: value for name, value in named.items() if value is not None}
    try:
        network = create_model(config.name, IN_CHANNELS, num_classes, **options, **config.options)
    except (TypeError, ValueError) as error:
        raise ConfigError("the network cannot be built", where="model", why=str(error)) from None
    if config.weights is not None:
        _load_weights(network, Path(config.weights))
    return network


def _load_weights(network: VolumeModel, path: Path) -> None:
    tensors = read_weights(path)
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


def check_network(config: Config, num_classes: int = 2) -> VolumeModel:
    """Refuses a network that cannot be built or cannot take `preprocess.size`, at no cost.

    Returns:
        The network without numbers, on the meta device.

    Raises:
        ConfigError: Names the key.
    """
    with torch.device("meta"):
        network = build_network(config.model.model_copy(update={"weights": None}), num_classes)
        build_supervised(config.model, network, num_classes)
    size, smallest = config.preprocess.size, network.min_size
    if any(axis < least for axis, least in zip(size, smallest, strict=True)):
        raise ConfigError(
            f"preprocess.size {list(size)} is too small for {config.model.name}",
            why=f"it needs at least {list(smallest)} voxels",
            remedy="raise preprocess.size, or lower model.stem.stride where the network has it",
        )
    return network


def build_supervised(config: ModelConfig, network: VolumeModel, num_classes: int) -> nn.Module:
    """The network with its auxiliary heads, or itself where none are asked for.

    Raises:
        ConfigError: A stage that the network does not have.
    """
    if not is_supervised(config):
        return network
    try:
        return DeepSupervision(network, config.supervision.stages, num_classes)
    except ValueError as error:
        raise ConfigError(
            "deep supervision does not fit", where="model.supervision.stages", why=str(error)
        ) from None


def is_supervised(config: ModelConfig) -> bool:
    """Whether auxiliary heads are built; one of weight 0 is not."""
    return bool(config.supervision.stages) and config.supervision.weight > 0


def build_task(
    config: Config, labels: Sequence[int], num_classes: int, seed: int
) -> ClassificationTask:
    """Network and loss of a fold; `labels` are those of its training cases."""
    torch.manual_seed(derived_seed(seed, "weights"))
    network = build_network(config.model, num_classes)
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


def describe_models(pattern: str) -> list[str]:
    """A line for each network whose name matches: parameters, channels and reductions.

    Raises:
        ConfigError: No name matches.
    """
    names = list_models(pattern)
    if not names:
        raise ConfigError(
            f"no network matches {pattern!r}", remedy=f"there are: {', '.join(list_models())}"
        )
    width = max(len(name) for name in names)
    return [f"{name:<{width}}  {_description(name)}" for name in names]


def _description(name: str) -> str:
    with torch.device("meta"):
        network = create_model(name, IN_CHANNELS, 2)
    count = sum(parameter.numel() for parameter in network.parameters())
    channels = ", ".join(str(stage) for stage in network.feature_info.channels())
    reductions = ", ".join(
        "x".join(str(axis) for axis in stage) for stage in network.feature_info.reduction()
    )
    return f"{count:>12,} parameters, stages of {channels} channels at 1/{reductions}"
