"""Whole epochs are measured against the same steps on volumes in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.batches import LoadedStep, PlannedStep
from pipeline.bench import waiting
from pipeline.bench.ratio import ROUNDS, measuring
from pipeline.errors import InterruptedRunError, PreemptedError, VolclassError


def test_each_network_has_a_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("data.phantoms.patients=20", "preprocess.size=[8,8,8]", "train.batch_size=8")
    small = ("model.options={depths: [1, 1], dims: [4, 8]}",)
    monkeypatch.setattr(waiting, "_COMMON", ("system.device=cpu", "system.workers=0"))
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


def test_the_volumes_of_every_other_epoch_are_there_before_its_first_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    drawn: list[tuple[int, int]] = []

    def steps() -> Iterator[LoadedStep]:
        for epoch in range(4):
            for number in range(3):
                drawn.append((epoch, number))
                yield LoadedStep(PlannedStep(epoch, ((0,),), last=number == 2), [])

    at_first: dict[int, int] = {}
    for loaded in waiting._Clock()._watched(steps()):
        epoch = loaded.plan.epoch
        at_first.setdefault(epoch, sum(each == epoch for each, _ in drawn))
    assert at_first == {0: 1, 1: 3, 2: 1, 3: 3}


def test_what_an_epoch_took_is_compared_with_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = waiting._Clock()
    monkeypatch.setattr(clock, "_seconds", [9.0, 2.0, 3.0, 4.0, 4.0, 1.0, 2.0])
    assert clock.ratios() == [1.5, 1.0, 2.0]


@pytest.mark.parametrize("kind", [PreemptedError, InterruptedRunError])
def test_who_stops_a_measurement_is_told_of_no_checkpoint(kind: type[VolclassError]) -> None:
    stopped = pytest.raises(InterruptedRunError, match="finished tables are on the page")
    with stopped as caught, measuring():
        raise kind("asked to stop; a checkpoint was written", remedy="--resume")
    assert "checkpoint" not in str(caught.value)
    assert "--resume" not in str(caught.value)
