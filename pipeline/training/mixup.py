"""Mixup: every volume of a batch is blended with another one, and so is its target.

Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..seeds import derived_seed


def mixed(
    images: Tensor, labels: Tensor, alpha: float, *purpose: int | str
) -> tuple[Tensor, Tensor, Tensor]:
    """Blends a batch with itself in another order.

    Args:
        images: (B, ...): volumes, or features of their slices.
        labels: (B,) class indices.
        alpha: Of the Beta distribution that each case's share is drawn from; above 0.
        purpose: What the random choices are for; the same purpose gives the same choices.

    Returns:
        The blends, share * own + (1 - share) * partner; the partners' labels (B,); and each case's
        own share (B,), 0 to 1.
    """
    generator = np.random.default_rng(derived_seed("mixup", *purpose))
    partners = torch.from_numpy(generator.permutation(len(images))).to(images.device)
    drawn = generator.beta(alpha, alpha, len(images)).astype(np.float32)
    shares = torch.from_numpy(drawn).to(images.device)
    weights = shares.view(-1, *(1,) * (images.dim() - 1))
    return weights * images + (1.0 - weights) * images[partners], labels[partners], shares
