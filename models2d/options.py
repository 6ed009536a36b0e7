"""Options of timm's networks as a config can write them: numbers, words, lists and mappings."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, TypeGuard, get_args

import torch
from torch import nn

NormName: TypeAlias = Literal[
    "batchnorm", "frozenbatchnorm", "groupnorm", "groupnorm1", "layernorm2d"
]
ActivationName: TypeAlias = Literal[
    "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "hard_swish", "prelu"
]
AntiAliasingName: TypeAlias = Literal["blurpool", "avgpool"]
AttentionName: TypeAlias = Literal["se", "ese", "eca", "cbam", "gc"]
StemName: TypeAlias = Literal["", "deep", "deep_tiered"]
PoolName: TypeAlias = Literal["avg", "max", "avgmax", "catavgmax"]

# Arguments of timm's constructors that our own arguments set, or that a name decides.
_OURS = {"self", "in_chans", "num_classes", "device", "dtype", "block", "cfg"}
# The names of PoolFormers decide the rest.
_POOLFORMER = {"drop_path_rate", "drop_rate", "proj_drop_rate", "global_pool", "pool_size"}


def resolve_options(
    name: str, options: Mapping[str, object], default: nn.Module
) -> dict[str, object]:
    """Turn options from a config into arguments that timm takes.

    Args:
        name: name of the network, for messages.
        options: options as numbers, words, lists and mappings; ``small_stem`` is none of timm's
            and not among them.
        default: the network without options.

    Raises:
        TypeError: an option that the network does not have.
        ValueError: a value that the option does not take.
    """
    known = _known_options(default)
    unknown = sorted(set(options) - known)
    if unknown:
        more = {"small_stem"} if is_resnet(default) else set()
        msg = (
            f"{name} has no option {', '.join(map(repr, unknown))}; "
            f"its options are {', '.join(sorted(known | more))}"
        )
        raise TypeError(msg)
    empty = sorted(option for option, value in options.items() if value is None)
    if empty:
        msg = f"option {empty[0]} of {name} is empty; give a value, or leave the option out"
        raise ValueError(msg)
    # These mean something else in networks of other classes.
    special = set() if is_resnet(default) else {"layers", "channels", "block_args"}
    resolved = {
        option: value if option in special else _resolve(option, value)
        for option, value in options.items()
    }
    if options.get("norm_layer") == "frozenbatchnorm":
        _keep_last_norms(options, resolved)
    return resolved


def check_effects(name: str, options: Mapping[str, object], network: nn.Module) -> None:
    """Refuse options that timm accepts and then passes over.

    Args:
        name: name of the network, for messages.
        options: the options that were given.
        network: the network that they made.

    Raises:
        ValueError: an option without an effect on this network.
    """
    if not is_resnet(network):
        return
    if "stem_width" in options and isinstance(network.get_submodule("conv1"), nn.Conv2d):
        msg = f"stem_width has no effect on {name}: it needs stem_type deep or deep_tiered"
        raise ValueError(msg)
    shortcut = network.get_submodule("layer2.0").downsample
    if "down_kernel_size" in options and isinstance(shortcut, nn.Sequential) and len(shortcut) == 3:
        msg = (
            f"down_kernel_size has no effect on {name}: its shortcuts pool the average and then "
            "take a 1x1 kernel; set avg_down: false with it"
        )
        raise ValueError(msg)


def is_resnet(network: nn.Module) -> bool:
    """Tell whether a network of timm is one of its ResNets."""
    from timm.models.resnet import ResNet

    return isinstance(network, ResNet)


def _known_options(default: nn.Module) -> set[str]:
    from timm.models.metaformer import MetaFormer

    if isinstance(default, MetaFormer):
        # Networks of this class that do not pool have no pool size.
        pools = any(hasattr(part, "pool") for part in default.get_submodule("stages.0").modules())
        return _POOLFORMER if pools else _POOLFORMER - {"pool_size"}
    parameters = inspect.signature(type(default)).parameters.values()
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return named - _OURS


def _resolve(option: str, value: object) -> object:
    if option in _RESOLVERS:
        return _RESOLVERS[option](option, value)
    if option in _WHOLE:
        return _whole_number(option, value)
    if option in _RATES:
        return _rate(option, value)
    if option in _SWITCHES:
        return _switch(option, value)
    return value


def _keep_last_norms(options: Mapping[str, object], resolved: dict[str, object]) -> None:
    if options.get("zero_init_last") is True:
        msg = (
            "zero_init_last starts the last norm of each block at zero, where a frozen one stays "
            "for ever; leave zero_init_last out with norm_layer frozenbatchnorm"
        )
        raise ValueError(msg)
    resolved["zero_init_last"] = False


def _norm(option: str, value: object) -> object:
    name = _choice(option, value, get_args(NormName))
    return _frozen_batch_norm if name == "frozenbatchnorm" else name


def _frozen_batch_norm(
    channels: int, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> nn.Module:
    from torchvision.ops import FrozenBatchNorm2d

    norm: nn.Module = FrozenBatchNorm2d(channels)
    return norm.to(device=device, dtype=dtype)


def _anti_aliasing(option: str, value: object) -> object:
    from timm.layers import BlurPool2d

    layers = {"blurpool": BlurPool2d, "avgpool": nn.AvgPool2d}
    return layers[_choice(option, value, get_args(AntiAliasingName))]


def _block_arguments(option: str, value: object) -> object:
    if not isinstance(value, Mapping) or set(value) != {"attn_layer"}:
        msg = f"{option} takes a mapping with the key attn_layer, got {value!r}"
        raise ValueError(msg)
    name = _choice(f"{option}.attn_layer", value["attn_layer"], get_args(AttentionName))
    return {"attn_layer": name}


def _four_numbers(option: str, value: object) -> object:
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(numbers) != 4 or not all(_is_whole(n) and n >= 1 for n in numbers):
        msg = f"{option} needs a whole number of at least 1 for each of 4 stages, got {value!r}"
        raise ValueError(msg)
    return numbers


def _odd_number(option: str, value: object) -> object:
    if not _is_whole(value) or value < 1 or value % 2 == 0:
        msg = f"{option} must be an odd whole number of at least 1, got {value!r}"
        raise ValueError(msg)
    return value


def _output_stride(option: str, value: object) -> object:
    if not _is_whole(value) or value not in (8, 16, 32):
        msg = f"{option} must be 8, 16 or 32, got {value!r}"
        raise ValueError(msg)
    return value


def _whole_number(option: str, value: object) -> object:
    if not _is_whole(value) or value < 1:
        msg = f"{option} must be a whole number of at least 1, got {value!r}"
        raise ValueError(msg)
    return value


def _rate(option: str, value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        msg = f"{option} must be a number of at least 0 and below 1, got {value!r}"
        raise ValueError(msg)
    return float(value)


def _switch(option: str, value: object) -> object:
    if not isinstance(value, bool):
        msg = f"{option} must be true or false, got {value!r}"
        raise ValueError(msg)
    return value


def _choice(option: str, value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        msg = f"{option} must be one of {', '.join(map(repr, choices))}; got {value!r}"
        raise ValueError(msg)
    return value


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


_RESOLVERS: dict[str, Callable[[str, object], object]] = {
    "norm_layer": _norm,
    "act_layer": lambda option, value: _choice(option, value, get_args(ActivationName)),
    "aa_layer": _anti_aliasing,
    "stem_type": lambda option, value: _choice(option, value, get_args(StemName)),
    "global_pool": lambda option, value: _choice(option, value, get_args(PoolName)),
    "block_args": _block_arguments,
    "layers": _four_numbers,
    "channels": _four_numbers,
    "pool_size": _odd_number,
    "down_kernel_size": _odd_number,
    "output_stride": _output_stride,
}
_WHOLE = {"cardinality", "base_width", "stem_width", "block_reduce_first"}
_RATES = {"drop_rate", "drop_path_rate", "drop_block_rate", "proj_drop_rate", "attn_drop_rate"}
_SWITCHES = {"replace_stem_pool", "avg_down", "zero_init_last"}
