"""What every slice of a case says alone, and how much of the answer it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models2d.slices import SliceClassifier
from models3d import FusedClassifier

from .batches import beside_the_volume, to_device
from .build import build_dataset
from .data.cases import Case
from .data.covariates import CovariateEncoder
from .data.dataset import evaluation_batches
from .run import Run
from .training.inference import softmax

FloatArray = NDArray[np.float64]

_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


class SliceAnswers:
    """Collects what the networks of one fold say of the slices of its test cases.

    Args:
        run: The run.
        cases: The test cases.
    """

    def __init__(self, run: Run, cases: Sequence[Case]) -> None:
        self._run = run
        self._cases = list(cases)
        self._names: Sequence[tuple[str, int]] = []
        self._logits: list[FloatArray] = []
        self._weights: list[FloatArray] = []

    def add(self, network: nn.Module, encoder: CovariateEncoder | None = None) -> None:
        """Asks one network, if slices are what it pools; every process asks it of all cases.

        Args:
            network: Any network of a run.
            encoder: How it reads covariates: each slice is answered beside those of its case.
        """
        body = _slices_of(network)
        if body is None:
            return
        run = self._run
        unlabelled = [replace(case, label=None) for case in self._cases]
        dataset = build_dataset(
            run.config, unlabelled, run.contents, (), run.store, encoder=encoder
        )
        batches = evaluation_batches(dataset, run.config.train.batch_size, run.loads[0])
        network.eval()
        logits, weights = [], []
        for batch in batches:
            with torch.no_grad(), run.accelerator.autocast():
                moved = to_device(batch, run.accelerator.device)
                answer = body.answer(moved["image"])
                said = _classified(network, answer.slice_logits, beside_the_volume(moved))
            logits.append(said.double().cpu().numpy())
            weights.append(answer.weights.double().cpu().numpy())
        self._names = body.slice_names(run.config.preprocess.size)
        self._logits.append(np.concatenate(logits))
        self._weights.append(np.concatenate(weights))

    def rows(self, fold: int) -> list[dict[str, object]]:
        """One row a slice of each case, means over the networks; none where none was asked."""
        if not self._logits:
            return []
        logits, weights = np.mean(self._logits, axis=0), np.mean(self._weights, axis=0)
        size, classes = self._run.config.preprocess.size, self._run.folds.classes
        alone = [softmax(case) for case in logits]
        return [
            {
                "case_id": case.case_id,
                "fold": fold,
                "axis": axis,
                "slice": index,
                "slices": size[_AXES[axis]],
                "weight": float(weights[place, number]),
                **{
                    f"p_{name}": float(value)
                    for name, value in zip(classes, alone[place][number], strict=True)
                },
            }
            for place, case in enumerate(self._cases)
            for number, (axis, index) in enumerate(self._names)
        ]


def _slices_of(network: nn.Module) -> SliceClassifier | None:
    """The network over slices whose pooled vector the classifier reads.

    None where it reads pooled stages instead: then no slice has an answer of its own.
    """
    body = network.network if isinstance(network, FusedClassifier) else network
    return body if isinstance(body, SliceClassifier) else None


def _classified(network: nn.Module, vectors: Tensor, beside: Sequence[Tensor]) -> Tensor:
    """Logits (B, S, K) of slices; a longer head reads each vector as if it were the pooled one."""
    if not isinstance(network, FusedClassifier):
        return vectors
    rows = [part.to(vectors.dtype)[:, None].expand(-1, vectors.shape[1], -1) for part in beside]
    logits: Tensor = network.head(torch.cat([vectors, *rows], dim=2))
    return logits
