"""Matrix products on a CPU, by the library that is faster there; and where oneDNN is fast.

torch multiplies float32 by MKL, which on CPUs of other makers leaves half of AVX-512 unused;
oneDNN, which does torch's convolutions, uses it everywhere. The operator is the one that torch's
own compiler makes linear layers of. Measured on AMD's CPUs; it is taken on all with AVX-512.
"""

from functools import cache

import torch
from torch import Tensor

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
    # The operator has no gradient, and would leave it out in silence.
    recorded = torch.is_grad_enabled() and any(each.requires_grad for each in factors)
    return plain and not recorded and has_fast_onednn()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give ``x @ weight.T + bias``, equal to rounding whichever library does it.

    Args:
        x: ``(rows, in)``.
        weight: ``(out, in)``, in memory in any order.
        bias: ``(out)``, or none.
    """
    if _by_onednn(x, weight, *(() if bias is None else (bias,))):
        if bias is not None:
            bias = bias.contiguous()  # its strides would not be looked at
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product
    return x @ weight.T if bias is None else torch.addmm(bias, x, weight.T)


def add_outer_(total: Tensor, columns: Tensor, rows: Tensor) -> None:
    """Add ``columns.T @ rows`` to ``total``: over samples, the gradient of a linear layer's weight.

    Args:
        total: ``(out, in)``, changed in place.
        columns: ``(samples, out)``.
        rows: ``(samples, in)``.
    """
    narrow = min(columns.shape[1], rows.shape[1]) < _NARROW
    if narrow or not _by_onednn(columns, rows):
        total.addmm_(columns.T, rows)
    elif columns.shape[1] <= rows.shape[1]:
        total.add_(linear(columns.T, rows.T))
    else:
        # The library is faster where the first factor is the smaller one.
        total.add_(linear(rows.T, columns.T).T)
