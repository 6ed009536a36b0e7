"""Whether 2D weights belong to the architecture of a 3D network, told by names and shapes."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

_BLOCK = re.compile(r"(stages\.\d+\.blocks|layer\d+)\.(\d+)\.")
_SHORTCUT_BIAS = re.compile(r"layer\d+\.\d+\.downsample\.0\.bias")
_MOST_NAMED = 3


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that hold numbers that are not finite.

    Raises:
        ValueError: such weights, their first tensors named.
    """
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        msg = (
            f"the weights hold numbers that are not finite ({_some(broken)}); use weights of a "
            "training that did not diverge"
        )
        raise ValueError(msg)


def classifier_to_leave(
    prefix: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> set[str]:
    """Give the names of a classifier that cannot be shared, of both sides together.

    Args:
        prefix: how names of the classifier begin.
        tensors: the 2D weights by name.
        own: the network's tensors by name.

    Returns:
        Nothing where the classifiers are alike; and nothing where they differ in more than the
        number of classes, so that the comparison of all tensors refuses them.
    """
    theirs = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    ours = {name: tensor for name, tensor in own.items() if name.startswith(prefix)}
    if theirs and ours:
        same_input = theirs.keys() == ours.keys() and all(
            theirs[name].shape[1:] == ours[name].shape[1:] for name in ours
        )
        same_classes = all(
            theirs[name].shape[:1] == ours[name].shape[:1] for name in theirs.keys() & ours.keys()
        )
        if same_classes or not same_input:
            return set()
    return theirs.keys() | ours.keys()


def find_differences(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], stem: str, axis: int
) -> list[str]:
    """Say in words what keeps 2D weights from fitting, apart from the classifier.

    Args:
        tensors: the 2D weights by name.
        own: the network's tensors by name.
        stem: name of the weight of the first convolution, which a network of one channel takes
            for any number of channels.
        axis: the axis that the 2D kernels lack, 0, 1 or 2.

    Returns:
        One entry for each kind of difference; none where the weights fit.
    """
    found = []
    depths, own_depths = _depths(tensors), _depths(own)
    if depths != own_depths:
        found.append(f"blocks in each stage are {depths} in the weights, {own_depths} here")
    lacking = [name for name in own if name not in tensors and not _may_lack(name)]
    if lacking:
        found.append(f"the weights lack {_some(lacking)}")
    unknown = [name for name in tensors if name not in own]
    if unknown:
        found.append(f"the network has no {_some(unknown)}")
    wrong = []
    for name in (name for name in own if name in tensors):
        shape = tuple(tensors[name].shape)
        wanted = _wanted_shape(own[name], axis)
        if name == stem and wanted[1] == 1 and len(shape) == 4:
            wanted = (wanted[0], shape[1], *wanted[2:])
        if shape != wanted:
            wrong.append(f"{name} is {shape} for {wanted}")
    if wrong:
        found.append(f"other shapes: {_some(wrong)}")
    return found


def is_shortcut_bias(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a name is the bias of a ResNet's shortcut that the 2D network does without.

    MONAI's shortcuts may have one, those of timm and torchvision never do.
    """
    return name not in tensors and _SHORTCUT_BIAS.fullmatch(name) is not None


def _may_lack(name: str) -> bool:
    # Old files do not count batches, and norms of the features are an addition of the 3D network.
    fresh = name.endswith(".num_batches_tracked") or name.startswith("feature_norms.")
    return fresh or _SHORTCUT_BIAS.fullmatch(name) is not None


def _wanted_shape(like: Tensor, axis: int) -> tuple[int, ...]:
    shape = tuple(like.shape)
    return shape[: 2 + axis] + shape[3 + axis :] if len(shape) == 5 else shape


def _depths(names: Iterable[str]) -> tuple[int, ...]:
    found = {match.groups() for name in names if (match := _BLOCK.match(name))}
    counts = Counter(stage for stage, _ in found)
    return tuple(counts[stage] for stage in sorted(counts))


def _some(entries: Sequence[str]) -> str:
    more = len(entries) - _MOST_NAMED
    return ", ".join(entries[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
