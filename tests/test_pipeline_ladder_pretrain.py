"""A pretraining as a rung: on the ladder's folds, no competitor, and the start of a later rung."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import SMALL
from ladder_runs import Climbed, climbed_in
from pretrainings import encoder

from pipeline.data.folds_file import read_folds
from pipeline.storage import read_json

PLAN = {
    "config": "base",
    "set": {"model.supervision.stages": []},
    "rungs": [
        {"name": "shares", "kind": "majority"},
        {"name": "hidden", "kind": "pretrain", "set": {"pretrain.block": 2}},
        {"name": "warm", "kind": "train", "start": "hidden"},
    ],
}


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory, small_manifest: Path) -> Climbed:
    settings = [text for text in SMALL if not text.startswith("model.supervision")]
    return climbed_in(tmp_path_factory.mktemp("pretrained"), PLAN, small_manifest, settings)


def test_it_is_made_on_the_folds_of_the_ladder_and_taken_by_the_next_rung(
    climbed: Climbed,
) -> None:
    out = climbed.out
    folds = [read_folds(out / name / "folds.json").sha256 for name in (".", "hidden", "warm")]
    assert len(set(folds)) == 1
    assert encoder(out / "hidden")
    start = read_json(out / "warm" / "start.json")
    assert isinstance(start, dict)
    assert start["sha256"] is not None


def test_it_is_no_competitor(climbed: Climbed) -> None:
    summary = json.loads((climbed.out / "comparison.json").read_text())
    assert sorted(item["title"] for item in summary["competitors"]) == ["shares", "warm"]


def test_finished_it_is_not_made_again(climbed: Climbed) -> None:
    assert sum("finished before" in line for line in climbed.again()) == 3
