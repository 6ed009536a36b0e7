"""The task: a network and its loss, so that the loop sees `task(images, labels)` and no more.

Sources: Lin et al. 2017, "Focal Loss for Dense Object Detection", arXiv 1708.02002, for the focal
loss; `pipeline.training.mixup` for blended targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..batches import NO_MASK

#: Losses summed over a batch by name; `total` is what is minimised.
Losses = dict[str, Tensor]


#: (B,) losses of mask logits (B, 2, X, Y, Z), background and structure, for masks (B, 1, X, Y, Z).
MaskLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class MaskPart:
    """What makes masks an auxiliary target.

    Attributes:
        decoder: Maps the network's stages and its input to mask logits.
        loss: Judges them, case by case.
        weight: Part of that loss in the total.
    """

    decoder: nn.Module
    loss: MaskLoss
    weight: float


class ClassificationTask(nn.Module):
    """Weighted cross-entropy or focal loss on the logits, and on those of auxiliary heads.

    A decoder may draw the structure's mask from the stages, as a further target. It is used in
    training alone: `plain_network` does without it.

    Args:
        network: Returns `(*stages, logits)`, or `(stages, {stage: logits}, logits)` where
            `supervised`.
        class_weights: (K,) weight of each class in the loss.
        smoothing: Label smoothing, 0 to 1; not with the focal loss.
        focal_gamma: Exponent of the focal loss, (1 - p)^gamma times the cross-entropy, p the
            probability of the true class; None for plain cross-entropy.
        supervised: Whether the network has auxiliary heads.
        head_weight: Part of each auxiliary loss in the total.
        masks: Decoder and loss of the masks, where they are a target.
    """

    class_weights: Tensor

    def __init__(
        self,
        network: nn.Module,
        class_weights: Tensor,
        *,
        smoothing: float = 0.0,
        focal_gamma: float | None = None,
        supervised: bool = False,
        head_weight: float = 0.0,
        masks: MaskPart | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("class_weights", class_weights, persistent=False)
        self._smoothing = smoothing
        self._focal_gamma = focal_gamma
        self._supervised = supervised
        self._head_weight = head_weight
        self._masks = masks
        if masks is not None:
            self.decoder = masks.decoder

    @property
    def plain_network(self) -> nn.Module:
        """The network without auxiliary heads: what is validated, kept and used later."""
        return cast("nn.Module", self.network.model) if self._supervised else self.network

    def forward(
        self,
        images: Tensor,
        labels: Tensor,
        partners: Tensor | None = None,
        shares: Tensor | None = None,
        *,
        covariates: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> Losses:
        """Losses summed over the batch; the caller divides by the cases of the whole step.

        Args:
            images: (B, C, X, Y, Z).
            labels: (B,) class indices.
            partners: (B,) class indices of the volumes blended in, if any were.
            shares: (B,) part of each case's own label in its target, 0 to 1; with `partners`.
            covariates: (B, F) what the network reads beside the volumes, if it does.
            masks: (B, 1, X, Y, Z), as `Batch` has them; only where masks are a target.

        Returns:
            `total` and `main`, each a scalar, `stage_<n>` for each auxiliary head, `mask` where
            there are masks, and `cases`, (B,): each case's share of the total.
        """
        target = (labels, partners, shares)
        beside = () if covariates is None else (covariates,)
        heads: dict[int, Tensor] = {}
        if self._supervised:
            stages, heads, logits = self.network(images, *beside)
        else:
            *stages, logits = self.network(images, *beside)
        total = main = self._loss(logits, *target)
        losses = {f"stage_{stage}": self._loss(head, *target) for stage, head in heads.items()}
        if losses:
            total = total + self._head_weight * torch.stack([*losses.values()]).sum(0)
        if self._masks is not None and masks is not None:
            losses["mask"] = self._mask_loss(self._masks, stages, images, masks)
            total = total + self._masks.weight * losses["mask"]
        parts = {name: loss.sum().detach() for name, loss in losses.items()}
        return {
            "total": total.sum(),
            "main": main.sum().detach(),
            **parts,
            "cases": total.detach(),
        }

    def _mask_loss(
        self, part: MaskPart, stages: Sequence[Tensor], images: Tensor, masks: Tensor
    ) -> Tensor:
        """(B,): each case's loss, 0 where it has no mask.

        Every case passes the decoder: processes that train together must all use its parameters,
        also where none of their cases has a mask.
        """
        logits = self.decoder(stages, images)
        known = (masks != NO_MASK).flatten(1).all(1)
        losses = part.loss(logits.float(), masks.clamp_min(0.0))
        return torch.where(known, losses, 0.0 * losses)

    def _loss(
        self, logits: Tensor, labels: Tensor, partners: Tensor | None, shares: Tensor | None
    ) -> Tensor:
        """(B,): each case's loss; of a blend, the blend of the losses of its two labels."""
        own = self._pure_loss(logits.float(), labels)
        if partners is None or shares is None:
            return own
        return shares * own + (1.0 - shares) * self._pure_loss(logits.float(), partners)

    def _pure_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        entropy = functional.cross_entropy(
            logits,
            labels,
            weight=self.class_weights,
            label_smoothing=self._smoothing,
            reduction="none",
        )
        if self._focal_gamma is None:
            return entropy
        # From the logarithm, so that 1 - p keeps its digits, and its gradient, where p nears 1.
        chosen = functional.log_softmax(logits, dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)
        missing = -torch.expm1(chosen.clamp_max(-1e-7))
        return missing**self._focal_gamma * entropy


def balanced_class_weights(labels: Sequence[int], num_classes: int) -> Tensor:
    """Weights inverse to the classes' frequencies, with a mean of 1 over the cases.

    The same weights as scikit-learn's `compute_class_weight("balanced")`.
    """
    counts = torch.bincount(torch.tensor(labels), minlength=num_classes).double()
    return (counts.sum() / (num_classes * counts.clamp_min(1.0))).float()
