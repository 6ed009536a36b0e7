"""Networks."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeAlias, cast

import torch
from torch import nn

import models2d
from models2d.pyramid import PyramidLevels
from models2d.slices import SliceClassifier
from models3d import DeepSupervision, FusedClassifier, MultiStage, create_model, list_models
from models3d.contract import VolumeModel

from ..config import Config, HeadConfig, InflateConfig, ModelConfig, SlicesConfig
from ..errors import ConfigError
from ..seeds import derived_seed
from .room import check_memory
from .weights import own_names, start_weights

IN_CHANNELS = 1
_OF_VOLUME_NETWORKS = {
    *("mixer", "stem_kernel", "stem_stride", "stem_kind", "stem_windows", "strides"),
}

#: All keep one contract; the model packages know nothing of each other.
Network: TypeAlias = VolumeModel | SliceClassifier | FusedClassifier
#: What stands before a head of the configuration.
Body: TypeAlias = VolumeModel | SliceClassifier


def is_slice_network(name: str) -> bool:
    """Whether a name is that of a 2D network, which reads volumes slice by slice."""
    return name not in list_models() and models2d.is_model(name)


def is_normalised(config: ModelConfig) -> bool:
    """Whether the network normalises grey values of 0 to 1 itself, as 2D weights expect it.

    So do published weights and files of other authors; of a run's own file, what it was.
    """
    if config.any_intensity or config.starts_random or config.pretrained_run is not None:
        return False
    own = own_names(Path(config.weights)) if config.weights is not None else frozenset()
    if own:
        return any(name.endswith(".offset") for name in own)
    return config.init != "random" or is_slice_network(config.name)


def build_network(
    config: ModelConfig,
    num_classes: int,
    *,
    start: bool = True,
    seed: int = 0,
    normalised: bool | None = None,
    covariates: int = 0,
) -> Network:
    """The plain network, weights drawn from torch's random state or as the configuration says.

    Args:
        config: The section `model`.
        num_classes: Number of logits.
        start: Whether to load the weights that it starts from; not where others follow anyway.
        seed: Of the run; what is frozen at random is the same in all its folds.
        normalised: Whether a 2D network normalises its input; None asks the configuration.
        covariates: Numbers that the head reads beside the volume.

    Raises:
        ConfigError: The name or an option is not known to the network, or weights do not fit.
        StorageError: The weights cannot be read.
    """
    body = _body(config, num_classes, covariates, seed, normalised)
    if start:
        start_weights(body, config)
    return _with_head(body, config, num_classes, covariates)


def describe_start(config: ModelConfig, num_classes: int) -> list[str]:
    """Where the weights come from, in words, after trying to load them.

    Raises:
        ConfigError: They do not fit, or cannot be had.
        StorageError: The file cannot be read.
    """
    # Where nothing is loaded, nothing need be drawn either.
    with models2d.without_numbers() if config.starts_random else nullcontext():
        body = _body(config, num_classes, 0, 0, None)
        started = start_weights(body, config, any_fold=True)
    random = f"random weights, which know nothing yet: {', '.join(started.random)}"
    return [*started.lines, *([random] if started.random and config.slices.frozen else [])]


def body_of(network: nn.Module) -> nn.Module:
    """The network within the heads that the configuration put around it."""
    while isinstance(network, FusedClassifier | MultiStage):
        network = network.network
    return network


def _body(
    config: ModelConfig, num_classes: int, covariates: int, seed: int, normalised: bool | None
) -> Body:
    """The network up to what the head of the configuration adds, if it adds anything."""
    if _is_fused(config.head, covariates) or (config.head.reads_stages and not _has_head(config)):
        num_classes = 0
    try:
        if is_slice_network(config.name):
            _check_flat(config)
            return _slice_network(config, num_classes, seed, normalised)
        if config.name not in list_models():
            raise ValueError(_unknown_name(config.name))
        _check_deep(config)
        return create_model(config.name, IN_CHANNELS, num_classes, **_options(config))
    except (TypeError, ValueError, RuntimeError) as error:  # the last where memory does not suffice
        raise ConfigError("the network cannot be built", where="model", why=str(error)) from None


def _has_head(config: ModelConfig) -> bool:
    """Whether the network itself has the head that reads all stages, as an option."""
    return config.name.startswith("poolformer3d_")


def _is_fused(head: HeadConfig, covariates: int) -> bool:
    return covariates > 0 or bool(head.hidden) or head.dropout > 0


def _with_head(body: Body, config: ModelConfig, num_classes: int, covariates: int) -> Network:
    head, fused = config.head, _is_fused(config.head, covariates)
    network = body
    if head.reads_stages and not _has_head(config):
        try:
            network = MultiStage(
                network,
                0 if fused else num_classes,
                stages=head.stages,
                pool=head.pool,
                foreground=head.foreground,
            )
        except ValueError as error:
            raise ConfigError("the head does not fit", where="model.head", why=str(error)) from None
    if not fused:
        return network
    return FusedClassifier(
        network, num_classes, covariates=covariates, hidden=head.hidden, dropout=head.dropout
    )


def _check_flat(config: ModelConfig) -> None:
    if config.init == "inflate":
        raise ValueError(
            f"model.init=inflate makes 3D weights, and {config.name} is a 2D network; "
            "model.weights alone loads them"
        )
    if config.inflate != InflateConfig():
        raise ValueError(f"model.inflate is for 3D networks, and {config.name} is a 2D one")


def _check_deep(config: ModelConfig) -> None:
    if config.slices != SlicesConfig():
        raise ValueError(
            f"model.slices is for 2D networks, and {config.name} is a 3D one: leave it out"
        )
    if config.inflate != InflateConfig() and config.init == "random":
        raise ValueError("model.inflate has no effect unless model.init is inflate or timm")


def _unknown_name(name: str) -> str:
    names = list_models() + models2d.list_models()
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
    return f"unknown model {name!r}; nearest names: {', '.join(nearest)}"


def _options(config: ModelConfig) -> dict[str, object]:
    named: dict[str, object] = {
        "mixer": config.mixer,
        "drop_path": config.drop_path,
        "stem_kernel": config.stem.kernel,
        "stem_stride": config.stem.stride,
        "strides": config.strides,
        "stem_kind": config.stem.kind,
        "stem_windows": config.stem.windows,
    }
    if config.head.reads_stages and _has_head(config):
        named["head_stages"] = config.head.stages
        named["head_pool"] = config.head.pool
        named["head_foreground"] = config.head.foreground
    return {name: value for name, value in named.items() if value is not None} | {**config.options}


def _slice_network(
    config: ModelConfig, num_classes: int, seed: int, normalised: bool | None
) -> SliceClassifier:
    options = _options(config)
    unknown = sorted(options.keys() & _OF_VOLUME_NETWORKS)
    if unknown:
        raise ValueError(f"a 2D network has no {', '.join(unknown)}; see model.options")
    if "drop_path" in options:
        options["drop_path_rate"] = options.pop("drop_path")
    slices = config.slices
    channels = 2 * slices.neighbours + 1
    normalised = is_normalised(config) if normalised is None else normalised
    with _seeded(derived_seed(seed, "frozen") if slices.frozen else None):
        flat = models2d.create_model(config.name, channels, 0, normalised=normalised, **options)
        levels = PyramidLevels(flat.feature_info.channels()) if slices.pyramid else None
    network = SliceClassifier(
        flat,
        num_classes,
        axis=slices.axis,
        count=slices.count,
        neighbours=slices.neighbours,
        pool=slices.pool,
        frozen=slices.frozen,
        freeze_stages=slices.freeze_stages,
        pyramid=slices.pyramid,
    )
    if network.levels is not None and levels is not None:
        # The pool and the classifier are drawn anew for each fold, what is frozen is not.
        network.levels.load_state_dict(levels.state_dict())
    return network


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draws from a random state of its own where a seed is given."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def check_network(config: Config, num_classes: int = 2) -> Network:
    """Refuses a network that cannot be built or cannot take the volumes, at no cost.

    Returns:
        The network without numbers, on the meta device.

    Raises:
        ConfigError: Names the key.
    """
    with models2d.without_numbers():
        network = build_network(config.model, num_classes, start=False)
        whole = build_supervised(config.model, network, num_classes)
    check_memory(config, whole)
    size, smallest = config.preprocess.size, network.min_size
    body = body_of(network)
    if isinstance(body, SliceClassifier):
        _check_slices(config, body)
    elif any(axis < least for axis, least in zip(size, smallest, strict=True)):
        raise ConfigError(
            f"preprocess.size {list(size)} is too small for {config.model.name}",
            why=f"it needs at least {list(smallest)} voxels",
            remedy="raise preprocess.size, or lower model.stem.stride where the network has it",
        )
    if is_normalised(config.model):
        _check_intensity(config)
    return network


def _check_slices(config: Config, network: SliceClassifier) -> None:
    slices = config.model.slices
    ordered = slices.pool in ("gru", "transformer")
    if slices.frozen and slices.axis == "all" and ordered and slices.count is None:
        raise ConfigError(
            f"pool {slices.pool} cannot read frozen features of all three axes",
            where="model.slices",
            why="the features of a volume do not tell where the slices of one axis end",
            remedy="set model.slices.count, choose one axis, or attention, or frozen=false",
        )
    try:
        network.check_size(config.preprocess.size)
    except ValueError as error:
        raise ConfigError(
            f"{config.model.name} cannot read the slices of these volumes",
            where="model.slices, preprocess.size",
            why=str(error),
        ) from None


def _check_intensity(config: Config) -> None:
    """Published 2D weights expect what a photograph has: 0 to 1, then normalised."""
    name = config.preprocess.intensity.name
    if name in ("window", "unit", "percentiles"):
        return
    raise ConfigError(
        f"pretrained weights do not fit grey values of intensity {name}",
        where="preprocess.intensity",
        why="they were trained on 0..1, normalised with the mean and deviation of their images",
        remedy="use unit, percentiles or window, or force it with model.any_intensity=true",
    )


def build_supervised(config: ModelConfig, network: Network, num_classes: int) -> nn.Module:
    """The network with its auxiliary heads, or itself where none are asked for.

    Raises:
        ConfigError: A stage that the network does not have.
    """
    if not is_supervised(config):
        return network
    try:
        return DeepSupervision(cast("VolumeModel", network), config.supervision.stages, num_classes)
    except ValueError as error:
        raise ConfigError(
            "deep supervision does not fit", where="model.supervision.stages", why=str(error)
        ) from None


def is_supervised(config: ModelConfig) -> bool:
    """Whether auxiliary heads are built; one of weight 0 is not."""
    return bool(config.supervision.stages) and config.supervision.weight > 0


def describe_models(pattern: str) -> list[str]:
    """A line for each network whose name matches: parameters, channels and reductions.

    Raises:
        ConfigError: No name matches.
    """
    names = list_models(pattern) + models2d.list_models(pattern)
    if not names:
        near = difflib.get_close_matches(pattern, list_models() + models2d.list_models(), n=3)
        raise ConfigError(
            f"no network matches {pattern!r}",
            remedy=f"near are: {', '.join(near)}" if near else "`volclass models` lists them all",
        )
    width = max(len(name) for name in names)
    return [f"{name:<{width}}  {_description(name)}" for name in names]


def _description(name: str) -> str:
    with models2d.without_numbers():
        flat = name not in list_models()
        network = (models2d.create_model if flat else create_model)(name, IN_CHANNELS, 2)
    count = sum(parameter.numel() for parameter in network.parameters())
    channels = ", ".join(str(stage) for stage in network.feature_info.channels())
    reductions = ", ".join(
        "x".join(str(axis) for axis in stage) for stage in network.feature_info.reduction()
    )
    kind = "2D" if flat else "3D"
    return f"{kind} {count:>12,} parameters, stages of {channels} channels at 1/{reductions}"
