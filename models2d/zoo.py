"""Names of 2D networks and how they are built; every one of them is timm's."""

import difflib
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from torch import nn

from .contract import FeatureInfo, StageInfo
from .network import ZooNetwork
from .options import check_effects, is_resnet, resolve_options
from .sizes import shapes_of
from .skeleton import without_numbers
from .stem import find_first_conv, fold_input, make_small_stem

__all__ = ["ZooNetwork", "create_model", "is_model", "list_models"]

Build = Callable[..., nn.Module]

_STAGES = 4
# Networks of timm that the tests hold to the contract one by one. Listed here, so that a list of
# names needs no timm.
_NAMES = (
    "resnet10t resnet14t resnet18 resnet18d resnet26 resnet26d resnet26t resnet34 resnet34d "
    "resnet50 resnet50_gn resnet50c resnet50d resnet50s resnet50t resnet101 resnet101d resnet152 "
    "resnet152d resnet200 resnet200d wide_resnet50_2 wide_resnet101_2 resnext50_32x4d "
    "resnext50d_32x4d resnext101_32x4d resnext101_32x8d resnext101_64x4d seresnet18 seresnet34 "
    "seresnet50 seresnet50t seresnet101 seresnet152 seresnet152d seresnext50_32x4d "
    "seresnext101_32x4d seresnext101_32x8d resnetaa34d resnetaa50 resnetaa50d resnetaa101d "
    "seresnetaa50d resnetblur18 resnetblur50 resnetblur50d resnetblur101d resnetrs50 resnetrs101 "
    "resnetrs152 poolformer_s12 poolformer_s24 poolformer_s36 poolformer_m36 poolformer_m48 "
    "poolformerv2_s12 poolformerv2_s24 poolformerv2_s36 poolformerv2_m36 poolformerv2_m48"
).split()


def create_model(
    name: str,
    in_chans: int = 1,
    num_classes: int = 2,
    *,
    normalised: bool = False,
    **options: object,
) -> ZooNetwork:
    """Build a 2D network with fresh weights, initialised as timm does.

    Args:
        name: one of ``list_models()``, or any other name of timm whose network has four feature
            stages; of more than four the last ones count.
        in_chans: number of input channels: 1 for a slice, more for a slice and its neighbours.
        num_classes: number of logits; 0 for a network without a classifier.
        normalised: whether the first convolution can hold the normalisation that published
            weights expect, so that loading them makes a network for input in 0..1.
        **options: those of timm, as numbers, words, lists and mappings; for ResNets also
            ``small_stem``: a first convolution of 3x3 with stride 1 and no pooling after it.

    Raises:
        ValueError: an unknown name, a network without four feature stages, or an option out of
            its range or without an effect.
        TypeError: an option that the network does not have.
    """
    _check_number(in_chans, "in_chans", 1)
    _check_number(num_classes, "num_classes", 0)
    if not is_model(name):
        raise ValueError(_unknown_name(name))
    small_stem = options.pop("small_stem", False)
    resolved: dict[str, object] = {}
    if options or small_stem:
        default = _build_default(name)
        _check_small_stem(name, small_stem, options, default)
        resolved = resolve_options(name, options, default)
    network = _build(name, in_chans, num_classes, resolved)
    check_effects(name, options, network)
    _mend_odd_sizes(network)
    entries = _four_entries(name, network, bool(options))
    first_conv = find_first_conv(network, _declared_first_conv(network))
    if small_stem:
        make_small_stem(network, first_conv)
    if normalised:
        fold_input(network, first_conv)
    info = _feature_info(network, entries, shrink=4 if small_stem else 1)
    model = ZooNetwork(
        network, name, info, entries, in_chans, num_classes, first_conv, bool(small_stem)
    )
    if name not in _NAMES:
        _check_stages(model)
    return model


def list_models(pattern: str = "*") -> list[str]:
    """Give the sorted names of the zoo that match a shell pattern, such as ``poolformer_*``.

    ``create_model`` takes other names of timm too.
    """
    return sorted(name for name in _NAMES if fnmatchcase(name, pattern))


def is_model(name: str) -> bool:
    """Tell whether timm has a network of this name, with or without the tag of its weights."""
    return name in _NAMES or name in _timm_names(include_tags=False) + _timm_names(True)


def _timm_names(include_tags: bool) -> list[str]:
    import timm

    return list(timm.list_models(include_tags=include_tags))


def _unknown_name(name: str) -> str:
    names = sorted({*_NAMES, *_timm_names(include_tags=False)})
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
    return f"unknown 2D model {name!r}; nearest names: {', '.join(nearest)}"


def _build_default(name: str) -> nn.Module:
    import timm

    with without_numbers():
        network: nn.Module = timm.create_model(name)
    return network


def _build(name: str, in_chans: int, num_classes: int, resolved: Mapping[str, object]) -> nn.Module:
    import timm

    try:
        network: nn.Module = timm.create_model(
            name, pretrained=False, in_chans=in_chans, num_classes=num_classes, **resolved
        )
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
        # timm checks its arguments where it happens to use them, hence so many kinds.
        told = str(e).splitlines() if isinstance(e, AssertionError | ValueError) else []
        reason = f": {told[0]}" if told else ""
        given = f" and {', '.join(resolved)}" if resolved else ""
        msg = f"timm cannot build {name} with {in_chans} input channel(s){given}{reason}"
        raise ValueError(msg) from e
    return network


def _check_number(value: int, name: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        msg = f"{name} must be a whole number of at least {least}, got {value!r}"
        raise ValueError(msg)


def _check_small_stem(
    name: str, small_stem: object, options: Mapping[str, object], default: nn.Module
) -> None:
    if not isinstance(small_stem, bool):
        msg = f"small_stem must be true or false, got {small_stem!r}"
        raise ValueError(msg)
    if small_stem and not is_resnet(default):
        msg = f"small_stem is for ResNets; {name} is none"
        raise ValueError(msg)
    if small_stem and "replace_stem_pool" in options:
        msg = "small_stem leaves no pooling for replace_stem_pool to replace; choose one of them"
        raise ValueError(msg)


def _mend_odd_sizes(network: nn.Module) -> None:
    # timm's average pooling against aliasing rounds down where the shortcut beside it rounds up,
    # so that blocks fail on odd grids; on even ones nothing changes.
    if not is_resnet(network):
        return
    for module in network.modules():
        pool = getattr(module, "aa", None)
        if isinstance(pool, nn.AvgPool2d):
            pool.ceil_mode = True


def _declared_first_conv(network: nn.Module) -> object:
    configuration = getattr(network, "pretrained_cfg", {})
    return configuration.get("first_conv")


def _four_entries(name: str, network: nn.Module, has_options: bool) -> list[int]:
    reductions = _reductions(network)
    if len(set(reductions[-_STAGES:])) < _STAGES:
        # Dilation makes stages of equal reduction; without options a network must have four.
        plain = _reductions(_build_default(name)) if has_options else reductions
        if len(set(plain[-_STAGES:])) < _STAGES or len(reductions) < _STAGES:
            found = ", ".join(map(str, plain)) or "none"
            msg = (
                f"{name} does not give four feature stages of different size (its reductions: "
                f"{found}); choose a network that does, such as a ResNet or a PoolFormer"
            )
            raise ValueError(msg)
    return list(range(len(reductions) - _STAGES, len(reductions)))


def _check_stages(model: ZooNetwork) -> None:
    # The tests vouch for the networks of the zoo; of the others nothing is known.
    shapes = shapes_of(model, model.in_chans, max(model.min_size))
    stages = None if shapes is None else [(len(shape), shape[1]) for shape in shapes[:-1]]
    if stages != [(4, channels) for channels in model.feature_info.channels()]:
        msg = (
            f"{model.name} does not give the four feature stages that timm declares for it; "
            "choose another network"
        )
        raise ValueError(msg)


def _entries(network: nn.Module) -> list[dict[str, object]]:
    if not hasattr(network, "forward_intermediates"):
        return []
    return list(getattr(network, "feature_info", []))


def _reductions(network: nn.Module) -> list[int]:
    return [int(str(entry["reduction"])) for entry in _entries(network)]


def _feature_info(network: nn.Module, entries: list[int], shrink: int) -> FeatureInfo:
    stages = []
    for index in entries:
        entry = _entries(network)[index]
        side = int(str(entry["reduction"])) // shrink
        channels = int(str(entry["num_chs"]))
        stages.append(StageInfo(channels, (side, side), f"network.{entry['module']}"))
    return FeatureInfo(stages)
