"""Optimizer groups, the learning rate as a function of the step, and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .parts import factors


def parameter_groups(
    module: nn.Module, weight_decay: float, layer_decay: float = 1.0
) -> list[dict[str, object]]:
    """Matrices and kernels with weight decay; norms, biases and scales without.

    Args:
        module: A network, or a task around one.
        weight_decay: Of matrices and kernels.
        layer_decay: Factor of the learning rate from each part of the network to the one before
            it; below 1 each part has groups of its own, with their `factor`.
    """
    if layer_decay == 1.0:
        return _by_dimensions([p for p in module.parameters() if p.requires_grad], weight_decay)
    trained: dict[float, list[nn.Parameter]] = {}
    share = factors(module, layer_decay)
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            trained.setdefault(share[name], []).append(parameter)
    return [
        {**group, "factor": factor}
        for factor, parameters in sorted(trained.items())
        for group in _by_dimensions(parameters, weight_decay)
    ]


def _by_dimensions(trained: list[nn.Parameter], weight_decay: float) -> list[dict[str, object]]:
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up to `peak`, then a half cosine down to 0 (Loshchilov and Hutter 2017).

    Args:
        step: Counted from 0.
        steps: Steps of the whole training.
        peak: Largest learning rate.
        warmup: Part of all steps that the rise takes, 0 to 1.
    """
    rising = round(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    progress = (step - rising) / max(steps - rising, 1)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))


class AveragedWeights:
    """Exponential moving average of a network's weights and buffers.

    The decay rises with the updates, min(decay, (1 + n) / (10 + n)), so that a short training is
    not held back by its random start.

    Args:
        network: The network to follow.
        decay: Largest decay; 0 makes the average the network itself.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.updates = 0
        self.tensors = {name: tensor.detach().clone() for name, tensor in _state(network)}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Moves the average towards the network; whole numbers are copied."""
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, tensor in _state(network):
            average = self.tensors[name]
            if tensor.is_floating_point():
                average.lerp_(tensor, 1.0 - decay)
            else:
                average.copy_(tensor)

    @contextmanager
    def in_place_of(self, network: nn.Module) -> Iterator[None]:
        """Gives the network the averaged weights within the block, and its own after it."""
        own = {name: tensor.detach().clone() for name, tensor in _state(network)}
        network.load_state_dict(self.tensors)
        try:
            yield
        finally:
            network.load_state_dict(own)

    def load(self, tensors: dict[str, Tensor], updates: int) -> None:
        """Takes over an average from a checkpoint, exactly."""
        self.updates = updates
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])


def _state(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.state_dict().items()
