"""Batch norms that gradient checkpointing runs twice, and that shall count a batch once."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


class RecomputeGuard:
    """Keeps the running averages of batch norms still while activations are computed again.

    Checkpointing runs parts of a network a second time in the backward pass, which would update
    the averages a second time. Every run outside ``first_pass`` counts as such a run here, where
    a momentum of 0 keeps the averages and, other than switching the tracking off, saves the same
    tensors for the backward pass.

    Args:
        network: whose batch norms to guard.
    """

    def __init__(self, network: nn.Module) -> None:
        self._first_pass = False
        self._kept: dict[nn.Module, tuple[float | None, Tensor]] = {}
        self._handles = []
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked is not None:
                self._handles.append(module.register_forward_pre_hook(self._before))
                # A recomputation may be ended by an exception inside the norm.
                self._handles.append(module.register_forward_hook(self._after, always_call=True))

    @contextmanager
    def first_pass(self) -> Iterator[None]:
        """Mark the passes whose batches count."""
        self._first_pass = True
        try:
            yield
        finally:
            self._first_pass = False

    def remove(self) -> None:
        """Take the guard off the network."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _before(self, module: nn.Module, inputs: object) -> None:
        if self._first_pass or not isinstance(module, nn.BatchNorm2d):
            return
        assert module.num_batches_tracked is not None
        self._kept[module] = (module.momentum, module.num_batches_tracked.clone())
        module.momentum = 0.0

    def _after(self, module: nn.Module, inputs: object, output: object) -> None:
        if module not in self._kept or not isinstance(module, nn.BatchNorm2d):
            return
        module.momentum, count = self._kept.pop(module)
        assert module.num_batches_tracked is not None
        module.num_batches_tracked.copy_(count)
