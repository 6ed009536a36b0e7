"""Masked-volume modelling: hidden blocks of a volume are reconstructed, without any label.

Sources: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377;
Xie et al. 2022, "SimMIM", arXiv 2111.09886.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from models3d.contract import VolumeModel
from models3d.decoder import UNetDecoder
from models3d.masking import hide_blocks, reconstruction_loss

from ..batches import Batch, to_device
from ..errors import DivergedError
from .parts import HEAD, parts_of
from .task import Losses

#: Most channels of the decoder. It is thrown away, and costs more than a small encoder does: with
#: 24 channels it takes six times as long as the nano network, with 16 four times.
_WIDTH = 16


class Reconstructor(nn.Module):
    """An encoder and a light decoder without a way around the encoder.

    The head of the network takes no part, so it wants no gradient.

    Args:
        network: Its stages are what is pretrained.
    """

    def __init__(self, network: VolumeModel) -> None:
        super().__init__()
        self.network = network
        channels = network.feature_info.channels()
        chans = network.in_chans
        width = min(_WIDTH, channels[0])
        self.decoder = UNetDecoder(channels, chans, chans, width=width, input_skip=False)
        parts = parts_of(network)
        for name, parameter in parts.encoder.named_parameters():
            if parts.of(name) == HEAD:
                # A parameter that wants a gradient and gets none would stop several processes.
                parameter.requires_grad_(False)

    def forward(self, masked: Tensor) -> Tensor:
        """Guesses volumes (B, C, X, Y, Z), normalised each by itself, from masked ones."""
        return self.decoder(self.network.forward_stages(masked), masked)


class ReconstructionTask(nn.Module):
    """Hides blocks, and measures how well they are guessed.

    Args:
        network: The network to pretrain, 3D.
        hidden: Share of the blocks that is hidden, in (0, 1).
        block: Extent of a block in voxels, along X, Y, Z.
    """

    def __init__(
        self, network: VolumeModel, hidden: float, block: int | tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.network = Reconstructor(network)
        self._hidden = hidden
        self._block = block

    @property
    def plain_network(self) -> nn.Module:
        """Encoder and decoder: what is averaged, validated and kept."""
        return self.network

    def forward(self, images: Tensor, seeds: Tensor) -> Losses:
        """Losses summed over the batch; the caller divides by the cases of the whole step.

        Args:
            images: (B, C, X, Y, Z).
            seeds: (B,) what each case's mask is drawn from, in the place of its label.

        Returns:
            `total` and `main`, each a scalar, and `cases`, (B,).
        """
        loss = self.cases(images, seeds)
        return {"total": loss.sum(), "main": loss.sum().detach(), "cases": loss.detach()}

    def cases(self, images: Tensor, seeds: Tensor) -> Tensor:
        """(B,): mean squared error over each case's hidden voxels, of about 1 for the mean."""
        masked, hidden = self._masked(images, seeds.tolist())
        return reconstruction_loss(self.network(masked), images, hidden)

    def _masked(self, images: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        # A generator for each case: its mask shall not depend on who else is in the batch.
        pairs = [
            hide_blocks(
                images[place : place + 1],
                self._hidden,
                self._block,
                generator=torch.Generator().manual_seed(seed),
            )
            for place, seed in enumerate(seeds)
        ]
        volumes, masks = zip(*pairs, strict=True)
        return torch.cat(volumes), torch.cat(masks)


@torch.no_grad()
def mean_loss(
    task: ReconstructionTask, batches: Iterable[Batch], accelerator: Accelerator, cases: int
) -> float:
    """Mean reconstruction loss over cases; the same on all processes.

    Args:
        task: Used in evaluation mode, restored afterwards.
        batches: This process's share of the cases.
        accelerator: Adds the shares.
        cases: Number of cases over all processes.

    Raises:
        DivergedError: It is not finite.
    """
    was_training = task.training
    task.eval()
    total = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        moved = to_device(batch, accelerator.device)
        with accelerator.autocast():
            loss = task.cases(moved["image"], batch["label"])
        total += loss.double().sum().cpu()
    task.train(was_training)
    shared: Tensor = accelerator.reduce(total.float().to(accelerator.device))
    mean = float(shared) / cases
    if not torch.isfinite(shared):
        raise DivergedError(
            "the reconstruction is not finite",
            why="training diverged, or the precision is too low for these grey values",
            remedy="lower train.lr, set train.clip, or use train.precision=fp32",
        )
    return mean
