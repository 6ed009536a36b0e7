"""What training shows while it runs: TensorBoard events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from ..storage import rename
from .state import Row

_PICTURES = 4


class TensorBoardMonitor:
    """Writes events of one fold; TensorBoard's own writer, the one exception to `storage`.

    Args:
        folder: Of the events.
        step: First step of this process; later events of an earlier process are hidden.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        _hide_host(folder)
        self._writer = SummaryWriter(folder, purge_step=step)

    def step(self, step: int, losses: Mapping[str, float], learning_rate: float) -> None:
        """Losses of one optimizer step, mean over its cases, and the learning rate."""
        for name, value in losses.items():
            self._writer.add_scalar(f"loss/{name}", value, step)
        self._writer.add_scalar("learning_rate", learning_rate, step)

    def epoch(self, step: int, row: Row) -> None:
        """Validation figures of an epoch."""
        for name, value in row.items():
            if name.startswith("validation_") and value is not None:
                self._writer.add_scalar(name.replace("_", "/", 1), value, step)
        self._writer.flush()

    def inputs(self, step: int, images: Tensor) -> None:
        """Central axial slices of some volumes (B, C, X, Y, Z), as the network sees them.

        Features of slices, (B, S, D), are shown as they are: slices down, features across.
        """
        if images.dim() == 3:
            images = images.transpose(1, 2).flip(2)[:, None, :, :, None]
        middle = images[:_PICTURES, 0, :, :, images.shape[-1] // 2].float().cpu()
        low, high = middle.amin((1, 2), keepdim=True), middle.amax((1, 2), keepdim=True)
        grey = (middle - low) / (high - low).clamp_min(1e-6)
        # Rows run from the front of the body to its back, columns from its left to its right.
        pictures = torch.flip(grey.transpose(1, 2), (1,)).unsqueeze(1)
        self._writer.add_images("inputs", pictures, step)

    def close(self) -> None:
        """Writes what is pending."""
        self._writer.close()
        _hide_host(self._folder)


def _hide_host(folder: Path) -> None:
    # TensorBoard names its files after the host; runs are shared, and need not tell it.
    for path in sorted(folder.glob("events.out.tfevents.*")):
        time, *host = path.name.split(".")[3:]
        if host[:1] != ["volclass"]:
            rename(
                path, path.with_name(f"events.out.tfevents.{time}.volclass.{host[-2]}.{host[-1]}")
            )
