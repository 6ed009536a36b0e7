"""Matrix products on a CPU, by the library that is faster there.

torch multiplies float32 by MKL, which on CPUs of other makers leaves half of AVX-512 unused;
oneDNN, which does torch's convolutions, uses it everywhere. The operator is the one that torch's
own compiler makes linear layers of. It has no gradient of its own.
"""

from functools import cache

import torch
from torch import Tensor


@cache
def _has_onednn() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch._C._has_mkldnn


def _by_onednn(x: Tensor) -> bool:
    return x.dtype == torch.float32 and _has_onednn() and torch._C._get_mkldnn_enabled()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give ``x @ weight.T + bias``, equal to rounding whichever library does it.

    Args:
        x: ``(rows, in)``.
        weight: ``(out, in)``, in memory in any order.
        bias: ``(out)``, or none.
    """
    if _by_onednn(x):
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
    if not _by_onednn(rows):
        total.addmm_(columns.T, rows)
    elif columns.shape[1] <= rows.shape[1]:
        total.add_(linear(columns.T, rows.T))
    else:
        # The library is faster where the first factor is the smaller one.
        total.add_(linear(rows.T, columns.T).T)
