"""Weights of a 2D network as the start of a 3D one of the same architecture.

Parameter names of ``PoolFormer3d`` are those of timm's PoolFormer, and those of MONAI's ResNet are
torchvision's, so inflation is a rule for each tensor and renames nothing.

For a volume that is constant along the axis of inflation, the features of every stage are those of
the 2D network. What no tensor tells has to be alike in the plane for this: another pool window,
mixer or kind of norm is refused, and other strides are remarked in the table. With ``centre`` it
holds everywhere; with ``mean`` for a ``PoolFormer3d`` that has ``padding="edge"`` along the axis.
With zeros there, kernels that reach over the border lose a part of their sum, and the statistics of
the group norms carry this from the outermost slices into all others. MONAI's ResNet always pads
with zeros, so its ``mean`` features differ near the border; the table remarks that too.
Logits are the 2D network's too for a ResNet; for a PoolFormer they are not, as timm pools before
the last norm and the 3D head after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .contract import VolumeModel
from .inflate_kernels import (
    InflationMode,
    check_mode_and_axis,
    fold_input,
    inflate_kernel,
    read_normalisation,
)
from .inflate_match import check_finite, classifier_to_leave, find_differences, is_shortcut_bias
from .inflate_parity import find_other_blocks, parity_remarks

# The first convolution of each architecture that can be inflated, what takes the constant of a
# folded normalisation, and its sign there: a batch norm subtracts its running mean.
_STEMS = {
    "stem.conv.weight": ("stem.conv.bias", 1),
    "conv1.weight": ("bn1.running_mean", -1),
}


@dataclass(frozen=True)
class InflationTable:
    """What became of every tensor, by name.

    Attributes:
        taken: as they are in the weights.
        converted: made 3D, changed to fit the input, or set to the zero that the weights imply.
        left_out: in the weights, of no use to the network.
        missing: not in the weights, so that the network keeps its own fresh values.
        remarks: why features differ from those of the 2D network, and what was made of the
            normalisation of the input.
    """

    taken: tuple[str, ...]
    converted: tuple[str, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Give the counts in one line, then what was left out or is missing, then the remarks."""
        counts = (
            f"inflated 2D weights: {len(self.taken)} taken, {len(self.converted)} converted, "
            f"{len(self.left_out)} left out, {len(self.missing)} missing"
        )
        named = (
            ("left out, of no use here", self.left_out),
            ("missing, so these start fresh", self.missing),
        )
        parts = [f"{what}: {', '.join(names)}" for what, names in named if names]
        return [counts, *parts, *(f"note: {remark}" for remark in self.remarks)]


def inflate(
    network: VolumeModel,
    tensors: Mapping[str, Tensor],
    mode: InflationMode = "centre",
    axis: int = 2,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> InflationTable:
    """Fill a 3D network with the weights of a 2D one.

    Known are timm's ``poolformer_*`` for ``PoolFormer3d``, and the ResNets of timm and torchvision
    with basic or bottleneck blocks for MONAI's. Along ``axis`` the extents of the network's kernels
    are free, in the plane they must be those of the weights.

    A first convolution of several channels is summed to one for a network of one. With ``mean``
    and ``std`` the normalisation of the input goes into the weights, exact but at the zero-padded
    border: zero there was the mean and is black now. Weights that already hold a normalisation,
    as this project saves it in the ``offset`` of the first convolution, keep theirs, and those of
    one channel have none for three colours: ``mean`` and ``std`` are ignored then, and a remark
    says so.

    Args:
        network: a ``PoolFormer3d`` or a MONAI ResNet; changed in place, or not at all on an error.
        tensors: the 2D weights by timm's names, left unchanged.
        mode: how kernels extend, see ``inflate_kernel``.
        axis: the axis along which they extend, 0, 1 or 2 for X, Y, Z; 2 for axial slices.
        mean: what the weights want subtracted from each channel of an input in 0..1; ``None``
            to leave that to whoever prepares the input.
        std: by what they want it divided after that.

    Returns:
        What became of every tensor. The classifier is left out when it is for another number
        of classes.

    Raises:
        ValueError: a network that no 2D weights fit, weights of another architecture, the
            differences named, weights that are not finite, or an option out of its range.
    """
    check_mode_and_axis(mode, axis)
    own = network.state_dict()
    stem = _stem_of(own)
    check_finite(tensors)
    left = classifier_to_leave(network.classifier_prefix, tensors, own)
    offset = stem.removesuffix("weight") + "offset"
    flat = {name: tensor for name, tensor in tensors.items() if name not in {*left, offset}}
    needed = {name: tensor for name, tensor in own.items() if name not in left}
    differences = find_differences(flat, needed, stem, axis) + find_other_blocks(network, axis)
    _refuse(differences)
    constant, remarks = read_normalisation(flat[stem], tensors.get(offset), mean, std)
    if remarks:
        mean = std = None
    flat |= _folded_stem(flat, stem, network.in_chans, mean, std, constant)
    values = {name: _fitted(name, flat[name], needed[name], mode, axis) for name in flat}
    values |= {n: torch.zeros_like(needed[n]) for n in needed if is_shortcut_bias(n, flat)}
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
    remarks += parity_remarks(network, mode, axis)
    return _table({n: t for n, t in tensors.items() if n != offset}, own, values, remarks)


def _refuse(differences: Sequence[str]) -> None:
    if differences:
        msg = (
            f"weights of another architecture: {'; '.join(differences)}. Take the weights of a 2D "
            "network with the blocks, channels and in-plane kernels of this one, or build this "
            "one to fit them"
        )
        raise ValueError(msg)


def _stem_of(own: Mapping[str, Tensor]) -> str:
    stem = next((name for name in _STEMS if name in own), None)
    if stem is None:
        msg = "2D weights inflate to a PoolFormer3d or a MONAI ResNet only: use one of these"
        raise ValueError(msg)
    return stem


def _folded_stem(
    flat: Mapping[str, Tensor],
    stem: str,
    in_chans: int,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    held: Tensor | None,
) -> dict[str, Tensor]:
    kernel, constant = fold_input(flat[stem], in_chans, mean, std)
    if mean is None and held is None:
        return {stem: kernel}
    name, sign = _STEMS[stem]
    constant = constant if held is None else held
    return {stem: kernel, name: flat[name].to(constant) + sign * constant}


def _fitted(name: str, tensor: Tensor, like: Tensor, mode: InflationMode, axis: int) -> Tensor:
    if like.dim() != 5:
        return tensor
    # A share of a half-precision weight is rounded once, when it is copied.
    tensor = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    try:
        return inflate_kernel(tensor, like.shape[2 + axis], mode, axis)
    except ValueError as error:
        msg = f"{name} cannot be inflated along axis {axis}: {error}"
        raise ValueError(msg) from error


def _table(
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    remarks: tuple[str, ...],
) -> InflationTable:
    as_they_are = [name for name in values if values[name] is tensors.get(name)]
    return InflationTable(
        taken=tuple(name for name in own if name in as_they_are),
        converted=tuple(name for name in own if name in values and name not in as_they_are),
        left_out=tuple(name for name in tensors if name not in values),
        missing=tuple(name for name in own if name not in values),
        remarks=remarks,
    )
