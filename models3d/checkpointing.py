"""Gradient checkpointing that leaves the statistics of batch norms as one pass would."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpointed(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Run modules in a row, and again in the backward pass instead of keeping their values.

    Args:
        modules: what to run; only ``x`` is kept for them.
        x: the input of the first.

    Returns:
        The output of the last, the same bits as without checkpointing.
    """

    def run(x: Tensor) -> Tensor:
        for module in modules:
            x = module(x)
        return x

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _frozen_statistics(modules)

    result: Tensor = checkpoint(run, x, use_reentrant=False, context_fn=contexts)
    return result


@contextmanager
def _frozen_statistics(modules: Sequence[nn.Module]) -> Iterator[None]:
    # Checkpointing runs the modules a second time; without this, that run would also update the
    # running averages of batch norms a second time. A momentum of 0 keeps the averages and, other
    # than switching the tracking off, saves the same tensors for backward as the first run.
    inner = [part for module in modules for part in module.modules()]
    norms = [part for part in inner if isinstance(part, nn.BatchNorm3d)]
    before = [(norm.momentum, _batches_seen(norm).clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            _batches_seen(norm).copy_(count)


def _batches_seen(norm: nn.BatchNorm3d) -> Tensor:
    # Only batch norms that track nothing have no count; the project builds none of them.
    assert norm.num_batches_tracked is not None
    return norm.num_batches_tracked
