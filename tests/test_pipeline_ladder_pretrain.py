"""A pretraining as a rung: on the ladder's folds, no competitor, and the start of a later rung."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import SMALL, Lines
from pretrainings import encoder

from pipeline.data.folds_file import read_folds
from pipeline.ladder import ladder
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
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plan") / "ladder.yaml"
    path.write_text(json.dumps(PLAN))
    return str(path)


@pytest.fixture(scope="module")
def overrides(small_manifest: Path) -> list[str]:
    settings = [text for text in SMALL if not text.startswith("model.supervision")]
    return [*settings, f"data.manifest={small_manifest}", "train.epochs=1"]


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory, plan: str, overrides: list[str]) -> Path:
    out = tmp_path_factory.mktemp("pretrained") / "ladder"
    ladder(plan, out, Lines(), overrides)
    return out


def test_it_is_made_on_the_folds_of_the_ladder_and_taken_by_the_next_rung(climbed: Path) -> None:
    folds = [read_folds(climbed / name / "folds.json").sha256 for name in (".", "hidden", "warm")]
    assert len(set(folds)) == 1
    assert encoder(climbed / "hidden")
    start = read_json(climbed / "warm" / "start.json")
    assert isinstance(start, dict)
    assert start["sha256"] is not None


def test_it_is_no_competitor(climbed: Path) -> None:
    summary = json.loads((climbed / "comparison.json").read_text())
    assert sorted(item["title"] for item in summary["competitors"]) == ["shares", "warm"]


def test_finished_it_is_not_made_again(climbed: Path, plan: str, overrides: list[str]) -> None:
    lines = Lines()
    ladder(plan, climbed, lines, overrides)
    assert sum("finished before" in line for line in lines.shown) == 3
