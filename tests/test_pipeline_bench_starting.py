"""Start-up is measured on whole processes, each beside one that imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.bench import _starting_lines, starting
from pipeline.bench.ratio import ROUNDS
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
    ticks: list[None] = []

    found = starting.starting_costs(tmp_path, lambda: ticks.append(None))

    assert len(ticks) == ROUNDS
    assert len(found) == 3
    assert trained == [tmp_path / "run"]
    timed = started[3:]
    assert [words == ("import torch",) for words in timed] == [True, False] * (3 * ROUNDS)
    (predict,) = {tuple(words) for words in timed if "predict" in words}
    assert predict[2:4] == (str(tmp_path / "run"), str(tmp_path / "int16.nii.gz"))
    assert sum(line.startswith("| `") for line in _starting_lines(found)) == 3


def test_a_process_that_fails_is_no_measurement() -> None:
    with pytest.raises(StorageError, match="no such thing"):
        starting._process(("import sys; sys.exit('no such thing')",))


def test_help_is_one_of_the_processes() -> None:
    assert "volclass" in starting._process((starting._OURS, "--help"))
