"""The features of every stage of a network, as maps and pooled over space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from models2d.slices import SliceClassifier

from ..batches import Batch, beside_the_volume, to_device


@dataclass(frozen=True, slots=True)
class StageBatch:
    """Features of some cases.

    Attributes:
        indices: (B,) the cases' places in the list that the loader was made from.
        maps: A (B, C, X', Y', Z') for each stage, raw, on the network's device; none where only
            pooled features are wanted.
        pooled: A (B, 3, C) float32 for each stage, on the CPU: mean, maximum, standard deviation
            over the voxels; of a 2D network, over the slices, each of them as its mean.
    """

    indices: list[int]
    maps: list[Tensor]
    pooled: list[Tensor]


def stage_batches(
    network: nn.Module,
    batches: Iterable[Batch],
    accelerator: Accelerator,
    *,
    keep_maps: bool = False,
) -> Iterator[StageBatch]:
    """Passes cases through a network, batch by batch, as they are asked for.

    Args:
        network: Returns `(*stages, logits)`; put into evaluation mode.
        batches: The cases.
        accelerator: Device and precision.
        keep_maps: Hand the whole maps out, too.
    """
    network.eval()
    for batch in batches:
        yield _described(network, batch, accelerator, keep_maps)


def _described(
    network: nn.Module, batch: Batch, accelerator: Accelerator, keep_maps: bool
) -> StageBatch:
    # A function of its own, so that the maps are free before the next batch: the memory is used
    # again, where fresh pages would have to be fetched from the system for every batch.
    with torch.inference_mode(), accelerator.autocast():
        moved = to_device(batch, accelerator.device)
        images = moved["image"]
        if isinstance(network, SliceClassifier):
            # A slice is described by its mean, as 2D networks are trained; then over the slices.
            pooled = [pool(v.transpose(1, 2)).cpu() for v in network.stage_vectors(images)]
            maps = [*network.forward_stages(images)] if keep_maps else []
        else:
            *maps, _ = network(images, *beside_the_volume(moved))
            pooled = [pool(stage).cpu() for stage in maps]
    return StageBatch(batch["index"].tolist(), maps if keep_maps else [], pooled)


def pool(stage: Tensor) -> Tensor:
    """(B, 3, C) float32 from a map (B, C, ...): mean, maximum, standard deviation.

    The standard deviation is that of the places themselves (divided by their number), so that it
    is 0, not undefined, where a stage is one voxel wide.
    """
    voxels = stage.flatten(2).float()
    mean = voxels.mean(2)
    # Two passes: torch's own `std_mean` takes ten times as long on a CPU, and squares alone cancel.
    deviation = (voxels - mean.unsqueeze(2)).square_().mean(2).sqrt_()
    return torch.stack([mean, voxels.amax(2), deviation], dim=1)
