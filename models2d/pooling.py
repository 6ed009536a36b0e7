"""Pools over slices: the vectors of a volume's slices become one vector of the volume.

Shapes: tokens are ``(B, S, D)``, one vector for each of S slices. Every pool but ``max`` gives a
weighted mean of what it holds of each slice, so that a linear classifier of the pooled vector is
the same weighted mean of its answers to the slices.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor, nn

PoolName: TypeAlias = Literal["mean", "max", "attention", "gru", "transformer"]

# Small on purpose: there are some hundred volumes to learn from.
_HIDDEN = 128
_WIDTH = 256
_LAYERS = 2
_HEADS = 4


class PooledSlices(NamedTuple):
    """What a pool makes of the slices of a batch.

    Attributes:
        features: the pooled vectors, ``(B, F)``.
        states: what the pool holds of each slice, ``(B, S, F)``.
        weights: the part of each slice in its volume, ``(B, S)``, at least 0, with the sum 1.
    """

    features: Tensor
    states: Tensor
    weights: Tensor


class SlicePool(nn.Module, ABC):
    """A pool over slices.

    Attributes:
        ordered: whether the order of the slices counts.
        num_features: length F of the pooled vector.
    """

    ordered: ClassVar[bool] = False
    num_features: int

    if TYPE_CHECKING:
        # Without this, nn.Module types the call as Any.
        def __call__(self, tokens: Tensor, lengths: Sequence[int]) -> PooledSlices:
            """Call ``forward``."""

    @abstractmethod
    def forward(self, tokens: Tensor, lengths: Sequence[int]) -> PooledSlices:
        """Pool the slices.

        Args:
            tokens: ``(B, S, D)``, at least one slice; left unchanged.
            lengths: slices of each plane, one plane after the other, S in all; only ordered
                pools read them.
        """


class MeanPool(SlicePool):
    """Mean over slices.

    Args:
        dim: length D of a slice's vector.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_features = dim

    def forward(self, tokens: Tensor, lengths: Sequence[int]) -> PooledSlices:
        """Pool the slices; see ``SlicePool.forward``."""
        return _mean(tokens)


class MaxPool(SlicePool):
    """Largest value of each feature over slices.

    A slice weighs the share of the features that it wins; of equal values one slice wins.

    Args:
        dim: length D of a slice's vector.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_features = dim

    def forward(self, tokens: Tensor, lengths: Sequence[int]) -> PooledSlices:
        """Pool the slices; see ``SlicePool.forward``."""
        features, winners = tokens.max(dim=1)
        slices = torch.arange(tokens.shape[1], device=tokens.device)
        won = winners[:, None, :] == slices[:, None]
        return PooledSlices(features, tokens, won.to(_weight_type(tokens)).mean(2))


class AttentionPool(SlicePool):
    """Gated attention over slices in any order, near the mean at the start.

    Source: Ilse et al. 2018, "Attention-based Deep Multiple Instance Learning", arXiv 1802.04712.

    Args:
        dim: length D of a slice's vector.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_features = dim
        self.value = nn.Linear(dim, _HIDDEN)
        self.gate = nn.Linear(dim, _HIDDEN)
        # A bias would be the same for all slices, which the softmax cancels.
        self.score = nn.Linear(_HIDDEN, 1, bias=False)
        nn.init.trunc_normal_(self.score.weight, std=0.02)

    def forward(self, tokens: Tensor, lengths: Sequence[int]) -> PooledSlices:
        """Pool the slices; see ``SlicePool.forward``."""
        hidden = self.value(tokens).tanh() * self.gate(tokens).sigmoid()
        weights = self.score(hidden).squeeze(2).softmax(1, dtype=_weight_type(tokens))
        return PooledSlices((weights[..., None] * tokens).sum(1), tokens, weights)


class GruPool(SlicePool):
    """Gated recurrent units that run over the slices both ways; their states are averaged.

    Source: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder",
    arXiv 1406.1078.

    Args:
        dim: length D of a slice's vector.
        planes: number of planes the slices come from.
    """

    ordered = True

    def __init__(self, dim: int, planes: int = 1) -> None:
        super().__init__()
        self.num_features = _WIDTH
        self.planes = PlaneVectors(dim, planes)
        self.gru = nn.GRU(dim, _WIDTH // 2, batch_first=True, bidirectional=True)

    def forward(self, tokens: Tensor, lengths: Sequence[int]) -> PooledSlices:
        """Pool the slices; see ``SlicePool.forward``."""
        states, _ = self.gru(self.planes(tokens, lengths))
        return _mean(states)


class TransformerPool(SlicePool):
    """A small transformer over the slices, whose states are averaged.

    Norm-first layers without dropout, on sinusoidal positions counted in each plane.

    Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv 1706.03762.

    Args:
        dim: length D of a slice's vector.
        planes: number of planes the slices come from.
    """

    ordered = True

    def __init__(self, dim: int, planes: int = 1) -> None:
        super().__init__()
        self.num_features = _WIDTH
        self.project = nn.Linear(dim, _WIDTH)
        self.planes = PlaneVectors(_WIDTH, planes)
        # One after the other, as nn.TransformerEncoder would start all layers with equal weights.
        self.layers = nn.ModuleList(_transformer_layer() for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, tokens: Tensor, lengths: Sequence[int]) -> PooledSlices:
        """Pool the slices; see ``SlicePool.forward``."""
        states = self.project(tokens)
        positions = [sinusoids(length, _WIDTH, states) for length in lengths]
        states = self.planes(states + torch.cat(positions), lengths)
        for layer in self.layers:
            states = layer(states)
        return _mean(self.norm(states))


class PlaneVectors(nn.Module):
    """A learned vector for each plane, added to its slices; one plane needs and has none.

    Args:
        dim: length of the vectors.
        planes: number of planes.
    """

    def __init__(self, dim: int, planes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(planes, dim)) if planes > 1 else None
        if self.weight is not None:
            nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """Map ``(B, S, dim)`` to the same shape; ``lengths`` as in ``SlicePool.forward``."""
        if self.weight is None:
            return tokens
        pairs = zip(self.weight, lengths, strict=True)
        return tokens + torch.cat([vector.expand(length, -1) for vector, length in pairs])


def sinusoids(length: int, dim: int, like: Tensor) -> Tensor:
    """Give the sines and cosines that tell positions apart.

    Source: Vaswani et al. 2017, "Attention Is All You Need", arXiv 1706.03762.

    Args:
        length: number of positions.
        dim: length of each one's vector, even; sines are in the first half.
        like: gives type and device.

    Returns:
        ``(length, dim)``, values in -1..1.
    """
    steps = torch.arange(0, dim, 2, device=like.device, dtype=torch.float32)
    rates = torch.exp(steps * (-math.log(10000.0) / dim))
    angles = torch.arange(length, device=like.device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).to(like.dtype)


def make_pool(name: PoolName, dim: int, planes: int = 1) -> SlicePool:
    """Build the pool ``name`` over vectors of length ``dim`` of slices from ``planes`` planes.

    Raises:
        ValueError: an unknown name.
    """
    if name not in get_args(PoolName):
        msg = f"unknown pool {name!r}; choose from {', '.join(get_args(PoolName))}"
        raise ValueError(msg)
    if name == "gru":
        return GruPool(dim, planes)
    if name == "transformer":
        return TransformerPool(dim, planes)
    if name == "attention":
        return AttentionPool(dim)
    return MeanPool(dim) if name == "mean" else MaxPool(dim)


def make_classifier(dim: int, num_classes: int) -> nn.Module:
    """Build the linear layer after a pool; the identity for 0 classes.

    Raises:
        ValueError: a negative number of classes.
    """
    if num_classes < 0:
        msg = f"num_classes must be at least 0, got {num_classes}"
        raise ValueError(msg)
    if num_classes == 0:
        return nn.Identity()
    layer = nn.Linear(dim, num_classes)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


def _mean(states: Tensor) -> PooledSlices:
    batch, slices, _ = states.shape
    weights = states.new_full((batch, slices), 1 / slices, dtype=_weight_type(states))
    return PooledSlices(states.mean(1), states, weights)


def _weight_type(states: Tensor) -> torch.dtype:
    # In half precision the weights would miss the sum 1 by more than a page rounds to.
    return torch.promote_types(states.dtype, torch.float32)


def _transformer_layer() -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        _WIDTH,
        _HEADS,
        dim_feedforward=2 * _WIDTH,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
