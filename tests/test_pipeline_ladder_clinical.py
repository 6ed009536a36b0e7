"""Clinical variables on a ladder: alone as a baseline, with the volume where a rung says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from conftest import SMALL

from pipeline.config_file import load_config
from pipeline.errors import ConfigError, DataError
from pipeline.evaluation import baselines as tables
from pipeline.evaluation.competitors import read_competitor
from pipeline.ladder import ladder
from pipeline.ladder_config import read_ladder
from pipeline.progress import Display, Silent
from pipeline.storage import read_table, write_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

COVARIATES: dict[str, object] = {"data.covariates": ["age", "sex"]}
RUNGS: list[dict[str, object]] = [
    {"name": "clinical", "kind": "clinical", "title": "clinical only"},
    {"name": "volume", "kind": "train"},
    {"name": "both", "kind": "train", "title": "volume + clinical", "covariates": True},
]


class ShownLines(Display, Protocol):
    """A display that keeps its lines."""

    shown: list[str]


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    """Enough for what is tested, and quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_TREES", 20)
        patch.setattr(tables, "_RANDOM_TREES", 20)
        yield


def written(
    folder: Path, rungs: list[dict[str, object]], settings: dict[str, object] = COVARIATES
) -> str:
    """A ladder file; JSON is YAML."""
    path = folder / "ladder.yaml"
    path.write_text(json.dumps({"config": "base", "set": settings, "rungs": rungs}))
    return str(path)


@pytest.fixture
def data(tmp_path: Path, make_volumes: Callable[..., Path]) -> Path:
    """Ten patients with two scans; age goes with the class in most of them."""
    (tmp_path / "data").mkdir()
    manifest = make_volumes(tmp_path / "data")
    rows = read_table(manifest)
    random = np.random.default_rng(3)
    for row in rows:
        patient = int(row["patient_id"][1:])
        turned = patient in (2, 7)
        row["age"] = str((60 if (patient % 2) != turned else 40) + int(random.integers(0, 9)))
        row["sex"] = "fm"[int(random.integers(2))]
    write_table(manifest, list(rows[0]), rows)
    return manifest


def overrides(manifest: Path) -> list[str]:
    return [*SMALL, f"data.manifest={manifest}", "train.epochs=1"]


def test_the_ladder_compares_clinical_volume_and_both(
    data: Path, tmp_path: Path, lines: ShownLines
) -> None:
    source, out = written(tmp_path, RUNGS), tmp_path / "ladder"
    result = ladder(source, out, lines, overrides(data))
    assert result.warnings == ()
    card = read_competitor(out / "clinical").card
    assert card.is_clinical
    assert not card.is_metadata
    assert not card.is_disguised
    assert "reads age, sex" in card.notes
    configs = {name: load_config(str(out / name / "config.yaml")) for name in ("volume", "both")}
    assert configs["volume"].data.covariates == ()
    assert configs["both"].data.covariates == ("age", "sex")
    assert (out / "both/fold_0/covariates.json").is_file()
    assert not (out / "volume/fold_0/covariates.json").exists()
    standings = {item.title: item for item in result.evaluation.standings}
    assert set(standings) == {"clinical only", "volume", "volume + clinical"}
    assert len(result.evaluation.pairs) == 3
    page = result.page.read_text()
    assert page.count("no voxels</span>") == 1
    assert "reads age, sex" in page
    # A second start climbs nothing; other values are told to the rungs that read them.
    lines.shown.clear()
    ladder(source, out, lines, overrides(data))
    assert sum("finished before" in line for line in lines.shown) == 3
    rows = read_table(data)
    write_table(data, list(rows[0]), [{**rows[0], "age": "99"}, *rows[1:]])
    lines.shown.clear()
    with pytest.raises(DataError, match="covariates of 1 cases are not those") as caught:
        ladder(source, out, lines, overrides(data))
    assert "rung both" in str(caught.value)
    told = " ".join(lines.shown)
    assert "clinical: climbed again, for the covariates of the cases are not those" in told
    assert "volume: finished before" in told


def test_the_baseline_learns_from_the_training_part_alone(data: Path, tmp_path: Path) -> None:
    """What a fold says of its test cases does not change with the values of other test cases."""
    rungs: list[dict[str, object]] = [RUNGS[0], {"name": "majority", "kind": "majority"}]
    ladder(written(tmp_path, rungs), tmp_path / "one", Silent(), overrides(data))
    first = {row["case_id"]: row for row in read_table(tmp_path / "one/clinical/predictions.csv")}
    changed = "p03_0"
    rows = read_table(data)
    for row in rows:
        if changed in row["image"]:
            row["age"], row["sex"] = "1000", "other"
    write_table(data, list(rows[0]), rows)
    ladder(written(tmp_path, rungs), tmp_path / "two", Silent(), overrides(data))
    fold = first[changed]["fold"]
    for row in read_table(tmp_path / "two/clinical/predictions.csv"):
        if row["fold"] == fold and row["case_id"] != changed:
            assert row == first[row["case_id"]]


def test_the_label_in_disguise_opens_the_page_with_a_red_banner(
    data: Path, tmp_path: Path, lines: ShownLines
) -> None:
    rows = [{**row, "code": f"code {row['label']}"} for row in read_table(data)]
    write_table(data, list(rows[0]), rows)
    rungs: list[dict[str, object]] = [RUNGS[0], {"name": "majority", "kind": "majority"}]
    source = written(tmp_path, rungs, {"data.covariates": ["age", "code"]})
    result = ladder(source, tmp_path / "ladder", lines, overrides(data))
    (warning,) = result.warnings
    assert "Label in disguise" in warning
    assert "clinical only: AUROC 1.00" in warning
    assert any("the covariate code alone tells the label" in line for line in lines.shown)
    page = result.page.read_text()
    assert page.index('<div class="notice bad"') < page.index("Ranking")
    assert '<span class="mark bad">label in disguise</span>' in page
    assert "Clinical variables are the label in disguise" in page


def test_a_clinical_rung_needs_covariates(tmp_path: Path) -> None:
    for rungs in (RUNGS[:2], RUNGS[1:]):
        with pytest.raises(ConfigError, match="the ladder names none") as caught:
            read_ladder(written(tmp_path, rungs, {}), (), lambda _: None)
        reader = "clinical" if rungs[0] is RUNGS[0] else "both"
        assert f"rung {reader}" in str(caught.value)


def test_covariates_in_another_rung_would_do_nothing(tmp_path: Path) -> None:
    rungs: list[dict[str, object]] = [
        RUNGS[0],
        {"name": "probe", "kind": "probe", "covariates": True},
    ]
    with pytest.raises(ConfigError, match="covariates would do nothing in a probe rung"):
        read_ladder(written(tmp_path, rungs), (), lambda _: None)


def test_one_rung_cannot_name_covariates_of_its_own(tmp_path: Path) -> None:
    rungs: list[dict[str, object]] = [RUNGS[0], {**RUNGS[1], "set": COVARIATES}]
    with pytest.raises(ConfigError, match=r"data\.covariates cannot be set for one rung"):
        read_ladder(written(tmp_path, rungs), (), lambda _: None)


def test_covariates_that_no_rung_reads_are_said(tmp_path: Path) -> None:
    told: list[str] = []
    rungs: list[dict[str, object]] = [RUNGS[1], {"name": "majority", "kind": "majority"}]
    plan = read_ladder(written(tmp_path, rungs), (), told.append)
    assert [rung.config.data.covariates for rung in plan.rungs] == [(), ()]
    assert any("no rung reads them" in line for line in told)


def test_a_rung_that_reads_none_may_blend_volumes(tmp_path: Path) -> None:
    rungs: list[dict[str, object]] = [RUNGS[0], {**RUNGS[1], "set": {"augment.mixup": 0.2}}]
    plan = read_ladder(written(tmp_path, rungs), (), lambda _: None)
    assert plan.rungs[1].config.augment.mixup == 0.2
