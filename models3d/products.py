"""Matrix products on a CPU, by the library that is faster there; and where oneDNN is fast.

torch multiplies float32 by MKL, which on CPUs of other makers leaves half of AVX-512 unused;
oneDNN, which does torch's convolutions, uses it everywhere. The operator is the one that torch's
own compiler makes linear layers of. Measured on AMD's CPUs; it is taken on all with AVX-512.
"""

from functools import cache

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

#: Columns below which turning the factors, as oneDNN wants them here, costs more than is gained.
_NARROW = 32


def has_fast_onednn() -> bool:
    """Whether oneDNN is the faster library here, and nobody has switched it off."""
    return _has_onednn() and torch._C._get_mkldnn_enabled()


@cache
def _has_onednn() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch._C._has_mkldnn


def _by_onednn(*factors: Tensor) -> bool:
    plain = all(each.dtype == torch.float32 and each.device.type == "cpu" for each in factors)
    # It takes no empty batch.
    return plain and all(each.numel() for each in factors) and has_fast_onednn()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give ``x @ weight.T + bias``, equal to rounding whichever library does it.

    It can be differentiated once.

    Args:
        x: ``(rows, in)``.
        weight: ``(out, in)``, in memory in any order.
        bias: ``(out)``, or none.
    """
    factors = (x, weight) if bias is None else (x, weight, bias)
    if not _by_onednn(*factors):
        return x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)
    # The operator has no gradient, and would leave it out in silence.
    recorded = torch.is_grad_enabled() and any(each.requires_grad for each in factors)
    product: Tensor = _Linear.apply(x, weight, bias) if recorded else _product(x, weight, bias)
    return product


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if bias is not None:
        bias = bias.contiguous()  # its strides would not be looked at
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class _Linear(torch.autograd.Function):
    """oneDNN's product with the gradients that it has not, which are products of its own."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Give ``x @ weight.T + bias``."""
        for_x, for_weight, _ = ctx.needs_input_grad  # type: ignore[attr-defined]  # torch sets it
        kept = x if for_weight else None, weight if for_x else None
        ctx.save_for_backward(*kept)  # type: ignore[arg-type]  # none may be kept, too
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of x, weight and bias."""
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]  # torch sets it
        for_bias = ctx.needs_input_grad[2]  # type: ignore[attr-defined]  # torch sets it
        return (
            None if weight is None else linear(gradient, weight.T),
            None if x is None else outer(gradient, x),
            gradient.sum(0) if for_bias else None,
        )


def outer(columns: Tensor, rows: Tensor) -> Tensor:
    """Give ``columns.T @ rows``: over samples, the gradient of a linear layer's weight.

    Args:
        columns: ``(samples, out)``.
        rows: ``(samples, in)``.

    Returns:
        ``(out, in)``, in memory in any order.
    """
    if not _outer_by_onednn(columns, rows):
        return columns.T @ rows
    # The library is faster where the first factor is the smaller one.
    if columns.shape[1] <= rows.shape[1]:
        return linear(columns.T, rows.T)
    return linear(rows.T, columns.T).T


def add_outer_(total: Tensor, columns: Tensor, rows: Tensor) -> None:
    """Add ``columns.T @ rows`` to ``total``.

    Args:
        total: ``(out, in)``, changed in place.
        columns: ``(samples, out)``.
        rows: ``(samples, in)``.
    """
    if _outer_by_onednn(columns, rows):
        total.add_(outer(columns, rows))
    else:
        total.addmm_(columns.T, rows)


def _outer_by_onednn(columns: Tensor, rows: Tensor) -> bool:
    wide = min(columns.shape[1], rows.shape[1]) >= _NARROW
    return wide and _by_onednn(columns, rows)
