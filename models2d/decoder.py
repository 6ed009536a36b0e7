"""A U-Net decoder over the stages of a network of the zoo, up to the grid of its input.

Source: Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", arXiv 1505.04597.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

_WIDEST = 32  # channels of a decoder, by default at most


class UNetDecoder(nn.Module):
    """A decoder that joins the stages of a network, the deepest first, to one map per pixel.

    A 1x1 convolution and a norm bring every stage to ``width`` channels. Stage by stage, the
    coarser map is interpolated, joined with the finer stage and passed through two 3x3
    convolutions with norm and GELU; last on the input's grid, with half the channels. GroupNorm
    with one group keeps images apart and trains one image on grids of one pixel too.
    On a GPU the backward pass of the interpolation is not deterministic.

    Args:
        feature_info_channels: channels of the stages, the first (largest) stage first; any number.
        in_chans: channels of the network's input.
        out_channels: channels of the result.
        width: channels of the decoder, at least 2; ``None`` for those of the first stage, up to 32.
        input_skip: join a convolution over the input itself at the last step, for sharp borders
            of masks. It must be off where hidden pixels are to be guessed, which ``x`` may show.

    Raises:
        ValueError: no stages, or a number out of its range.
    """

    if TYPE_CHECKING:
        # Without this, nn.Module types the call as Any.
        def __call__(self, stages: Sequence[Tensor], x: Tensor) -> Tensor:
            """Call ``forward``."""

    def __init__(
        self,
        feature_info_channels: Sequence[int],
        in_chans: int,
        out_channels: int,
        width: int | None = None,
        input_skip: bool = True,
    ) -> None:
        super().__init__()
        channels = tuple(feature_info_channels)
        _check_least("the number of stages", len(channels), 1)
        _check_least("the channels of each stage", min(channels), 1)
        _check_least("in_chans and out_channels", min(in_chans, out_channels), 1)
        width = max(2, min(channels[0], _WIDEST)) if width is None else width
        _check_least("width", width, 2)
        self.channels, self.in_chans = channels, in_chans
        narrow = max(2, width // 2)
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, width, kernel_size=1), nn.GroupNorm(1, width))
            for dim in channels
        )
        self.blocks = nn.ModuleList(_two_units(2 * width, width) for _ in channels[1:])
        self.narrow = nn.Conv2d(width, narrow, kernel_size=1)
        self.entry = nn.Sequential(*_unit(in_chans, narrow)) if input_skip else None
        self.last = _two_units(2 * narrow if input_skip else narrow, narrow)
        self.out = nn.Conv2d(narrow, out_channels, kernel_size=1)

    def forward(self, stages: Sequence[Tensor], x: Tensor) -> Tensor:
        """Decode the stages.

        Args:
            stages: one ``(B, channels, H', W')`` for each stage, the largest grid first.
            x: the network's input ``(B, in_chans, H, W)``; without ``input_skip`` only a grid.

        Returns:
            ``(B, out_channels, H, W)``, of any range: logits, or grey values.

        Raises:
            ValueError: stages or an input that the decoder was not built for.
        """
        self._check(stages, x)
        up: Tensor = self.laterals[-1](stages[-1])
        for index in reversed(range(len(stages) - 1)):
            skip: Tensor = self.laterals[index](stages[index])
            up = self.blocks[index](torch.cat([_resize(up, skip), skip], dim=1))
        # Narrowed before it grows: the same values as after it, for a fraction of the work.
        up = _resize(self.narrow(up), x)
        if self.entry is not None:
            up = torch.cat([up, self.entry(x)], dim=1)
        decoded: Tensor = self.out(self.last(up))
        return decoded

    def _check(self, stages: Sequence[Tensor], x: Tensor) -> None:
        shapes = [tuple(tensor.shape) for tensor in (*stages, x)]
        wanted = [(*x.shape[:1], dim) for dim in (*self.channels, self.in_chans)]
        if [shape[:2] for shape in shapes] != wanted or any(len(s) != 4 for s in shapes):
            need = f"{(*self.channels, self.in_chans)} channels, one batch and 2 axes"
            msg = f"stages and input need {need}; got {shapes}"
            raise ValueError(msg)


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        msg = f"{name} must be at least {least}, got {value}"
        raise ValueError(msg)


def _unit(dim: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(dim, width, kernel_size=3, padding=1), nn.GroupNorm(1, width), nn.GELU()]


def _two_units(dim: int, width: int) -> nn.Sequential:
    return nn.Sequential(*_unit(dim, width), *_unit(width, width))


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
