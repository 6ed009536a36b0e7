"""Processes that load a part stay for the next time it is asked for, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.data.cache import CachedVolume
from pipeline.data.cases import Case
from pipeline.data.dataset import Batches, VolumeDataset, evaluation_batches


class Signed:
    """Volumes whose values are the number of the process that loads them."""

    def fetch_known(self, case: Case, content: str) -> CachedVolume:
        image = torch.full((1, 2, 2, 2), os.getpid(), dtype=torch.float64)
        return CachedVolume(image, (1.0, 1.0, 1.0), content)


def loaders(batches: Batches) -> set[int]:
    return {int(image.mean()) for batch in batches for image in batch["image"]}


def test_a_part_that_is_asked_again_is_loaded_by_the_same_processes_which_end_with_it() -> None:
    cases = [Case(str(number), str(number), Path()) for number in range(8)]
    contents = {case.case_id: case.case_id for case in cases}
    dataset = VolumeDataset(cases, contents, (), Signed())
    batches = evaluation_batches(dataset, 2, workers=2, stay=True)
    first = loaders(batches)
    assert len(first) == 2
    assert os.getpid() not in first
    assert loaders(batches) == first
    assert first <= {child.pid for child in multiprocessing.active_children()}
    del batches
    assert not first & {child.pid for child in multiprocessing.active_children()}


def test_without_loading_processes_the_process_that_asks_loads() -> None:
    cases = [Case("a", "a", Path())]
    batches = evaluation_batches(VolumeDataset(cases, {"a": "a"}, (), Signed()), 2, workers=0)
    assert loaders(batches) == {os.getpid()}


# A program that is no command of ours and holds the processes to its end; it writes who they are.
SCRIPT = """
from pathlib import Path
from test_pipeline_data_loading import Signed, loaders
from pipeline.data.cases import Case
from pipeline.data.dataset import VolumeDataset, evaluation_batches

cases = [Case(str(number), str(number), Path()) for number in range(4)]
contents = {case.case_id: case.case_id for case in cases}
dataset = VolumeDataset(cases, contents, (), Signed())
held = evaluation_batches(dataset, 2, workers=2, stay=True)
print(*loaders(held))
"""


def test_a_program_that_holds_the_processes_ends_and_they_with_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for number in map(int, done.stdout.split()):
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
