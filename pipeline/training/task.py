"""The task: a network and its loss, so that the loop sees `task(images, labels)` and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Losses summed over a batch by name; `total` is what is minimised.
Losses = dict[str, Tensor]


class ClassificationTask(nn.Module):
    """Weighted cross-entropy on the logits and on the logits of auxiliary heads.

    Args:
        network: Returns `(*stages, logits)`, or `(stages, {stage: logits}, logits)` where
            `supervised`.
        class_weights: (K,) weight of each class in the loss.
        smoothing: Label smoothing, 0 to 1.
        supervised: Whether the network has auxiliary heads.
        head_weight: Part of each auxiliary loss in the total.
    """

    class_weights: Tensor

    def __init__(
        self,
        network: nn.Module,
        class_weights: Tensor,
        *,
        smoothing: float = 0.0,
        supervised: bool = False,
        head_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("class_weights", class_weights, persistent=False)
        self._smoothing = smoothing
        self._supervised = supervised
        self._head_weight = head_weight

    @property
    def plain_network(self) -> nn.Module:
        """The network without auxiliary heads: what is validated, kept and used later."""
        return cast("nn.Module", self.network.model) if self._supervised else self.network

    def forward(self, images: Tensor, labels: Tensor) -> Losses:
        """Losses summed over the batch; the caller divides by the cases of the whole step.

        Args:
            images: (B, C, X, Y, Z).
            labels: (B,) class indices.

        Returns:
            `total` and `main`, each a scalar, `stage_<n>` for each auxiliary head, and
            `cases`, (B,): each case's share of the total.
        """
        if not self._supervised:
            *_, logits = self.network(images)
            main = self._loss(logits, labels)
            return {"total": main.sum(), "main": main.sum().detach(), "cases": main.detach()}
        _, heads, logits = self.network(images)
        main = self._loss(logits, labels)
        losses = {f"stage_{stage}": self._loss(head, labels) for stage, head in heads.items()}
        total = main + self._head_weight * torch.stack([*losses.values()]).sum(0)
        parts = {name: loss.sum().detach() for name, loss in losses.items()}
        return {
            "total": total.sum(),
            "main": main.sum().detach(),
            **parts,
            "cases": total.detach(),
        }

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits.float(),
            labels,
            weight=self.class_weights,
            label_smoothing=self._smoothing,
            reduction="none",
        )


def balanced_class_weights(labels: Sequence[int], num_classes: int) -> Tensor:
    """Weights inverse to the classes' frequencies, with a mean of 1 over the cases.

    The same weights as scikit-learn's `compute_class_weight("balanced")`.
    """
    counts = torch.bincount(torch.tensor(labels), minlength=num_classes).double()
    return (counts.sum() / (num_classes * counts.clamp_min(1.0))).float()
