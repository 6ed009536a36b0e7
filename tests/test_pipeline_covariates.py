"""Clinical variables from the manifest to the report, on real runs of a tiny network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from covariate_runs import FUSED, PATIENTS, Rows, auroc, config_of, noise_rows, written

from pipeline.compare import compare
from pipeline.config import Config
from pipeline.crossval import cross_validate
from pipeline.data.covariates_file import read_covariates, read_encoder
from pipeline.errors import ConfigError, DataError, StorageError
from pipeline.evaluation import baselines as tables
from pipeline.features import extract
from pipeline.inputs import open_run
from pipeline.predict import predict
from pipeline.progress import Display, Silent
from pipeline.reports.page import write_report
from pipeline.run import training_identity
from pipeline.storage import read_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")


class ShownLines(Display, Protocol):
    """A display that keeps its lines."""

    shown: list[str]


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    """Enough for what is tested, and quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_TREES", 20)
        yield


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Cases whose volumes say nothing."""
    return noise_rows(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="module")
def manifest(rows: Rows) -> Path:
    return written(Path(rows[0]["image"]).parent / "manifest.csv", rows)


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Path:
    """A run that reads honest covariates."""
    out = tmp_path_factory.mktemp("fused") / "run"
    cross_validate(config_of(manifest, *FUSED), out, Silent())
    return out


def test_an_informative_covariate_lifts_a_network_that_sees_noise(
    fused: Path, manifest: Path, tmp_path: Path
) -> None:
    cross_validate(config_of(manifest), tmp_path / "run", Silent())
    assert auroc(fused) > 0.75
    assert auroc(fused) > auroc(tmp_path / "run") + 0.1


def test_each_fold_encodes_by_its_training_part_alone(fused: Path, rows: Rows) -> None:
    cells = {row["patient_id"]: row["marker"] for row in rows}
    folds = json.loads((fused / "folds.json").read_text())["folds"]
    means = []
    for number, fold in enumerate(folds):
        taught = [float(cells[name]) for name in fold["train"] if cells[name] != "NA"]
        marker, sex = read_encoder(fused / f"fold_{number}/covariates.json").columns
        assert marker.kind == "numeric"
        assert marker.mean == pytest.approx(np.mean(taught))
        assert marker.median == pytest.approx(np.median(taught))
        assert marker.some_missing == ("p05" in fold["train"])
        assert sex.kind == "categorical"
        assert sex.words == ("f", "m")
        means.append(marker.mean)
    assert means[0] != means[1]
    known = [float(cell) for cell in cells.values() if cell != "NA"]
    (refit, _) = read_encoder(fused / "refit/covariates.json").columns
    assert refit.kind == "numeric"
    assert refit.mean == pytest.approx(np.mean(known))


def test_what_was_read_is_said(manifest: Path, tmp_path: Path, lines: ShownLines) -> None:
    config = config_of(manifest, *FUSED, "train.epochs=1", "cv.refit=false")
    cross_validate(config, tmp_path / "run", lines, fold=0)
    text = "\n".join(lines.shown)
    assert "covariate marker: numeric" in text
    assert ", 1 missing" in text
    assert "covariate sex: categorical, 2 words (f, m)" in text
    assert "not used: code" in text
    assert "Label in disguise" not in text


def test_values_stay_in_the_manifest(fused: Path, rows: Rows) -> None:
    text = (fused / "covariates.json").read_text()
    assert [row["marker"] for row in rows if row["marker"] in text] == []


def test_out_of_fold_gives_the_predictions_of_the_run(
    fused: Path, manifest: Path, tmp_path: Path
) -> None:
    predict(fused, [str(manifest)], tmp_path / "p.csv", Silent(), out_of_fold=True)
    again = {row["case_id"]: row for row in read_table(tmp_path / "p.csv")}
    for row in read_table(fused / "predictions.csv"):
        assert float(again[row["case_id"]]["p_a"]) == pytest.approx(float(row["p_a"]), abs=1e-6)


@pytest.mark.parametrize("refit", [False, True])
def test_a_prediction_follows_the_covariates(
    refit: bool, fused: Path, rows: Rows, tmp_path: Path
) -> None:
    made = []
    for marker in ("25", "65"):
        changed = [{**row, "marker": marker, "label": ""} for row in rows]
        path = written(tmp_path / f"m{marker}.csv", changed)
        overrides = ["data.allow_outside_root=true"]
        found = predict(fused, [str(path), *overrides], tmp_path / "p.csv", Silent(), refit=refit)
        made.append(np.array([item.probabilities[1] for item in found]))
    assert (made[1] > made[0]).all()


def test_a_single_missing_cell_is_imputed(
    fused: Path, rows: Rows, tmp_path: Path, lines: ShownLines
) -> None:
    changed = [{**rows[0], "marker": "", "sex": "diverse"}, {**rows[1], "marker": "?"}]
    path = written(tmp_path / "m.csv", changed)
    found = predict(fused, [str(path), "data.allow_outside_root=true"], tmp_path / "p.csv", lines)
    assert np.isfinite([item.probabilities for item in found]).all()
    told = "\n".join(lines.shown)
    assert "covariate marker: missing in 2 cases; the median stands for it" in told
    assert "covariate sex: 'diverse' in 1 cases unknown to the run" in told


def test_words_of_another_language_are_refused(fused: Path, rows: Rows, tmp_path: Path) -> None:
    path = written(tmp_path / "m.csv", [{**row, "sex": f"x{row['sex']}"} for row in rows[:3]])
    with pytest.raises(DataError, match="no case has a sex that the run was trained on"):
        predict(fused, [str(path), "data.allow_outside_root=true"], tmp_path / "p.csv", Silent())


def test_a_missing_column_is_refused_at_prediction(fused: Path, rows: Rows, tmp_path: Path) -> None:
    lacking = [{name: cell for name, cell in row.items() if name != "marker"} for row in rows]
    path = written(tmp_path / "lacking.csv", lacking)
    with pytest.raises(DataError) as caught:
        predict(fused, [str(path)], tmp_path / "p.csv", Silent())
    assert "no column 'marker'" in str(caught.value)
    assert "lacking.csv" in str(caught.value)
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_volume_without_a_manifest_is_refused(
    what: str, fused: Path, rows: Rows, tmp_path: Path
) -> None:
    path = Path(rows[0]["image"])
    path = path if what == "file" else path.parent
    with pytest.raises(DataError, match="a volume alone has none") as caught:
        predict(fused, [str(path)], tmp_path / "p.csv", Silent())
    assert "marker, sex" in str(caught.value)


def test_a_word_where_the_run_learnt_numbers_is_refused(
    fused: Path, rows: Rows, tmp_path: Path
) -> None:
    path = written(tmp_path / "m.csv", [{**rows[0], "marker": "high"}])
    with pytest.raises(DataError, match="covariate marker of case p00 is no number"):
        predict(fused, [str(path), "data.allow_outside_root=true"], tmp_path / "p.csv", Silent())


def test_what_the_networks_read_cannot_be_changed(fused: Path, manifest: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.covariates cannot be changed"):
        predict(fused, [str(manifest), "data.covariates=[]"], manifest.parent / "p.csv", Silent())


def test_a_damaged_encoder_is_refused(fused: Path, manifest: Path, tmp_path: Path) -> None:
    shutil.copytree(fused, tmp_path / "run")
    (tmp_path / "run/fold_1/covariates.json").unlink()
    with pytest.raises(StorageError, match="cannot read covariates"):
        predict(tmp_path / "run", [str(manifest)], tmp_path / "p.csv", Silent())


def test_features_need_no_covariates(
    fused: Path, rows: Rows, tmp_path: Path, lines: ShownLines
) -> None:
    whole = extract(fused, [], tmp_path / "whole.parquet", lines)
    lacking = [{"image": row["image"], "label": row["label"]} for row in rows]
    path = written(tmp_path / "lacking.csv", lacking)
    again = extract(
        fused,
        [str(path), "data.allow_outside_root=true"],
        tmp_path / "again.parquet",
        lines,
    )
    assert whole.table.case_ids == again.table.case_ids
    for name, block in whole.table.blocks.items():
        assert np.array_equal(block, again.table.blocks[name])
    config = config_of(path, "data.covariates=[marker]")
    assert extract(config, [], tmp_path / "untrained.parquet", lines).table.case_ids


Same = Callable[[Path, Path], None]


def test_a_stopped_run_goes_on_to_the_same_bits(
    fused: Path, manifest: Path, tmp_path: Path, assert_same_run: Same
) -> None:
    config = config_of(manifest, *FUSED)
    cross_validate(config, tmp_path / "run", Silent(), fold=1)
    cross_validate(config, tmp_path / "run", Silent(), resume=True)
    assert_same_run(fused, tmp_path / "run")
    for name in ("covariates.json", "covariates_judged.json", "refit/covariates.json"):
        assert (fused / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_a_changed_value_is_refused_at_resume(rows: Rows, tmp_path: Path) -> None:
    manifest = written(tmp_path / "manifest.csv", rows)
    config = config_of(manifest, *FUSED, "train.epochs=1")
    cross_validate(config, tmp_path / "run", Silent(), fold=0)
    written(manifest, [{**rows[0], "marker": "63"}, *rows[1:]])
    with pytest.raises(DataError, match="covariates of 1 cases are not those") as caught:
        cross_validate(config, tmp_path / "run", Silent(), resume=True)
    assert "p00" in str(caught.value)
    # The same number written in another way is the same value, and unread columns do not matter.
    same = [{**row, "code": "x"} for row in rows]
    same[1] = {**same[1], "marker": f"{same[1]['marker']}0"}
    written(manifest, same)
    assert cross_validate(config, tmp_path / "run", Silent(), resume=True)


def test_other_columns_are_another_run(fused: Path, manifest: Path, tmp_path: Path) -> None:
    shutil.copytree(fused, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"data\.covariates"):
        cross_validate(
            config_of(manifest, *FUSED, "data.covariates=[marker]"),
            tmp_path / "run",
            Silent(),
            resume=True,
        )


def test_checkpoints_belong_to_the_values_that_they_were_trained_with(
    fused: Path, manifest: Path, tmp_path: Path
) -> None:
    shutil.copytree(fused, tmp_path / "run")
    identity = training_identity(open_run(fused, Silent()))
    path = tmp_path / "run/covariates.json"
    record = read_covariates(path).model_dump(mode="json")
    record["cases"]["p00"] = "0" * 64
    path.write_text(json.dumps(record))
    assert training_identity(open_run(tmp_path / "run", Silent())) != identity
    with pytest.raises(StorageError, match="belongs to another run"):
        predict(tmp_path / "run", [str(manifest)], tmp_path / "p.csv", Silent())


def test_columns_that_are_not_named_change_no_bit(
    small_manifest: Path,
    small_config: Callable[..., Config],
    reference: Path,
    tmp_path: Path,
    assert_same_run: Same,
) -> None:
    known = read_table(small_manifest)
    for place, row in enumerate(known):
        row["image"] = str(small_manifest.parent / row["image"])
        row["age"] = str(place)
    manifest = written(tmp_path / "manifest.csv", known)
    config = small_config(f"data.manifest={manifest}", "data.allow_outside_root=true")
    cross_validate(config, tmp_path / "run", Silent())
    assert_same_run(reference, tmp_path / "run")
    assert not list((tmp_path / "run").rglob("covariates*.json"))


def test_the_page_says_what_the_covariates_tell_alone(fused: Path) -> None:
    page = (fused / "report/index.html").read_text()
    assert "Label in disguise" not in page
    assert "What the images add" in page
    metrics = json.loads((fused / "report/metrics.json").read_text())
    assert sorted(metrics["covariates"]["alone"]) == ["marker", "sex"]
    assert metrics["covariates"]["patients"] == PATIENTS


def test_a_column_that_is_the_label_raises_the_red_banner(
    fused: Path, manifest: Path, tmp_path: Path, lines: ShownLines
) -> None:
    config = config_of(manifest, "data.covariates=[marker, code]", "train.epochs=1")
    out = tmp_path / "run"
    cross_validate(config, out, lines)
    (warning,) = [line for line in lines.shown if "Label in disguise" in line]
    assert warning.startswith("warning: Label in disguise: the covariate code alone")
    for name in ("checkpoints", "tensorboard"):
        shutil.rmtree(out / "fold_0" / name)  # the page needs files only, and none of these
    page = write_report(out, tmp_path / "page").page.read_text()
    banner = page[page.index('<div class="notice bad"') :]
    assert "the covariate code alone tells the label" in banner[: banner.index("</div>")]
    found = compare([fused, out], tmp_path / "compare", Silent())
    (doubt,) = found.warnings
    assert "Label in disguise" in doubt
    text = found.page.read_text()
    assert text.count("label in disguise</span>") == 1
    assert "reads marker, sex" in text
