"""The smallest image that a network of timm takes, found without computing anything."""

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .contract import Pair


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

    Sides that fail and sides that pass are taken to be parted by one number.

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


def shapes_of(network: nn.Module, in_chans: int, side: int) -> tuple[tuple[int, ...], ...] | None:
    """Find the shapes that come out of a network for one image; ``None`` where it fails."""
    tensors = {
        name: tensor.detach().to("meta")
        for name, tensor in chain(network.named_parameters(), network.named_buffers())
    }
    was_training = network.training
    network.eval()
    try:
        with torch.device("meta"), torch.no_grad():
            image = torch.empty(1, in_chans, side, side)
            outputs: Tensor | tuple[Tensor, ...] = functional_call(network, tensors, (image,))
    except (RuntimeError, ValueError, AssertionError):
        return None
    finally:
        network.train(was_training)
    if isinstance(outputs, Tensor):
        return (tuple(outputs.shape),)
    return tuple(tuple(output.shape) for output in outputs)


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
