"""MONAI's plain 2D U-Net, for images of any size.

MONAI is imported where a network is built; importing this module does not need it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

_LEVELS = 5
_SMALLEST = 2 ** (_LEVELS - 1)  # pixels a side that leave one on the lowest level


class UNet2d(nn.Module):
    """A U-Net of MONAI that takes images of any size; build it with ``unet2d``.

    MONAI's network takes sides of 16 pixels and more, odd ones too. Shorter sides are made as long
    by repeating their last pixel, and the result is cut back. On a GPU the backward pass is not
    deterministic where a side is no multiple of 16.

    Args:
        network: the U-Net of MONAI.
        in_chans: channels of the input.
        out_channels: channels of the result.
    """

    if TYPE_CHECKING:
        # Without this, nn.Module types the call as Any.
        def __call__(self, x: Tensor) -> Tensor:
            """Call ``forward``."""

    def __init__(self, network: nn.Module, in_chans: int, out_channels: int) -> None:
        super().__init__()
        self.network = network
        self.in_chans = in_chans
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_chans, H, W)`` to ``(B, out_channels, H, W)`` of any range.

        Args:
            x: images of at least one pixel; left unchanged.

        Raises:
            ValueError: not such a batch.
        """
        if x.dim() != 4 or x.shape[1] != self.in_chans or x.numel() == 0:
            msg = f"expected a batch (B, {self.in_chans}, H, W), got {tuple(x.shape)}"
            raise ValueError(msg)
        size = x.shape[2:]
        short = [max(0, _SMALLEST - n) for n in size]
        if any(short):
            # The last axis first, and on each nothing before its first pixel.
            borders = [width for n in reversed(short) for width in (0, n)]
            x = functional.pad(x, borders, mode="replicate")
        decoded: Tensor = self.network(x)
        return decoded[..., : size[0], : size[1]]


def unet2d(
    in_chans: int = 3,
    out_channels: int = 3,
    widths: Sequence[int] = (64, 128, 256, 512, 1024),
    *,
    dropout: float = 0.0,
) -> UNet2d:
    """Build MONAI's ``BasicUNet`` with five levels and fresh weights.

    Two 3x3 convolutions on each level, max pooling down, transposed convolutions up. The norms
    are GroupNorm with one group in place of MONAI's instance norm, which cannot be trained where
    the lowest level has a single pixel.

    Sources: Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", arXiv 1505.04597; Falk et al. 2019, "U-Net: deep learning for cell counting,
    detection, and morphometry", doi 10.1038/s41592-018-0261-2.

    Args:
        in_chans: channels of the input.
        out_channels: channels of the result: logits of classes, or grey values.
        widths: channels of the five levels, the finest first, at least 2 each.
        dropout: probability of dropping a value after each convolution, in [0, 1).

    Raises:
        ValueError: an option out of its range.
    """
    from monai.networks.nets import BasicUNet

    _check_options(in_chans, out_channels, widths, dropout)
    original: nn.Module = BasicUNet(
        spatial_dims=2,
        in_channels=in_chans,
        out_channels=out_channels,
        features=(*widths, widths[0]),
        norm=("group", {"num_groups": 1}),
        dropout=dropout,
    )
    return UNet2d(original, in_chans, out_channels)


def _check_options(in_chans: int, out_channels: int, widths: Sequence[int], dropout: float) -> None:
    for name, value in (("in_chans", in_chans), ("out_channels", out_channels)):
        if value < 1:
            msg = f"{name} must be at least 1, got {value}"
            raise ValueError(msg)
    if len(widths) != _LEVELS or min(widths) < 2:
        msg = f"widths needs {_LEVELS} numbers of at least 2, got {tuple(widths)}"
        raise ValueError(msg)
    if not 0 <= dropout < 1:
        msg = f"dropout must be at least 0 and below 1, got {dropout}"
        raise ValueError(msg)
