"""Volumes of a batch are stacked once, in memory that the training process can read."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import _utils

from pipeline.batches import Batch
from pipeline.data.dataset import _collate
from pipeline.errors import DataError


def item(index: int) -> Batch:
    """A case with everything that a case may have."""
    return {
        "image": torch.full((1, 2, 3, 4), float(index)),
        "label": torch.tensor(index % 2),
        "index": torch.tensor(index),
        "covariates": torch.tensor([0.5, float(index)]),
        "mask": torch.full((1, 2, 3, 4), index % 2, dtype=torch.uint8),
    }


@pytest.mark.parametrize("in_a_loading_process", [False, True])
def test_a_batch_has_its_cases_in_a_row(
    in_a_loading_process: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_a_loading_process:
        monkeypatch.setattr(_utils.worker, "_worker_info", object())

    batch = _collate([item(3), item(4)])

    assert not isinstance(batch, Exception)
    assert batch["image"].shape == (2, 1, 2, 3, 4)
    assert batch["image"].dtype == torch.float32
    assert batch["image"][:, 0, 0, 0, 0].tolist() == [3.0, 4.0]
    assert batch["label"].tolist() == [1, 0]
    assert batch["index"].tolist() == [3, 4]
    assert batch["label"].dtype == batch["index"].dtype == torch.int64
    assert batch["covariates"].tolist() == [[0.5, 3.0], [0.5, 4.0]]
    assert batch["mask"].dtype == torch.uint8
    assert batch["image"].untyped_storage().is_shared() == in_a_loading_process


def test_a_refusal_takes_the_place_of_the_batch() -> None:
    refusal = DataError("refused")
    assert _collate([item(0), refusal]) is refusal
