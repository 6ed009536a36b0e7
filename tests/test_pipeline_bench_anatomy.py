"""An epoch is taken apart: each part is timed where it happens, validation not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.batches import LoadedStep, PlannedStep
from pipeline.bench import anatomy
from pipeline.bench.anatomy import PARTS
from pipeline.bench.tables import parts_lines
from pipeline.data.augment import Augmentation
from pipeline.data.volumes import VolumeStore


def test_each_part_has_a_share_of_a_real_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("data.phantoms.patients=20", "preprocess.size=[8,8,8]", "train.batch_size=8")
    small = ("model.options={depths: [1, 1], dims: [4, 8]}",)
    monkeypatch.setattr(anatomy, "_COMMON", ("system.device=cpu", "system.workers=0"))
    monkeypatch.setattr(anatomy, "EPOCHS", {"small": (*words, *small)})
    before = (VolumeStore.fetch_known, Augmentation.__call__)
    ticks: list[None] = []

    (found,) = anatomy.epoch_parts(tmp_path, lambda: ticks.append(None))

    assert len(ticks) == 1
    assert tuple(found.shares) == PARTS
    assert all(share > 0 for share in found.shares.values())
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert (VolumeStore.fetch_known, Augmentation.__call__) == before
    assert parts_lines([found])[-1].count("|") == len(PARTS) + 2


def test_time_goes_to_the_part_that_took_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    clock = anatomy._Parts()

    def spend(seconds: float) -> None:
        now[0] += seconds

    read = clock._timed("reading", lambda: spend(2.0))

    def steps() -> Iterator[LoadedStep]:
        for epoch in range(2):
            for number in range(3):
                read()
                spend(1.0)
                yield LoadedStep(PlannedStep(epoch, ((0,),), last=number == 2), [])

    for loaded in clock._watched(steps()):
        spend(100.0 if loaded.plan.last or loaded.plan.epoch == 0 else 5.0)
        read()  # as validation does

    # Two steps of the second epoch count; what is read within a step is the step's.
    assert clock.shares() == {
        "reading": 0.2,
        "augmenting": 0.0,
        "stacking": 0.0,
        "other loading": 0.1,
        "steps": 0.7,
    }
