"""The guide is true: every command and every line of Python in it runs, in its order."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import yaml
from pydantic import JsonValue
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.config_file import find_config, load_config, parse_yaml
from pipeline.evaluation import baselines as tables
from pipeline.storage import read_table

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
MEDMNIST = Path(os.environ.get("VOLCLASS_DATA", ROOT / "../shared/data")) / "medmnist"

#: What makes a command quick; none of it changes what the command does.
SMALL = {
    "poolformer": "model.options={depths: [1,1,1,1], dims: [4,8,8,8]}",
    "slices": "model.options={layers: [1,1,1,1], channels: [8,8,8,8]}",
    "resnet": "model.options={layers: [1,1,1,1], block_inplanes: [4,8,8,8]}",
}
QUICK = ("train.epochs=1", "train.batch_size=4", "cv.folds=2", "system.workers=0")


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, flags=re.M | re.S)
    return [block for name, block in fenced if name == language]


def commands() -> list[str]:
    return [line for block in blocks("") for line in block.splitlines() if line.strip()]


def quick(words: list[str]) -> list[str]:
    """The same command on small networks and few epochs."""
    if "--config" not in words or words[1].startswith("benchmarks/"):
        return words
    if words[1] == "ladders/quick":
        few = [*QUICK, "preprocess.size=[16,16,8]", "report.bootstrap=100"]
        return [words[0], smaller_ladder(words[1]), *words[2:], *few]
    if words[1] == "tuning/mr_patches":
        few = [*QUICK, SMALL["poolformer"], "preprocess.size=[16,16,8]"]
        return [words[0], shorter_search(words[1]), *words[2:], *few]
    if "model.name=resnet18" in words:
        return [*words, *QUICK, SMALL["slices"]]
    kind = "resnet" if any("resnet" in word for word in words) else "poolformer"
    return [*words, *QUICK, SMALL[kind]]


def smaller_ladder(name: str) -> str:
    """The shipped ladder with small networks in its rungs."""
    plan = parse_yaml(find_config(name))
    plan |= {"config": "volumes/mr_patches"}
    for rung in cast("list[dict[str, JsonValue]]", plan["rungs"]):
        if rung["kind"] in ("train", "probe"):
            settings = cast("dict[str, JsonValue]", rung.setdefault("set", {}))
            network = str(settings.get("model.name", "poolformer"))
            kind = {"resnet18": "slices", "monai_resnet10": "resnet"}.get(network, network)
            settings["model.options"] = yaml.safe_load(SMALL[kind].partition("=")[2])
    Path("ladder.yaml").write_text(json.dumps(plan))
    return "ladder.yaml"


def shorter_search(name: str) -> str:
    """The shipped search with fewer trials; those after its first ones learn from the others."""
    plan = parse_yaml(find_config(name))
    plan |= {"config": "volumes/mr_patches", "trials": 4, "startup": 3}
    Path("search.yaml").write_text(json.dumps(plan))
    return "search.yaml"


@pytest.fixture
def workplace(
    tmp_path: Path, make_volumes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder as the guide supposes it: scans in class folders, and some new ones."""
    source = make_volumes(make_folder(tmp_path / "source"), patients=8, side=16)
    for row in read_table(source):
        name = row["image"].removeprefix("images/")
        target = make_folder(tmp_path / "scans" / row["label"]) / f"{row['patient_id']}_{name[-8:]}"
        shutil.copy(source.parent / row["image"], target)
    shutil.copytree(source.parent / "images", tmp_path / "new_scans")
    shutil.rmtree(source.parent)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def test_every_command_of_the_guide_runs(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for trees in ("_TREES", "_RANDOM_TREES"):
        monkeypatch.setattr(tables, trees, 20)
    if MEDMNIST.is_dir():
        (workplace / "medmnist").symlink_to(MEDMNIST.resolve())
    seen = set()
    for command in commands():
        program, verb, *words = shlex.split(command)
        assert program == "volclass"
        seen.add(verb)
        if "benchmarks/adrenalmnist3d" in words:
            assert load_config(words[1], [words[2]]).data.name == "adrenalmnist3d"
            if not MEDMNIST.is_dir():
                continue
            words.append("--dry-run")
        done = CliRunner().invoke(app, [verb, *quick(words)])
        assert done.exit_code == 0, f"{command}\n{done.output}"
    verbs = {"init", "audit", "plan", "train", "split", "models", "predict", "features", "probe"}
    assert seen == verbs | {"report", "ladder", "tune", "pretrain"}
    for name in ("predictions.csv", "predictions_refit.csv", "again.csv"):
        assert len(read_table(workplace / name)) == 16
    pages = ("runs/first/report", "runs/resnet/report", "runs/slices/report", "runs/tuned/report")
    for name in (*pages, "runs/first_probe", "runs/compare", "runs/ladder"):
        assert (workplace / name / "index.html").is_file()
    (block,) = blocks("python")
    done_python = subprocess.run(
        [sys.executable, "-c", block], capture_output=True, text=True, check=True, cwd=workplace
    )
    assert done_python.stdout == "16 cases, 8 channels\n"


def test_a_second_start_with_resume_goes_on(workplace: Path) -> None:
    words = ["--config", "work/config.yaml", "--out", "runs/first"]
    for verb, more in (("init", None), ("train", []), ("train", ["--resume"])):
        arguments = ["scans/", "--out", "work/"] if more is None else quick(words) + more
        done = CliRunner().invoke(app, [verb, *arguments])
        assert done.exit_code == 0, done.output


def test_the_endings_in_the_guide_are_those_that_are_found() -> None:
    from pipeline.data.volume_files import VOLUME_SUFFIXES

    (sentence,) = re.findall(r"finds the volumes \((.*?)\)", GUIDE, flags=re.S)
    named = set(re.findall(r"`(\.[a-z.]+)`", sentence))
    assert named == {*VOLUME_SUFFIXES, ".img"} - {".hdr.gz"}
