"""Peak memory of a training step on a CPU."""

from __future__ import annotations

from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from .training_step import training_step


def step_memory(network: nn.Module, images: Tensor) -> int:
    """Most bytes of tensors that a forward and backward pass holds at once, beyond the weights.

    Gradients of the weights count, what was allocated before does not.

    Args:
        network: In training; its gradients are dropped.
        images: Shape (B, C, X, Y, Z).
    """
    network.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        training_step(network, images)
    results = record.profiler.kineto_results if record.profiler is not None else None
    assert results is not None
    held = most = 0
    for event in sorted(results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most
