"""MONAI's plain 3D U-Net, for volumes of any size.

MONAI is imported where a network is built; importing this module needs torch only.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

_LEVELS = 5
_SMALLEST = 2 ** (_LEVELS - 1)  # voxels an axis that leave one on the lowest level


class UNet3d(nn.Module):
    """A U-Net of MONAI that takes volumes of any size; build it with ``unet3d``.

    MONAI's network takes axes of 16 voxels and more, odd ones too. Shorter axes are made as long
    by repeating their last voxel, and the result is cut back. On a GPU the backward pass is not
    deterministic where an axis is no multiple of 16.

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
        """Map ``(B, in_chans, X, Y, Z)`` to ``(B, out_channels, X, Y, Z)`` of any range.

        Args:
            x: volumes of at least one voxel; left unchanged.

        Raises:
            ValueError: not such a batch.
        """
        if x.dim() != 5 or x.shape[1] != self.in_chans or x.numel() == 0:
            msg = f"expected a batch (B, {self.in_chans}, X, Y, Z), got {tuple(x.shape)}"
            raise ValueError(msg)
        size = x.shape[2:]
        short = [max(0, _SMALLEST - n) for n in size]
        if any(short):
            # The last axis first, and on each nothing before its first voxel.
            borders = [width for n in reversed(short) for width in (0, n)]
            x = functional.pad(x, borders, mode="replicate")
        decoded: Tensor = self.network(x)
        return decoded[..., : size[0], : size[1], : size[2]]


def unet3d(
    in_chans: int = 1,
    out_channels: int = 2,
    widths: Sequence[int] = (32, 64, 128, 256, 512),
    *,
    dropout: float = 0.0,
) -> UNet3d:
    """Build MONAI's ``BasicUNet`` with five levels and fresh weights.

    Two 3x3x3 convolutions on each level, max pooling down, transposed convolutions up. The norms
    are GroupNorm with one group in place of MONAI's instance norm, which cannot be trained where
    the lowest level has a single voxel.

    Sources: Çiçek et al. 2016, "3D U-Net", arXiv 1606.06650; Falk et al. 2019, "U-Net: deep
    learning for cell counting, detection, and morphometry", doi 10.1038/s41592-018-0261-2.

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
        spatial_dims=3,
        in_channels=in_chans,
        out_channels=out_channels,
        features=(*widths, widths[0]),
        norm=("group", {"num_groups": 1}),
        dropout=dropout,
    )
    return UNet3d(original, in_chans, out_channels)


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
