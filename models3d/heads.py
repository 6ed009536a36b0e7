"""Classification heads."""

import torch
from torch import Tensor, nn

from .layers import NormName, init_dense, make_norm


class MeanHead(nn.Module):
    """Norm, mean over space, dropout and a linear classifier on one feature map.

    Args:
        dim: number of channels of the feature map.
        num_classes: number of logits; 0 gives the pooled features instead.
        norm: kind of norm.
        dropout: probability of dropping a pooled feature, in [0, 1).
    """

    def __init__(
        self, dim: int, num_classes: int, norm: NormName = "group", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.num_features = dim
        self.norm = make_norm(norm, dim)
        self.drop = nn.Dropout(dropout)
        self.fc = make_classifier(dim, num_classes)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map ``(B, dim, X, Y, Z)`` to logits ``(B, num_classes)``.

        Args:
            x: the feature map.
            pre_logits: stop before the classifier, which gives ``(B, dim)``.
        """
        pooled: Tensor = self.drop(self.norm(x).flatten(2).mean(-1))
        if pre_logits:
            return pooled
        logits: Tensor = self.fc(pooled)
        return logits

    def reset(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one of the same type on the same device.

        Raises:
            ValueError: a negative number of classes.
        """
        like = next(self.norm.parameters())
        self.fc = fresh_classifier(self.num_features, num_classes, like)


def make_classifier(dim: int, num_classes: int) -> nn.Module:
    """Build a linear layer with the init of the published network; the identity for 0 classes.

    Raises:
        ValueError: a negative number of classes.
    """
    if num_classes < 0:
        msg = f"num_classes must be at least 0, got {num_classes}"
        raise ValueError(msg)
    if num_classes == 0:
        return nn.Identity()
    layer = nn.Linear(dim, num_classes)
    init_dense(layer)
    return layer


def fresh_classifier(dim: int, num_classes: int, like: Tensor) -> nn.Module:
    """Build a classifier on the device and of the type of ``like``; see ``make_classifier``.

    Raises:
        ValueError: a negative number of classes.
    """
    with torch.device(like.device):
        return make_classifier(dim, num_classes).to(like.dtype)
