"""Whole epochs are measured against the same steps on volumes in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.bench import waiting
from pipeline.bench.ratio import ROUNDS, measuring
from pipeline.errors import InterruptedRunError, PreemptedError, VolclassError


def test_every_other_epoch_has_its_volumes_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("data.phantoms.patients=20", "preprocess.size=[8,8,8]", "train.batch_size=8")
    small = ("model.options={depths: [1, 1], dims: [4, 8]}", "system.workers=0")
    monkeypatch.setattr(waiting, "_COMMON", ("system.device=cpu", "report.bootstrap=100"))
    monkeypatch.setattr(waiting, "EPOCHS", {"small": (*words, *small)})
    rests: list[float] = []
    monkeypatch.setattr("time.sleep", rests.append)
    seen: list[None] = []
    (found,) = waiting.waiting_costs(tmp_path, lambda: seen.append(None))
    assert found.name == "small"
    assert 0 < found.low <= found.median <= found.high
    assert len(rests) == ROUNDS
    assert len(seen) == 1
    log = (tmp_path / "0" / "fold_0" / "log.csv").read_text().splitlines()
    assert len(log) == 2 + 2 * ROUNDS  # the header, the warm-up, the pairs


def test_what_an_epoch_took_is_compared_with_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = waiting._Clock()
    monkeypatch.setattr(clock, "_seconds", [9.0, 2.0, 3.0, 4.0, 4.0, 1.0, 2.0])
    assert clock.ratios() == [1.5, 1.0, 2.0]


@pytest.mark.parametrize("kind", [PreemptedError, InterruptedRunError])
def test_who_stops_a_measurement_is_told_of_no_checkpoint(kind: type[VolclassError]) -> None:
    with pytest.raises(kind, match="finished tables are on the page") as caught, measuring():
        raise kind("asked to stop; a checkpoint was written", remedy="--resume")
    assert "checkpoint" not in str(caught.value)
    assert "--resume" not in str(caught.value)
