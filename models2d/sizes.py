"""Which images a network of timm takes, found without computing anything."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .contract import Pair
from .skeleton import ShapesOnly

Shapes: TypeAlias = tuple[tuple[int, ...], ...]


def fixed_size(network: nn.Module) -> Pair | None:
    """Give the only size in pixels that a network takes; ``None`` for one that takes any."""
    patches = getattr(network, "patch_embed", None)
    size = getattr(patches, "img_size", None)
    if size is None or not getattr(patches, "strict_img_size", False):
        return None
    rows, columns = size
    return (int(rows), int(columns))


def smallest_side(network: nn.Module, in_chans: int, largest: int = 256) -> int:
    """Find the side of the smallest square image that a network takes in eval mode.

    Of a network that takes multiples of some number only, larger sides fail too; whether it takes
    one size is for ``try_image`` to tell.

    Args:
        network: a network of timm, or of ``first_parts``; it is left as it is.
        in_chans: number of input channels.
        largest: where to give up.

    Raises:
        ValueError: a network that does not even take the largest side.
    """
    fails, passes = 0, 1
    while shapes_of(network, in_chans, passes) is None:
        fails, passes = passes, 2 * passes
        if passes > largest:
            msg = f"no square image of up to {largest} pixels a side passes the network"
            raise ValueError(msg)
    while passes - fails > 1:
        middle = (passes + fails) // 2
        if shapes_of(network, in_chans, middle) is None:
            fails = middle
        else:
            passes = middle
    return passes


def shapes_of(network: nn.Module, in_chans: int, side: int) -> Shapes | None:
    """Find the shapes that come out of a network for a square image; ``None`` where it fails."""
    try:
        return try_image(network, in_chans, (side, side))
    except (RuntimeError, ValueError, AssertionError):
        return None


def try_image(network: nn.Module, in_chans: int, size: Pair) -> Shapes:
    """Find the shapes that come out of a network in eval mode for one image.

    Args:
        network: a network of timm, or one around it, on any device; it is left as it is.
        in_chans: number of input channels.
        size: rows and columns of the image in pixels.

    Raises:
        RuntimeError, ValueError, AssertionError: a size that the network does not take, as it
            happens to say so.
    """
    tensors = {
        name: tensor.detach().to("meta")
        for name, tensor in chain(network.named_parameters(), network.named_buffers())
    }
    was_training = network.training
    network.eval()
    try:
        with torch.device("meta"), torch.no_grad(), ShapesOnly():
            image = torch.empty(1, in_chans, *size)
            outputs: Tensor | tuple[Tensor, ...] = functional_call(network, tensors, (image,))
    finally:
        network.train(was_training)
    if isinstance(outputs, Tensor):
        return (tuple(outputs.shape),)
    return tuple(tuple(output.shape) for output in outputs)


def why_refused(network: nn.Module, in_chans: int, size: Pair, likely: Sequence[int]) -> str:
    """Say why a network does not take an image and what to do; empty where it takes it.

    Args:
        network: as for ``try_image``.
        in_chans: number of input channels.
        size: rows and columns of the image in pixels.
        likely: numbers whose multiples the network may take; of these the first that passes is
            proposed.
    """
    try:
        try_image(network, in_chans, size)
    except (RuntimeError, ValueError, AssertionError) as error:
        # timm fails where the sizes of its parts happen not to match, hence so many kinds.
        told = (str(error).splitlines() or [type(error).__name__])[0]
        sides = [-(-max(size) // step) * step for step in likely]
        passing = [side for side in sides if shapes_of(network, in_chans, side) is not None]
        example = f" that gives, for example, {(passing[0],) * 2}" if passing else ""
        return f"({told}); set another preprocess.size{example}, or choose another network"
    return ""


def first_parts(network: nn.Module) -> nn.Module | None:
    """Give the parts of a ResNet or PoolFormer that decide which sizes pass, in a row.

    These are the stem and what begins each stage; later blocks keep the grid. ``None`` for
    networks of other classes.
    """
    from timm.models.metaformer import MetaFormer
    from timm.models.resnet import ResNet

    stages = range(4)
    if isinstance(network, ResNet):
        names = ["conv1", "bn1", "act1", "maxpool", *(f"layer{i + 1}.0" for i in stages)]
    elif isinstance(network, MetaFormer):
        names = ["stem", *(f"stages.{i}.downsample" for i in stages)]
    else:
        return None
    part: Callable[[str], nn.Module] = network.get_submodule
    return nn.Sequential(*map(part, names))
