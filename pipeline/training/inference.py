"""A network over cases: logits in the order of the cases, each case once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from ..batches import Batch, beside_the_volume, to_device
from ..errors import DivergedError
from .views import View, mean_logits


@torch.no_grad()
def predict_logits(
    network: nn.Module,
    batches: Iterable[Batch],
    accelerator: Accelerator,
    cases: int,
    views: Sequence[View] = (),
) -> NDArray[np.float64]:
    """Logits of every case; the same on all processes.

    Args:
        network: Returns `(*stages, logits)`; used in evaluation mode, restored afterwards.
        batches: This process's share of the cases.
        accelerator: Gathers the shares.
        cases: Number of cases over all processes.
        views: Sides from which each volume is seen, for the mean of the logits; none, as it is.

    Returns:
        (cases, K), row i for the case with index i.
    """
    was_training = network.training
    network.eval()
    logits: list[Tensor] = []
    indices: list[Tensor] = []
    for batch in batches:
        with accelerator.autocast():
            moved = to_device(batch, accelerator.device)
            beside = beside_the_volume(moved)
            logits.append(mean_logits(network, moved["image"], views, beside))
        indices.append(batch["index"].to(accelerator.device))
    network.train(was_training)
    return _gathered(logits, indices, accelerator, cases)


def _gathered(
    logits: list[Tensor], indices: list[Tensor], accelerator: Accelerator, cases: int
) -> NDArray[np.float64]:
    if accelerator.num_processes == 1:
        scores, places = torch.cat(logits), torch.cat(indices)
    else:
        # Shares may differ by one case: pad to the same length, and drop the padding by its index.
        share = -(-cases // accelerator.num_processes)
        width = accelerator.gather(
            torch.tensor([logits[0].shape[1] if logits else 0], device=accelerator.device)
        )
        scores = torch.zeros(share, int(width.max()), device=accelerator.device)
        places = torch.full((share,), -1, device=accelerator.device)
        if logits:
            mine = torch.cat(logits)
            scores[: len(mine)], places[: len(mine)] = mine, torch.cat(indices)
        scores, places = accelerator.gather(scores), accelerator.gather(places)
        scores, places = scores[places >= 0], places[places >= 0]
    result = np.full((cases, scores.shape[1]), np.nan)
    result[places.cpu().numpy()] = scores.double().cpu().numpy()
    return result


def check_finite(logits: NDArray[np.float64], case_ids: Sequence[str]) -> None:
    """Refuses logits from which no prediction can be made.

    Raises:
        DivergedError: Names the cases.
    """
    bad = [case_ids[int(place)] for place in np.flatnonzero(~np.isfinite(logits).all(axis=1))]
    if bad:
        raise DivergedError(
            f"the network's answer is not finite for {len(bad)} of {len(case_ids)} cases",
            where=f"cases {', '.join(bad[:10])}",
            why="training diverged, or the precision is too low for these grey values",
            remedy="lower train.lr, set train.clip, or use train.precision=fp32",
        )


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (N, K) from logits (N, K)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def negative_log_likelihood(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean negative logarithm of the probability of the true class, in nats."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    return float((log_sums - shifted[np.arange(len(labels)), labels]).mean())
