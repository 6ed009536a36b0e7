"""Start-up is measured on whole processes, each beside one that imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.bench import starting
from pipeline.bench.ratio import ROUNDS
from pipeline.bench.tables import starting_lines
from pipeline.errors import StorageError


def test_each_process_is_timed_beside_one_that_imports_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Sequence[str]] = []
    trained: list[Path] = []
    monkeypatch.setattr(starting, "_process", started.append)
    monkeypatch.setattr(
        starting, "cross_validate", lambda config, out, display: trained.append(out)
    )
    batches: list[object] = []

    def seconds(work: Callable[[], object]) -> float:
        done = work()
        if not isinstance(done, dict):
            return 2.0
        batches.append(done["image"].shape)
        return 3.0

    monkeypatch.setattr(starting, "seconds_of", seconds)
    ticks: list[None] = []

    found = starting.starting_costs(tmp_path, lambda: ticks.append(None))

    assert len(ticks) == ROUNDS
    assert [item.name for item in found][-1] == starting.LOADING
    assert len(found) == 4
    assert found[-1].median == 3.0 / 2.0
    assert batches == [(1, 1, 28, 28, 28)] * (1 + ROUNDS)
    assert trained == [tmp_path / "run"]
    timed = started[3:]
    # The loading processes are none of these, but have a process beside them all the same.
    assert [words == ("import torch",) for words in timed] == [*[True, False] * 3, True] * ROUNDS
    (predict,) = {tuple(words) for words in timed if "predict" in words}
    assert predict[2:4] == (str(tmp_path / "run"), str(tmp_path / "int16.nii.gz"))
    rows = [line for line in starting_lines(found) if line.endswith(" |")]
    assert len(rows) == 1 + len(found)


def test_a_process_that_fails_is_no_measurement() -> None:
    with pytest.raises(StorageError, match="no such thing"):
        starting._process(("import sys; sys.exit('no such thing')",))


def test_help_is_one_of_the_processes() -> None:
    assert "volclass" in starting._process((starting._OURS, "--help"))
