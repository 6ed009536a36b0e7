"""Masked volumes for pretraining without labels: what is hidden, and how well it is guessed.

Sources: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377;
Xie et al. 2022, "SimMIM: A Simple Framework for Masked Image Modeling", arXiv 2111.09886.
"""

import math

import torch
from torch import Tensor

from .layers import PerAxis, Triple, to_triple


def hide_blocks(
    x: Tensor,
    hidden: float = 0.6,
    block: PerAxis = (4, 4, 4),
    *,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Hide random blocks of a regular grid, equally many in every case.

    Blocks are counted from the first voxel of each axis; the last ones may be cut. A hidden voxel
    takes the mean of its volume and channel. The choice is drawn on the generator's device and
    from the generator alone, so that it is the same on every device of the volumes.

    Args:
        x: ``(B, C, X, Y, Z)`` of a floating type; left unchanged.
        hidden: share of the blocks to hide, in (0, 1); of N blocks ``round(hidden * N)``.
        block: extent of a block in voxels, one number or X, Y, Z.
        generator: gives all random numbers; the cases of a batch are drawn in their order.

    Returns:
        The masked volumes, shaped as ``x``, and which voxels are hidden, boolean,
        ``(B, 1, X, Y, Z)``.

    Raises:
        ValueError: not a batch of volumes, a number out of its range, or so few blocks that
            none, or all of them, would be hidden.
    """
    if x.dim() != 5 or x.numel() == 0 or not x.is_floating_point():
        msg = f"expected volumes (B, C, X, Y, Z) of a floating type, got {_described(x)}"
        raise ValueError(msg)
    extents = to_triple(block, "block")
    size = x.shape[2:]
    blocks = [math.ceil(n / extent) for n, extent in zip(size, extents, strict=True)]
    count = _count_hidden(hidden, math.prod(blocks), tuple(size), extents)
    # In double precision ties, which would favour the blocks that come first, do not occur.
    draws = torch.rand(
        x.shape[0],
        math.prod(blocks),
        dtype=torch.float64,
        generator=generator,
        device=generator.device,
    )
    chosen = torch.zeros_like(draws, dtype=torch.bool)
    chosen.scatter_(1, draws.argsort(dim=1)[:, :count], True)
    mask = chosen.to(x.device).reshape(x.shape[0], 1, *blocks)
    for axis, (n, extent) in enumerate(zip(size, extents, strict=True), start=2):
        mask = mask.repeat_interleave(extent, dim=axis).narrow(axis, 0, n)
    return torch.where(mask, x.mean(dim=(2, 3, 4), keepdim=True), x), mask


def reconstruction_loss(predicted: Tensor, x: Tensor, hidden_mask: Tensor) -> Tensor:
    """Mean squared error over the hidden voxels of each case.

    The target is the volume brought to mean 0 and standard deviation 1 (over all its voxels, each
    channel by itself), so every case weighs the same whatever its grey values mean; a constant
    volume becomes 0 everywhere. Guessing the mean thus costs about 1. Computed at least in single
    precision.

    Args:
        predicted: what is guessed of the normalised volumes, ``(B, C, X, Y, Z)``.
        x: the volumes before they were masked, shaped as ``predicted``; get no gradient.
        hidden_mask: which voxels were hidden, boolean, ``(B, 1, X, Y, Z)``.

    Returns:
        ``(B,)``, at least 0.

    Raises:
        ValueError: shapes that do not fit, a mask that is not boolean, or a case in which nothing
            was hidden.
    """
    if x.dim() != 5 or predicted.shape != x.shape:
        msg = (
            "expected predicted and true volumes (B, C, X, Y, Z) of one shape, "
            f"got {tuple(predicted.shape)} and {tuple(x.shape)}"
        )
        raise ValueError(msg)
    if hidden_mask.dtype != torch.bool or hidden_mask.shape != (x.shape[0], 1, *x.shape[2:]):
        msg = (
            f"expected a boolean mask (B, 1, X, Y, Z) of the volumes, got {_described(hidden_mask)}"
        )
        raise ValueError(msg)
    voxels = hidden_mask.sum(dim=(1, 2, 3, 4))
    if not voxels.all():
        case = int(voxels.argmin())
        msg = f"no voxel of case {case} of the batch is hidden, so there is nothing to reconstruct"
        raise ValueError(msg)
    precise = torch.promote_types(x.dtype, torch.float32)
    target = _normalised(x.detach().to(precise))
    # Chosen before it is squared: a visible voxel must not reach the gradient, not even as NaN.
    misses = torch.where(hidden_mask, predicted.to(precise) - target, 0.0)
    return misses.square().sum(dim=(1, 2, 3, 4)) / (voxels * x.shape[1])


def _count_hidden(hidden: float, blocks: int, size: tuple[int, ...], block: Triple) -> int:
    if not 0 < hidden < 1:
        msg = f"hidden must be above 0 and below 1, got {hidden}"
        raise ValueError(msg)
    count = round(hidden * blocks)
    if not 0 < count < blocks:
        msg = (
            f"blocks of {block} voxels cut a volume of {size} into {blocks}, of which a share of "
            f"{hidden} hides {count}: some must be hidden and some seen; take smaller blocks or "
            "another share"
        )
        raise ValueError(msg)
    return count


def _normalised(x: Tensor) -> Tensor:
    # By way of 0..1, which is exact zeros for a constant volume, and where the deviation of any
    # other one cannot vanish by rounding.
    axes = (2, 3, 4)
    low, high = x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
    unit = (x - low) / torch.where(high > low, high - low, 1.0)
    centred = unit - unit.mean(axes, keepdim=True)
    deviation = centred.square().mean(axes, keepdim=True).sqrt()
    return centred / torch.where(deviation > 0, deviation, 1.0)


def _described(x: Tensor) -> str:
    return f"{tuple(x.shape)} of {x.dtype}"
