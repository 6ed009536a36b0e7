"""Layers of the 3D networks: token mixers, norms, MLP, layer scale and drop path.

Shapes: every layer takes and returns a batch ``(B, C, X, Y, Z)``; only mixers, norms and MLP
change values, none of them changes the grid.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.functional import conv2d, pad

Triple: TypeAlias = tuple[int, int, int]
PerAxis: TypeAlias = int | Sequence[int]
MixerName: TypeAlias = Literal["pool", "identity", "conv"]
BorderName: TypeAlias = Literal["zeros", "edge"]
Borders: TypeAlias = tuple[BorderName, BorderName, BorderName]
NormName: TypeAlias = Literal["group", "channel", "batch"]


def to_triple(value: PerAxis, name: str) -> Triple:
    """Give one whole number per axis, from one for all axes or three.

    Args:
        value: a number of at least 1, or three of them in the order X, Y, Z.
        name: the option's name, for the error.

    Raises:
        ValueError: not one or three whole numbers of at least 1.
    """
    numbers = tuple(value) if isinstance(value, Sequence) else (value, value, value)
    if len(numbers) != 3 or any(not isinstance(n, int) or n < 1 for n in numbers):
        msg = f"{name} takes a whole number of at least 1, or three for X, Y, Z; got {value!r}"
        raise ValueError(msg)
    return numbers[0], numbers[1], numbers[2]


def average_pool(x: Tensor, window: Triple) -> Tensor:
    """Average over a window at stride 1; at borders over the voxels that exist.

    Equal to ``AvgPool3d(window, 1, padding, count_include_pad=False)`` to rounding, and defined
    for grids smaller than the window too, down to one voxel.

    Args:
        x: ``(B, C, X, Y, Z)``, any floating type, left unchanged.
        window: odd extents in voxels along X, Y, Z.

    Returns:
        The averages, shaped as ``x``.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        pooled: Tensor = _AveragePool.apply(x, window)
        return pooled
    return window_sum(x, window) / window_counts(x, window)


class _AveragePool(torch.autograd.Function):
    """The average with a backward pass of its own: the window sum is its own adjoint.

    Left to autograd, each shifted copy would be padded to a whole grid again; so the backward
    pass takes what the forward pass takes.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, window: Triple) -> Tensor:
        ctx.window = window  # type: ignore[attr-defined]  # torch's way to keep what is no tensor
        return window_sum(x, window) / window_counts(x, window)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        window: Triple = ctx.window  # type: ignore[attr-defined]
        (gradient,) = gradients
        return window_sum(gradient / window_counts(gradient, window), window), None


def window_sum(x: Tensor, window: Triple) -> Tensor:
    """Sum over a window at stride 1, over the voxels that exist.

    Args:
        x: ``(B, C, X, Y, Z)``, left unchanged; its layout is kept.
        window: odd extents in voxels along X, Y, Z.
    """
    # One axis after the other, by sums of shifted copies: faster on a CPU than avg_pool3d, forward
    # and backward, and autocast does not lower its precision, as it would with a convolution or
    # a matrix product.
    for axis, extent in enumerate(window, start=2):
        size = x.shape[axis]
        total = x.clone()
        for shift in range(1, min(extent // 2, size - 1) + 1):
            kept = size - shift
            total.narrow(axis, shift, kept).add_(x.narrow(axis, 0, kept))
            total.narrow(axis, 0, kept).add_(x.narrow(axis, shift, kept))
        x = total
    return x


def window_counts(x: Tensor, window: Triple) -> Tensor:
    """Count the voxels that exist in each window, ``(X, Y, Z)``; ``x`` is as in ``window_sum``."""
    count = torch.ones((), dtype=x.dtype, device=x.device)
    for axis, extent in enumerate(window, start=2):
        count = count[..., None] * _counts_along(x.shape[axis], extent // 2, x)
    return count


def _counts_along(size: int, reach: int, like: Tensor) -> Tensor:
    index = torch.arange(size, device=like.device)
    last = (index + reach).clamp(max=size - 1)
    first = (index - reach).clamp(min=0)
    return (last - first + 1).to(like.dtype)


class PoolMixer(nn.Module):
    """Token mixer of PoolFormer: the local average minus the voxel itself.

    Source: Yu et al. 2022, "MetaFormer Is Actually What You Need for Vision", arXiv 2111.11418.

    Args:
        window: odd extents in voxels along X, Y, Z.

    Raises:
        ValueError: an even extent, which has no centre voxel.
    """

    def __init__(self, window: Triple = (3, 3, 3)) -> None:
        super().__init__()
        if any(extent % 2 == 0 for extent in window):
            msg = f"the pooling window takes odd extents, so that it has a centre; got {window}"
            raise ValueError(msg)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, X, Y, Z)`` to the same shape; zero on a 1x1x1 grid."""
        return average_pool(x, self.window) - x


class ConvMixer(nn.Module):
    """Token mixer with weights of its own: a depthwise 3x3x3 convolution.

    Args:
        dim: number of channels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(dim, dim, kernel_size=3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, X, Y, Z)`` to the same shape."""
        if x.device.type == "cpu" and torch.is_grad_enabled() and x.requires_grad:
            return _by_planes(x, self.conv)
        mixed: Tensor = self.conv(x)
        return mixed


def _by_planes(x: Tensor, conv: nn.Conv3d) -> Tensor:
    # A depthwise convolution as three of planes: on a CPU the backward pass of Conv3d with groups
    # is far slower than its forward pass, and that of Conv2d is not.
    planes = pad(x, (0, 0, 0, 0, 1, 1)).movedim(2, 1)
    batch, dim, extent = x.shape[:3]
    mixed = torch.zeros((), dtype=x.dtype)
    for place in range(3):
        shifted = planes[:, place : place + extent].flatten(0, 1)
        kernel, bias = conv.weight[:, :, place], conv.bias if place == 1 else None
        mixed = mixed + conv2d(shifted, kernel, bias, padding=1, groups=dim)
    return mixed.reshape(batch, extent, dim, *x.shape[3:]).movedim(1, 2).contiguous()


def make_mixer(name: MixerName, dim: int, window: Triple) -> nn.Module:
    """Build the token mixer ``name`` for ``dim`` channels; ``window`` is used by ``pool`` only.

    Raises:
        ValueError: an unknown name.
    """
    if name not in get_args(MixerName):
        msg = f"unknown mixer {name!r}; choose from {', '.join(get_args(MixerName))}"
        raise ValueError(msg)
    if name == "pool":
        return PoolMixer(window)
    return ConvMixer(dim) if name == "conv" else nn.Identity()


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of each voxel, for channels-first tensors.

    Args:
        dim: number of channels.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(B, C, X, Y, Z)`` to the same shape."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


def make_norm(name: NormName, dim: int) -> nn.Module:
    """Build a norm for ``dim`` channels.

    Args:
        name: ``group`` (GroupNorm with one group, as published), ``channel`` (layer norm over the
            channels of each voxel) or ``batch`` (BatchNorm).
        dim: number of channels.

    Raises:
        ValueError: an unknown name.
    """
    if name not in get_args(NormName):
        msg = f"unknown norm {name!r}; choose from {', '.join(get_args(NormName))}"
        raise ValueError(msg)
    if name == "group":
        return nn.GroupNorm(1, dim)
    return ChannelLayerNorm(dim) if name == "channel" else nn.BatchNorm3d(dim)


class Mlp(nn.Module):
    """Two 1x1x1 convolutions with a GELU between them and dropout after each.

    Args:
        dim: number of channels in and out.
        hidden: number of channels between.
        dropout: probability of dropping a value, in [0, 1).
    """

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Conv3d(dim, hidden, kernel_size=1)
        self.act = nn.GELU()
        self.fc2 = nn.Conv3d(hidden, dim, kernel_size=1)
        self.drop = nn.Dropout(dropout)
        init_dense(self.fc1)
        init_dense(self.fc2)

    @property
    def drops(self) -> bool:
        """Whether values are dropped now."""
        return self.training and self.drop.p > 0

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, X, Y, Z)`` to the same shape, each voxel on its own."""
        hidden = self.drop(self.act(pointwise(self.fc1, x)))
        mapped: Tensor = self.drop(pointwise(self.fc2, hidden))
        return mapped


def pointwise(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """Apply a 1x1x1 convolution as the matrix product that it is.

    The weights stay those of a convolution, as published; on a CPU the product is faster, forward
    and backward, on the large grids of the first stages.

    Args:
        conv: kernel and stride 1, one group, with a bias.
        x: ``(B, in, X, Y, Z)``, left unchanged.

    Returns:
        ``(B, out, X, Y, Z)``, equal to ``conv(x)`` to rounding.
    """
    assert conv.bias is not None
    weight = conv.weight.flatten(1).expand(x.shape[0], -1, -1)
    mapped = torch.baddbmm(conv.bias[None, :, None], weight, x.flatten(2))
    return mapped.reshape(x.shape[0], -1, *x.shape[2:])


class LayerScale(nn.Module):
    """Learned factor for each channel, starting near zero so that deep networks start shallow.

    Source: Touvron et al. 2021, "Going deeper with Image Transformers", arXiv 2103.17239.

    Args:
        dim: number of channels.
        init: first value of every factor.
    """

    def __init__(self, dim: int, init: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((dim,), init))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, X, Y, Z)`` to the same shape."""
        return x * self.scale.view(-1, 1, 1, 1)


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a whole branch for a random part of the batch.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth", arXiv 1603.09382.

    Args:
        rate: probability of dropping, in [0, 1); kept samples are scaled up by 1 / (1 - rate).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, ...)`` to the same shape; the identity in evaluation or at rate 0."""
        if not self.training or self.rate == 0:
            return x
        return x * self.factors(x).view(-1, *(1,) * (x.dim() - 1))

    def factors(self, x: Tensor) -> Tensor:
        """Draw what is left of each sample's branch, ``(B, 1)``: ones where nothing is dropped."""
        if not self.training or self.rate == 0:
            return x.new_ones((x.shape[0], 1))
        keep = 1 - self.rate
        return x.new_empty((x.shape[0], 1)).bernoulli_(keep) / keep


def init_dense(layer: nn.Conv3d | nn.Linear) -> None:
    """Draw the weight from a truncated normal of std 0.02 and set the bias to zero."""
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
