"""Whether a call is computed or written down."""

import torch


def records_operators() -> bool:
    """Whether operators are recorded now, for an exported, traced or compiled network.

    Such a network is made of plain layers, which other programs know.
    """
    traced: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return traced or torch.compiler.is_compiling()
