"""Which tensors of some weights a network takes, and in which form."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .network import ZooNetwork
from .stem import RGB, fold_kernel, spread_kernel


@dataclass
class Fit:
    """Weights as a network takes them; names are timm's.

    Attributes:
        tensors: what to copy into the network, by name; an offset of the first convolution is
            among them even if the weights have none.
        converted: names among them whose tensor has changed.
        left_out: names of the weights that the network has no use for.
        missing: names of the network that the weights lack, where that is no fault.
        misfits: names that forbid to load, by what is wrong with them.
        reason: why they do, where it is not that the architecture is another.
        remedy: what to do about that reason, where it is not to choose other weights.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    converted: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    misfits: dict[str, list[str]] = field(default_factory=dict)
    reason: str = ""
    remedy: str = ""


def fit_tensors(network: ZooNetwork, tensors: Mapping[str, Tensor], own: bool = False) -> Fit:
    """Fit weights to a network, which is not changed.

    Args:
        network: the network.
        tensors: the weights by timm's names.
        own: whether this project saved them; then the first convolution is taken as it is, and
            has to hold the normalisation of the input if and only if the network does.
    """
    targets = network.network.state_dict()
    given = dict(tensors)
    fit = Fit()
    optional = _classifier_names(network, targets, given) | _stem_names(network, targets, given)
    left_out = {key for key in given if key in optional or _counts_only(key, targets)}
    given = {key: tensor for key, tensor in given.items() if key not in left_out}
    first = {} if own else _fit_first_conv(network, targets, given)
    kernel = f"{network.first_conv}.weight"
    converted = {kernel} & set(first)
    given |= first
    for key, tensor in given.items():
        if (
            key in targets
            and _same_layer(tensor, targets[key])
            and _same_kind(tensor, targets[key])
        ):
            fit.tensors[key] = tensor.reshape(targets[key].shape)
            converted |= {key} if tensor.shape != targets[key].shape else set()
    fit.converted = tuple(sorted(converted & set(fit.tensors)))
    fit.left_out = tuple(sorted(left_out))
    lacking = sorted(set(targets) - set(given))
    fit.missing = tuple(key for key in lacking if key in optional)
    offset = f"{network.first_conv}.offset"
    spared = {*fit.missing} if own and kernel in given else {*fit.missing, offset}
    fit.misfits = _misfits(targets, given, fit, spared)
    names = [name for listed in fit.misfits.values() for name in listed]
    if network.first_conv and all(name.startswith(network.first_conv) for name in names):
        fit.reason, fit.remedy = _stem_reason(network, targets, given)
    return fit


def _misfits(
    targets: Mapping[str, Tensor], given: Mapping[str, Tensor], fit: Fit, spared: set[str]
) -> dict[str, list[str]]:
    wrong = [
        f"{key} {tuple(given[key].shape)} where the network has {tuple(targets[key].shape)}"
        for key in sorted(set(given) & set(targets) - set(fit.tensors))
    ]
    kinds = {
        "tensors that the network does not have": sorted(set(given) - set(targets)),
        "tensors that the weights lack": sorted(
            key
            for key in set(targets) - set(given) - spared
            if not key.endswith("num_batches_tracked")
        ),
        "tensors of another shape or kind": wrong,
    }
    return {kind: names for kind, names in kinds.items() if names}


def _stem_reason(
    network: ZooNetwork, targets: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> tuple[str, str]:
    """Say what is wrong where the first convolution alone does not fit, and what to do."""
    kernel, offset = (f"{network.first_conv}.{part}" for part in ("weight", "offset"))
    if offset in given and offset not in targets:
        why = "they hold the normalisation of the input, which the network was not built for"
        return why, ""
    channels = given[kernel].shape[1:2] if kernel in given else ()
    if channels and channels != targets[kernel].shape[1:2]:
        why = f"they are for {channels[0]} input channel(s), the network for {network.in_chans}"
        return why, ""
    if offset in targets and offset not in given and channels:
        why = "they are of this project and for raw input, but the network normalises its input"
        return why, "build the network without the normalisation: model.any_intensity=true"
    return "", ""


def _classifier_names(
    network: ZooNetwork, targets: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> set[str]:
    """Name the tensors of both classifiers, unless the given one fits."""
    prefix = network.classifier_prefix.removeprefix("network.")
    ours = {key: tensor.shape for key, tensor in targets.items() if key.startswith(prefix)}
    theirs = {key: tensor.shape for key, tensor in given.items() if key.startswith(prefix)}
    return set() if ours == theirs else {*ours, *theirs}


def _stem_names(
    network: ZooNetwork, targets: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> set[str]:
    """Name what a small stem replaces, where the weights are for the common one."""
    if not network.small_stem:
        return set()
    kernel = f"{network.first_conv}.weight"
    pooling = {key for key in given if key.startswith("maxpool.")}
    fits = kernel in given and given[kernel].shape[2:] == targets[kernel].shape[2:]
    return pooling if fits else {*pooling, kernel}


def _fit_first_conv(
    network: ZooNetwork, targets: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Give the first convolution for the network's channels, where it must be converted."""
    kernel, offset = (f"{network.first_conv}.{part}" for part in ("weight", "offset"))
    if not network.first_conv or offset in given:
        return {}
    # An offset that earlier weights have left behind must not stay.
    no_offset = {offset: torch.zeros_like(targets[offset])} if offset in targets else {}
    weight = given.get(kernel)
    if weight is None or weight.dim() != 4 or weight.shape[1] != RGB:
        return no_offset
    weight = weight.to(torch.float64)
    if offset in targets:
        folded, constant = fold_kernel(weight, network.in_chans, network.mean, network.std)
        return {kernel: folded, offset: constant}
    return {} if network.in_chans == RGB else {kernel: spread_kernel(weight, network.in_chans)}


def _counts_only(key: str, targets: Mapping[str, Tensor]) -> bool:
    # Norms that are frozen count no batches.
    norm = key.removesuffix("num_batches_tracked")
    return norm != key and key not in targets and f"{norm}running_mean" in targets


def _same_layer(given: Tensor, target: Tensor) -> bool:
    """Tell whether shapes agree but for the 1x1 extent of a convolution that acts as linear."""
    shapes = [tuple(tensor.shape) for tensor in (given, target)]
    short = [shape[:2] if shape[2:] == (1, 1) else shape for shape in shapes]
    return short[0] == short[1]


def _same_kind(given: Tensor, target: Tensor) -> bool:
    return given.is_floating_point() == target.is_floating_point()
