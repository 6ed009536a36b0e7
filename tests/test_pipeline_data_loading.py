"""Loading processes: which priority they have beside the network that trains."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from pipeline.data.cache import CachedVolume
from pipeline.data.cases import Case
from pipeline.data.dataset import VolumeDataset, evaluation_batches


class Priorities:
    """A store whose volumes tell the priority of the process that fetched them."""

    def fetch_known(self, case: Case, content: str) -> CachedVolume:
        """A volume of one voxel."""
        del case
        return CachedVolume(torch.full((1, 1, 1, 1), float(os.nice(0))), (1.0, 1.0, 1.0), content)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the network trains elsewhere")
@pytest.mark.parametrize("workers", [0, 2])
def test_loading_processes_leave_the_cores_to_the_network(workers: int) -> None:
    cases = [Case(name, name, Path(name), "left") for name in "abcd"]
    contents = {case.case_id: "" for case in cases}
    dataset = VolumeDataset(cases, contents, ("left",), Priorities())
    found = [batch["image"].flatten().tolist() for batch in evaluation_batches(dataset, 2, workers)]
    expected = float(os.nice(0)) if workers == 0 else 19.0
    assert found == [[expected, expected]] * 2
