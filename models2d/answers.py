"""What a classifier over slices hands out beside its logits."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SliceAnswer:
    """What a classifier over slices says of volumes, and what each slice says.

    Attributes:
        stages: maps of the stages, as ``forward`` gives them; none for vectors.
        logits: ``(B, num_classes)``.
        slice_logits: the classifier on each slice alone, ``(B, S, num_classes)``; for every pool
            but ``max`` the logits are their mean, weighted by ``weights``.
        weights: the part of each slice in the logits, ``(B, S)``, with the sum 1; for ``max`` the
            share of features in which the slice has the largest value.
    """

    stages: tuple[Tensor, ...]
    logits: Tensor
    slice_logits: Tensor
    weights: Tensor
