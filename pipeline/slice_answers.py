"""What every slice of a case says alone, and how much of the answer it makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from models2d.slices import SliceClassifier

from .build import build_dataset
from .data.cases import Case
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

    def add(self, network: SliceClassifier) -> None:
        """Asks one network; every process asks it of all cases."""
        run = self._run
        dataset = build_dataset(run.config, _unlabelled(self._cases), run.contents, (), run.store)
        batches = evaluation_batches(dataset, run.config.train.batch_size, run.loads[0])
        network.eval()
        logits, weights = [], []
        for batch in batches:
            with torch.no_grad(), run.accelerator.autocast():
                answer = network.answer(batch["image"].to(run.accelerator.device))
            logits.append(answer.slice_logits.double().cpu().numpy())
            weights.append(answer.weights.double().cpu().numpy())
        self._names = network.slice_names(run.config.preprocess.size)
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


def _unlabelled(cases: Sequence[Case]) -> list[Case]:
    return [Case(case.case_id, case.patient_id, case.image) for case in cases]
