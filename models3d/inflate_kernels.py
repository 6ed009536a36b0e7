"""2D convolution kernels as 3D ones: pure functions of tensors."""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

InflationMode: TypeAlias = Literal["centre", "mean"]

_BELONG_TOGETHER = "mean and std belong together: give both, or none of them for raw input"


def inflate_kernel(
    kernel: Tensor, extent: int, mode: InflationMode = "centre", axis: int = 2
) -> Tensor:
    """Extend a 2D kernel along one axis of a volume, so that its sum along that axis stays.

    A volume that is constant along the axis gives, where the 3D kernel lies inside of it, what
    its slices give to the 2D kernel.

    Source: Carreira & Zisserman 2017, "Quo Vadis, Action Recognition?", arXiv 1705.07750, for
    ``mean``; ``centre`` starts from a network that looks at each slice alone.

    Args:
        kernel: ``(out, in, rows, columns)``, left unchanged.
        extent: taps along the new axis.
        mode: ``centre`` puts the kernel into the middle tap and zeros elsewhere, ``mean`` an
            equal share of it into each tap.
        axis: the new axis, 0, 1 or 2 for X, Y, Z; rows and columns go to the two others, in
            their order.

    Returns:
        ``(out, in, kx, ky, kz)`` with ``extent`` taps along the axis, of the kernel's type.

    Raises:
        ValueError: not a 2D kernel, an unknown mode or axis, or an extent without a middle tap
            where one is needed.
    """
    check_mode_and_axis(mode, axis)
    if kernel.dim() != 4:
        msg = f"a 2D kernel has four dimensions (out, in, rows, columns), got {tuple(kernel.shape)}"
        raise ValueError(msg)
    if extent < 1:
        msg = f"the extent of a kernel must be at least 1, got {extent}"
        raise ValueError(msg)
    if mode == "centre" and extent % 2 == 0:
        msg = f"{extent} taps have no middle one: choose an odd extent or the mode 'mean'"
        raise ValueError(msg)
    taps = kernel.new_full((extent,), 1 / extent if mode == "mean" else 0)
    if mode == "centre":
        taps[extent // 2] = 1
    shape = [1] * 5
    shape[2 + axis] = extent
    return kernel.unsqueeze(2 + axis) * taps.view(shape)


def check_mode_and_axis(mode: InflationMode, axis: int) -> None:
    """Refuse an unknown mode or axis.

    Raises:
        ValueError: a mode other than those of ``InflationMode``, an axis other than 0, 1, 2.
    """
    if mode not in get_args(InflationMode):
        msg = f"unknown mode {mode!r}; choose from {', '.join(get_args(InflationMode))}"
        raise ValueError(msg)
    if axis not in (0, 1, 2):
        msg = f"axis must be 0, 1 or 2 for X, Y or Z, got {axis!r}"
        raise ValueError(msg)


def fold_input(
    kernel: Tensor, in_chans: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    """Make a first convolution take other input: raw values, and one channel for several.

    Args:
        kernel: ``(out, in, rows, columns)``, left unchanged.
        in_chans: channels that the new kernel takes: 1, for which the channels are summed, as if
            each saw the same image; or as many as the kernel has.
        mean: what was subtracted from each channel of the input that the kernel knows; ``None``
            together with ``std`` where its input is the raw one.
        std: by what it was divided after that, above 0.

    Returns:
        The kernel in double precision on the CPU, and the constant ``(out,)`` to add to what it
        gives. Together they equal the old one inside the image, but not at a border padded with
        zeros: zero was the mean there and is black now.

    Raises:
        ValueError: only one of ``mean`` and ``std``, not one number for each channel, or a
            number that none can be divided by.
    """
    kernel = kernel.detach().to("cpu", torch.float64)
    shift, scale = _checked_normalisation(kernel.shape[1], mean, std)
    kernel = kernel / scale.view(1, -1, 1, 1)
    constant = -(kernel * shift.view(1, -1, 1, 1)).sum((1, 2, 3))
    if in_chans == 1:
        kernel = kernel.sum(1, keepdim=True)
    return kernel, constant


def read_normalisation(
    kernel: Tensor,
    offset: Tensor | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[Tensor | None, tuple[str, ...]]:
    """Tell whether weights do without the normalisation of the input that a caller knows.

    Args:
        kernel: of the first convolution, ``(out, in, rows, columns)``.
        offset: what a network of this project adds to it for its own normalisation, a kernel
            ``(out, 1, rows, columns)`` for an image of ones; ``None`` for none.
        mean: as for ``fold_input``.
        std: as for ``fold_input``.

    Returns:
        The constant ``(out,)`` that the offset is away from the border, and why ``mean`` and
        ``std`` are to be ignored; nothing where they are not.

    Raises:
        ValueError: an offset that does not belong to the kernel, or only one of ``mean`` and
            ``std``.
    """
    if (mean is None) != (std is None):
        raise ValueError(_BELONG_TOGETHER)
    if offset is not None:
        if tuple(offset.shape) != (kernel.shape[0], 1, *kernel.shape[2:]):
            msg = (
                f"the offset of the first convolution is {tuple(offset.shape)}, which does not "
                f"belong to a kernel of {tuple(kernel.shape)}; the file is damaged, save it again"
            )
            raise ValueError(msg)
        constant = offset.detach().to("cpu", torch.float64).sum((1, 2, 3))
        remark = "the weights hold their own normalisation of the input (offset), which was kept"
        return constant, (remark,)
    if kernel.shape[1] == 1 and mean is not None and len(mean) > 1:
        return None, (
            f"the weights are for one channel, so the normalisation of {len(mean)} colours was "
            "ignored: they take the input as it is",
        )
    return None, ()


def _checked_normalisation(
    channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    if (mean is None) != (std is None):
        raise ValueError(_BELONG_TOGETHER)
    means = [0.0] * channels if mean is None else list(mean)
    stds = [1.0] * channels if std is None else list(std)
    if len(means) != channels or len(stds) != channels:
        msg = (
            f"mean and std need one number for each of {channels} channel(s) of the weights, "
            f"got {means} and {stds}"
        )
        raise ValueError(msg)
    shift, scale = (torch.tensor(numbers, dtype=torch.float64) for numbers in (means, stds))
    if not shift.isfinite().all() or not scale.isfinite().all() or scale.min() <= 0:
        msg = f"mean must be finite and std above 0, got {means} and {stds}"
        raise ValueError(msg)
    return shift, scale
