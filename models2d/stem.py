"""The first convolution: for small slices, for other channels than RGB, for normalised input."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RGB = 3


class FoldedConv2d(nn.Conv2d):
    """A convolution that normalises its input, exactly, borders included.

    Published weights expect ``(x - mean) / std`` with zero padding around it. Folding the mean
    into a bias would be wrong at the borders, where a part of the kernel lies on padding; the
    constant is therefore a kernel itself, ``offset``, convolved with an image of ones that is
    padded alike. Until weights that need it are loaded it is zero.

    Args:
        conv: the convolution to replace; its parameters are taken over.

    Attributes:
        offset: ``(out_channels, 1, kernel rows, kernel columns)``, a buffer, not trained.
    """

    offset: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            _pair(conv.kernel_size),
            _pair(conv.stride),
            conv.padding if isinstance(conv.padding, str) else _pair(conv.padding),
            _pair(conv.dilation),
            bias=conv.bias is not None,
            device="meta",  # no random numbers are drawn for parameters that are replaced here
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.register_buffer("offset", torch.zeros_like(conv.weight[:, :1]).detach())

    def forward(self, input: Tensor) -> Tensor:
        """Convolve ``(B, in_channels, H, W)`` and add what the normalisation subtracts."""
        ones = input.new_ones(1, 1, *input.shape[2:])
        constant = F.conv2d(ones, self.offset, None, self.stride, self.padding, self.dilation)
        return super().forward(input) + constant


def _pair(numbers: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = numbers
    return (rows, columns)


def find_first_conv(network: nn.Module, declared: object) -> str:
    """Find the name of the convolution that reads the image.

    Args:
        network: a network of timm.
        declared: what timm names as the first convolution; options may have put a deep stem in
            its place, whose first convolution counts then. Empty where timm names none.

    Returns:
        The name, empty where there is no single such convolution.
    """
    if not isinstance(declared, str) or not declared:
        return ""
    parts = dict(network.named_modules())
    while declared not in parts:
        declared = declared.rpartition(".")[0]
    convs = [name for name, part in parts[declared].named_modules() if isinstance(part, nn.Conv2d)]
    return f"{declared}.{convs[0]}".rstrip(".") if declared and convs else ""


def fold_input(network: nn.Module, first_conv: str) -> None:
    """Replace the first convolution by one that can hold the normalisation of the input.

    Raises:
        ValueError: a network without a single, plain first convolution.
    """
    conv = network.get_submodule(first_conv) if first_conv else None
    if type(conv) is not nn.Conv2d or conv.groups != 1 or conv.padding_mode != "zeros":
        msg = (
            "the normalisation of the input can be folded into a plain first convolution only, "
            "and this network has none; build it without `normalised` and normalise the input"
        )
        raise ValueError(msg)
    network.set_submodule(first_conv, FoldedConv2d(conv))


def make_small_stem(network: nn.Module, first_conv: str) -> None:
    """Let a ResNet of timm keep all pixels up to its first stage.

    The first convolution becomes 3x3 with stride 1, initialised as timm's, and the pooling after
    it goes: a 28x28 slice reaches the first stage with 28x28 pixels. This is the stem of the
    networks for CIFAR.

    Source: He et al. 2016, "Deep Residual Learning for Image Recognition", arXiv 1512.03385,
    section 4.2.
    """
    old = network.get_submodule(first_conv)
    assert isinstance(old, nn.Conv2d)
    new = nn.Conv2d(
        old.in_channels,
        old.out_channels,
        3,
        padding=1,
        bias=False,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    network.set_submodule(first_conv, new)
    network.set_submodule("maxpool", nn.Identity())


def spread_kernel(kernel: Tensor, in_chans: int) -> Tensor:
    """Fit a kernel for three channels to another number of them.

    A stack of equal channels gives the response that the three equal channels gave. Below three,
    each channel takes an equal part of the sum; above, channel i takes the kernel of colour
    ``i mod 3``, divided by the number of channels that take it.

    Args:
        kernel: ``(out, 3, rows, columns)``.
        in_chans: number of channels, 1 or more.

    Returns:
        ``(out, in_chans, rows, columns)``.
    """
    if in_chans == RGB:
        return kernel
    if in_chans < RGB:
        total = kernel.sum(1, keepdim=True) / in_chans
        return total.expand(-1, in_chans, -1, -1).clone()
    colour = torch.arange(in_chans, device="cpu") % RGB
    takers = torch.bincount(colour)[colour].to(kernel)
    return kernel[:, colour] / takers[:, None, None]


def fold_kernel(
    kernel: Tensor, in_chans: int, mean: Sequence[float], std: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Fold ``(x - mean) / std`` into a kernel for three channels.

    Args:
        kernel: ``(out, 3, rows, columns)``, for normalised input.
        in_chans: number of channels, 1 or more; see ``spread_kernel``.
        mean: of each colour, for input in 0..1.
        std: of each colour.

    Returns:
        A kernel ``(out, in_chans, rows, columns)`` for input in 0..1, and the ``offset`` of
        ``FoldedConv2d`` that belongs to it.
    """
    scaled = kernel / kernel.new_tensor(std)[:, None, None]
    offset = -(scaled * kernel.new_tensor(mean)[:, None, None]).sum(1, keepdim=True)
    return spread_kernel(scaled, in_chans), offset
