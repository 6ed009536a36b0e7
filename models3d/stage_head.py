"""A head that reads the pooled features of several stages, over all voxels or the foreground.

Shapes: maps are ``(B, C, X, Y, Z)``, or ``(B, C, H, W)`` of a network of images; everything here
works on any number of spatial axes.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from .heads import fresh_classifier, make_classifier
from .layers import NormName, make_norm
from .token_statistics import has_statistics, pooled_by_statistics

StagesName: TypeAlias = Literal["last", "all"]
PoolingName: TypeAlias = Literal["mean", "stats"]


class StageHead(nn.Module):
    """A norm for each stage, a pool over its voxels, dropout and a linear classifier on them all.

    Over ``stats`` or several stages, whose features differ in size, runs a batch norm. It takes
    out any scale and shift of a channel, so the norms of the maps have no weights then.

    Args:
        channels: of each stage that is read, the first stage first.
        num_classes: number of logits; 0 gives the pooled features instead.
        norm: kind of norm of the maps.
        pool: ``mean`` gives C features a stage, ``stats`` the mean, maximum and standard deviation
            of each channel, 3C.
        foreground: whether ``classify`` pools over the foreground of the input only.
        dropout: probability of dropping a pooled feature, in [0, 1).

    Attributes:
        num_features: number of pooled features.
        reads_more: whether the last stage alone is not enough.

    Raises:
        ValueError: an unknown pool or norm, no stage, or a negative number of classes.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        norm: NormName = "group",
        *,
        pool: PoolingName = "stats",
        foreground: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if pool not in get_args(PoolingName):
            msg = f"unknown pool {pool!r}; choose from {', '.join(get_args(PoolingName))}"
            raise ValueError(msg)
        if len(channels) == 0:
            msg = "a head needs at least one stage to read, got none"
            raise ValueError(msg)
        self.pool = pool
        self.foreground = foreground
        self.reads_more = len(channels) > 1 or foreground
        self.num_features = sum(channels) * (3 if pool == "stats" else 1)
        self.norms = nn.ModuleList(make_norm(norm, dim) for dim in channels)
        self.vector_norm: nn.Module = nn.Identity()
        if pool == "stats" or len(channels) > 1:
            self.vector_norm = VectorNorm(self.num_features)
            for part in self.norms:
                _drop_weights(part)
        self.drop = nn.Dropout(dropout)
        self.fc = make_classifier(self.num_features, num_classes)

    def forward(
        self, stages: Sequence[Tensor], weights: Tensor | None = None, pre_logits: bool = False
    ) -> Tensor:
        """Map the raw stages to logits ``(B, num_classes)``.

        Args:
            stages: one ``(B, channels, X', Y', Z')`` for each stage that is read.
            weights: how much each voxel of the volume counts, ``(B, 1, X, Y, Z)`` in 0..1, or a
                mask; it is averaged down to the grid of each stage. A case without any counts all
                its voxels; so do all cases for ``None``.
            pre_logits: stop before the classifier, which gives ``(B, num_features)``.

        Raises:
            ValueError: another number of stages, or weights that do not fit them.
        """
        if len(stages) != len(self.norms):
            msg = f"the head reads {len(self.norms)} stage(s), got {len(stages)}"
            raise ValueError(msg)
        if weights is not None:
            weights = _checked(weights, stages[0])
        pooled = [self._pooled(index, x, weights) for index, x in enumerate(stages)]
        # Statistics are in single precision also under autocast; weights may be in half.
        vector = torch.cat(pooled, dim=1).to(next(self.parameters()).dtype)
        vector = self.drop(self.vector_norm(vector))
        return vector if pre_logits else self._logits(vector)

    def classify(self, stages: Sequence[Tensor], x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify what a network computed.

        Args:
            stages: all its raw stages; of these the last ones are read, as many as the head takes.
            x: its input ``(B, in_chans, X, Y, Z)``, for the foreground.
            pre_logits: as of ``forward``.
        """
        weights = foreground_of(x) if self.foreground else None
        logits: Tensor = self(stages[-len(self.norms) :], weights, pre_logits)
        return logits

    def classify_last(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify the last stage ``x`` by itself.

        Raises:
            ValueError: the head reads more than that.
        """
        if self.reads_more:
            more = "several stages" if len(self.norms) > 1 else "the foreground of the volume"
            msg = (
                f"this head reads {more}, so the last stage alone cannot be classified: call the "
                "model on the volume; with 0 classes it gives the pooled features"
            )
            raise ValueError(msg)
        logits: Tensor = self((x,), None, pre_logits)
        return logits

    def normalise_stage(self, from_end: int, x: Tensor) -> Tensor:
        """Apply the norm of a stage, counted from 1 for the last; one not read stays raw."""
        return self.normalise(-from_end, x) if from_end <= len(self.norms) else x

    def normalise(self, index: int, x: Tensor) -> Tensor:
        """Apply the norm of the stage ``index``, counted from 0 among those that are read."""
        # As one long axis, so that BatchNorm3d takes maps of any number of axes; with the voxels of
        # a channel side by side, for its backward pass is many times slower on a mix of layouts.
        normed: Tensor = self.norms[index](x.flatten(2).contiguous()[..., None, None])
        return normed.reshape(x.shape)

    def reset(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one of the same type on the same device.

        Raises:
            ValueError: a negative number of classes.
        """
        self.fc = fresh_classifier(self.num_features, num_classes, next(self.parameters()))

    def _pooled(self, index: int, x: Tensor, weights: Tensor | None) -> Tensor:
        counts = None if weights is None else shrink(weights, x.shape[2:]).flatten(2)
        norm = self.norms[index]
        if self.pool == "stats" and has_statistics(norm, x, counts):
            return pooled_by_statistics(x, norm, counts)
        return pool_voxels(self.normalise(index, x).flatten(2), self.pool, counts)

    def _logits(self, vector: Tensor) -> Tensor:
        logits: Tensor = self.fc(vector)
        return logits


def channels_read(channels: Sequence[int], stages: StagesName) -> list[int]:
    """Give the channels of the stages that a head reads, of those of all stages.

    Raises:
        ValueError: an unknown choice of stages.
    """
    if stages not in get_args(StagesName):
        choices = " or ".join(get_args(StagesName))
        msg = f"the stages that a head reads are {choices}, got {stages!r}"
        raise ValueError(msg)
    return list(channels) if stages == "all" else [channels[-1]]


class VectorNorm(nn.BatchNorm1d):
    """Batch norm of vectors that uses its running averages, unchanged, for a batch of one case.

    One case has no deviation to be normed by, so torch refuses it in training.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(B, F)`` to the same shape."""
        if not self.training or input.shape[0] > 1:
            return super().forward(input)
        means, variances = self.running_mean, self.running_var
        return functional.batch_norm(
            input, means, variances, self.weight, self.bias, training=False, eps=self.eps
        )


def pool_voxels(x: Tensor, pool: PoolingName, weights: Tensor | None = None) -> Tensor:
    """Pool each channel over its voxels, in single precision at least.

    Args:
        x: ``(B, C, N)``, left unchanged.
        pool: ``mean``, or ``stats`` for mean, maximum and standard deviation (that of the voxels
            themselves, not of a population they were drawn from).
        weights: ``(B, 1, N)``, how much a voxel counts in mean and deviation; the maximum is over
            the voxels that count at all, of which each case needs one. ``None`` counts all alike.

    Returns:
        ``(B, C)``, or for ``stats`` ``(B, 3C)``: all means, then all maxima, then all deviations.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    share = None if weights is None else weights / weights.sum(-1, keepdim=True)
    mean = x.mean(-1) if share is None else (x * share).sum(-1)
    if pool == "mean":
        return mean
    largest = (x if weights is None else torch.where(weights > 0, x, -torch.inf)).amax(-1)
    # A norm, other than the root of a sum, has a finite gradient at zero. Scaled in place, as on
    # a CPU one more copy of a large map takes longer than all that is computed here.
    root = x.shape[-1] ** -0.5 if share is None else share.sqrt()
    centred = (x - mean[..., None]).mul_(root)
    return torch.cat((mean, largest, torch.linalg.vector_norm(centred, dim=-1)), dim=1)


def foreground_of(x: Tensor) -> Tensor:
    """Find the voxels above the mean of their own volume, as preprocessing does.

    Args:
        x: ``(B, C, X, Y, Z)``, left unchanged.

    Returns:
        ``(B, 1, X, Y, Z)``, true where any channel is above the mean over all channels.
    """
    precise = torch.promote_types(x.dtype, torch.float32)
    mean = x.mean(tuple(range(1, x.dim())), keepdim=True, dtype=precise)
    return (x > mean).any(1, keepdim=True)


def shrink(weights: Tensor, grid: Sequence[int]) -> Tensor:
    """Average weights down to a grid, as adaptive average pooling does.

    Args:
        weights: ``(B, 1, X, Y, Z)``, left unchanged.
        grid: voxels along each axis of the result.

    Returns:
        ``(B, 1, *grid)``; above 0 exactly where a weight under the voxel is.
    """
    # Not adaptive_avg_pool3d, which cannot be exported to ONNX; and not by cumulative sums, whose
    # rounding would leave traces where all weights are zero. The last axis lies best in memory.
    shrunk = weights
    for axis, count in reversed([*enumerate(grid, start=2)]):
        averages = _averages(weights.shape[axis], count, weights)
        shrunk = (shrunk.movedim(axis, -1) @ averages.T).movedim(-1, axis)
    return shrunk.to(weights.dtype)


def _averages(size: int, count: int, like: Tensor) -> Tensor:
    """Give the matrix ``(count, size)`` of adaptive average pooling along an axis."""
    voxel = torch.arange(size, device=like.device)
    place = torch.arange(count, device=like.device)[:, None]
    first, behind = place * size // count, ((place + 1) * size + count - 1) // count
    windows = ((voxel >= first) & (voxel < behind)).to(like.dtype)
    return windows / windows.sum(-1, keepdim=True)


def _checked(weights: Tensor, stage: Tensor) -> Tensor:
    """Give the weights as numbers, all 1 for a case without any."""
    if weights.dim() != stage.dim() or weights.shape[:2] != (stage.shape[0], 1):
        msg = (
            f"expected a foreground of one channel for maps of shape {tuple(stage.shape)}, "
            f"got {tuple(weights.shape)}"
        )
        raise ValueError(msg)
    weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
    counts = (weights > 0).flatten(1).any(1).view(-1, *(1,) * (weights.dim() - 1))
    return torch.where(counts, weights, torch.ones_like(weights))


def _drop_weights(norm: nn.Module) -> None:
    for switch in ("affine", "elementwise_affine"):
        if hasattr(norm, switch):
            setattr(norm, switch, False)
    norm.register_parameter("weight", None)
    norm.register_parameter("bias", None)
