"""Networks as skeletons: names and shapes without numbers, for what needs no more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

#: What fresh weights are filled with, one after the other, in place.
_FILLS: frozenset[Callable[..., object]] = frozenset(
    {
        Tensor.normal_,
        Tensor.uniform_,
        Tensor.fill_,
        Tensor.zero_,
        Tensor.erfinv_,
        Tensor.mul_,
        Tensor.add_,
        Tensor.clamp_,
    }
)


@contextmanager
def without_numbers() -> Iterator[None]:
    """Build networks on the meta device, in half the time that ``torch.device("meta")`` takes.

    PyTorch works out in Python what a filled tensor of no numbers looks like: as before. Weights
    that are on another device are filled as ever.
    """
    with torch.device("meta"), _Unfilled():
        yield


class ShapesOnly(TorchFunctionMode):
    """Passes an image by the norms of a network in eval mode, which change no shape."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Call a function of torch, or pass it by."""
        if func is functional.batch_norm:
            return args[0]
        return func(*args, **(kwargs or {}))


class _Unfilled(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func in _FILLS and isinstance(args[0], Tensor) and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))
