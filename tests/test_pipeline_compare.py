"""`volclass report RUN RUN ...`: what is compared, and what is written."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.compare import Comparison, compare
from pipeline.evaluation.cases import scored_cases
from pipeline.evaluation.competitors import Card, read_competitor, write_competitor
from pipeline.progress import Silent
from pipeline.storage import read_json, read_table, write_json


def _tests(name: str) -> ModuleType:
    return importlib.import_module(name)


def make_run(
    folder: Path, settings: Mapping[str, object] | None = None, *, finished: int = 5
) -> Path:
    """A training run of 40 patients; `settings` are those of its section `model`."""
    folder.mkdir(parents=True)
    _tests("test_pipeline_reports_page").make_run(folder, finished=finished, pictures=False)
    if settings:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**config, "model": dict(settings)}))
    return folder


def make_competitor(run: Path, folder: Path, card: Card, strength: float = 1.0) -> Path:
    """Answers to the cases of a run."""
    rows = read_table(run / "predictions.csv")
    labels = np.array([row["label"] == "tumour" for row in rows])
    rng = np.random.default_rng(len(card.title) + 2)
    logits = strength * (2 * labels - 1) + rng.normal(0, 1, len(rows))
    p = 1 / (1 + np.exp(-logits))
    patients = [row["patient_id"] for row in rows]
    folds = [int(row["fold"]) for row in rows]
    classes = ("healthy", "tumour")
    scored = scored_cases(labels, np.stack([1 - p, p], axis=1), patients, folds, classes)
    write_competitor(folder, card, [row["case_id"] for row in rows], scored)
    return folder


def three(folder: Path) -> list[Path]:
    """A 3D run, a better one over slices, and metadata that know nothing."""
    run = make_run(folder / "volumes", {"name": "poolformer3d_t"})
    slices = Card(title="slices", kind="network", network="resnet18", start="trained")
    metadata = Card(title="metadata", kind="baseline", notes=("metadata",))
    return [
        run,
        make_competitor(run, folder / "slices", slices, strength=1.7),
        make_competitor(run, folder / "metadata", metadata, strength=0.0),
    ]


def compared(folders: list[Path], out: Path) -> Comparison:
    """Compares with few resamplings."""
    return compare(folders, out, Silent(), resamples=300)


def test_a_run_a_network_over_slices_and_a_baseline_are_compared(tmp_path: Path) -> None:
    result = compared(three(tmp_path), tmp_path / "out")
    assert [item.title for item in result.evaluation.standings] == ["slices", "volumes", "metadata"]
    told = result.lines()
    assert told[0].startswith("1. slices (2D slices): AUROC 0.9")
    assert told[1].startswith("2. volumes (3D network): AUROC 0.")
    assert told[2].startswith("3. metadata (baseline): AUROC 0.")
    assert told[3].startswith("slices is best (AUROC 0.9")
    assert told[3].endswith("it is better than volumes, metadata.")
    assert told[4].startswith("3D lost: slices")
    assert told[-1] == f"page: {result.page}"
    assert result.warnings == ()
    assert result.page.read_text().count("3D lost") == 1


def test_the_summary_holds_every_figure(tmp_path: Path) -> None:
    folders = three(tmp_path)
    result = compared(folders, tmp_path / "out")
    values = json.loads(result.summary.read_text())
    assert (values["format"], values["kind"], values["cases"]) == (1, "comparison", 120)
    assert [item["rank"] for item in values["competitors"]] == [1, 2, 3]
    own = values["competitors"][1]
    assert (own["title"], own["kind"], own["network"]) == ("volumes", "network", "poolformer3d_t")
    assert (own["start"], own["folds"]) == ("trained", "0" * 64)
    assert {"auroc", "accuracy", "brier", "ece"} == own["metrics"].keys()
    assert [(p["first"], p["second"]) for p in values["pairs"]] == [
        ("slices", "volumes"),
        ("slices", "metadata"),
        ("volumes", "metadata"),
    ]
    first = values["pairs"][0]
    assert first["auroc"]["p"] <= first["auroc"]["p_holm"] < 0.05
    assert first["judgement"] == "better"
    assert first["tests"]["delong"]["reason"] == "several cases a patient"
    assert first["tests"]["resampled_t"]["p"] is not None
    assert values["sentence"] in result.lines()
    assert values["volumes_lost"].startswith("3D lost")
    assert values["warnings"] == []
    assert str(tmp_path) not in result.summary.read_text() + result.page.read_text()


def test_the_figures_of_a_run_are_those_of_its_own_report(tmp_path: Path) -> None:
    from pipeline.reports.page import write_report

    folders = three(tmp_path)
    own = write_report(folders[0], tmp_path / "report").evaluation.metrics
    found = compare(folders, tmp_path / "out", Silent(), resamples=200).evaluation
    for name, value in found.standings[1].figures.items():
        assert value == own[name]


def test_the_order_of_runs_changes_no_byte(tmp_path: Path) -> None:
    folders = three(tmp_path)
    first = compared(folders, tmp_path / "one")
    second = compared(folders[::-1], tmp_path / "two")
    assert first.page.read_bytes() == second.page.read_bytes()
    assert first.summary.read_bytes() == second.summary.read_bytes()


@pytest.mark.parametrize("strength", [1.5, 60.0])
def test_metadata_that_predict_the_label_raise_a_warning(tmp_path: Path, strength: float) -> None:
    run = make_run(tmp_path / "run")
    card = Card(title="metadata", kind="baseline", notes=("metadata",))
    other = make_competitor(run, tmp_path / "metadata", card, strength)
    result = compared([run, other], tmp_path / "out")
    (warning,) = result.warnings
    assert "the label can be told from metadata alone, without looking at voxels" in warning
    assert f"warning: {warning}" in result.lines()
    page = result.page.read_text()
    assert warning in page
    assert page.index('class="notice bad"') < page.index('class="hero"')


@pytest.mark.parametrize(
    ("settings", "kind", "start", "notes"),
    [
        ({"name": "poolformer3d_t"}, "3D network", "trained", []),
        (
            {"name": "poolformer3d_t", "slices": {"pool": "attention", "frozen": False}},
            "3D network",
            "trained",
            [],
        ),
        (
            {"name": "resnet18", "slices": {"pool": "gru", "neighbours": 1, "frozen": False}},
            "2D slices",
            "trained",
            ["slices pooled by gru", "2.5D"],
        ),
        (
            {"name": "resnet18", "slices": {"pool": "mean", "frozen": True}},
            "2D slices",
            "random",
            ["slices pooled by mean", "features as they are"],
        ),
        (
            {"name": "resnet18", "init": "timm", "slices": {"pool": "mean", "frozen": True}},
            "2D slices",
            "pretrained",
            ["slices pooled by mean", "features as they are"],
        ),
        (
            {"name": "monai_resnet18", "init": "inflate", "weights": "a.pth"},
            "3D network",
            "trained",
            ["started from a file's weights"],
        ),
        (
            {"name": "monai_resnet18", "init": "random", "weights": "a.safetensors"},
            "3D network",
            "trained",
            ["started from a file's weights"],
        ),
        (
            {"name": "monai_resnet18", "init": "timm", "weights": None},
            "3D network",
            "trained",
            ["started from published weights"],
        ),
        (
            {"name": "poolformer3d_n", "init": "pre", "weights": None},
            "3D network",
            "trained",
            ["started from pretraining without labels"],
        ),
    ],
)
def test_a_run_says_by_its_configuration_what_it_is(
    tmp_path: Path, settings: dict[str, object], kind: str, start: str, notes: list[str]
) -> None:
    run = make_run(tmp_path / "run", settings)
    other = make_competitor(run, tmp_path / "other", Card(title="other", kind="baseline"))
    result = compared([run, other], tmp_path / "out")
    (item,) = [item for item in result.evaluation.standings if item.title == "run"]
    assert item.card.start == start
    assert list(item.card.notes) == notes
    page = result.page.read_text()
    assert kind in page
    assert ("random features</span>" in page) == (start == "random")


@pytest.mark.parametrize(
    ("settings", "initial", "cautious"),
    [
        ({"name": "monai_resnet18", "init": "random", "weights": "own.safetensors"}, "file", True),
        ({"name": "monai_resnet18", "init": "inflate", "weights": "mine.pth"}, "file", True),
        ({"name": "monai_resnet18", "init": "timm"}, "pretrained", False),
        ({"name": "poolformer3d_t"}, "random", False),
    ],
)
def test_training_that_started_from_a_file_is_a_limit_of_the_evidence(
    tmp_path: Path, settings: dict[str, object], initial: str, cautious: bool
) -> None:
    run = make_run(tmp_path / "run", settings)
    other = make_competitor(run, tmp_path / "other", Card(title="other", kind="baseline"))
    result = compared([run, other], tmp_path / "out")
    values = json.loads(result.summary.read_text())
    (own,) = [item for item in values["competitors"] if item["title"] == "run"]
    assert (own["start"], own["initial"]) == ("trained", initial)
    assert ("Whether weights from a file have seen these" in result.page.read_text()) == cautious


@pytest.mark.parametrize(
    ("slices", "init", "words"),
    [
        ({"frozen": False, "freeze_stages": 2}, "random", "first 2 stages"),
        ({"frozen": True, "pyramid": True}, "timm", "pyramid was never trained"),
    ],
)
def test_parts_that_nobody_trained_are_marked(
    tmp_path: Path, slices: dict[str, object], init: str, words: str
) -> None:
    run = make_run(tmp_path / "run", {"name": "resnet18", "init": init, "slices": slices})
    other = make_competitor(run, tmp_path / "other", Card(title="other", kind="baseline"))
    page = compared([run, other], tmp_path / "out").page.read_text()
    assert 'class="mark">random parts</span>' in page
    assert words in page
    assert "random features</span>" not in page


def _with_report(run: Path, seed: int, bootstrap: int) -> Path:
    config = yaml.safe_load((run / "config.yaml").read_text())
    report = {**config["report"], "bootstrap": bootstrap}
    changed = {**config, "seed": seed, "report": report}
    (run / "config.yaml").write_text(yaml.safe_dump(changed))
    return run


def test_intervals_are_those_of_the_runs_own_reports_with_any_seed(tmp_path: Path) -> None:
    from pipeline.reports.page import write_report

    folders = three(tmp_path)
    _with_report(folders[0], seed=5, bootstrap=150)
    own = write_report(folders[0], tmp_path / "report").evaluation.metrics
    found = compare(folders, tmp_path / "out", Silent()).evaluation
    assert (found.seed, found.resamples) == (5, 500 * 3)
    for name, value in found.standings[1].figures.items():
        assert value == own[name]


def test_runs_that_disagree_about_resamplings_get_the_default(tmp_path: Path) -> None:
    one = _with_report(make_run(tmp_path / "one"), seed=5, bootstrap=150)
    two = _with_report(make_run(tmp_path / "two"), seed=6, bootstrap=100)
    found = compare([one, two], tmp_path / "out", Silent()).evaluation
    assert (found.seed, found.resamples) == (0, 2000)


def test_titles_can_be_given_and_equal_ones_are_told_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a" / "run")
    shutil.copytree(run, tmp_path / "b" / "run")
    other = make_competitor(run, tmp_path / "c", Card(title="run", kind="baseline"), 0.1)
    folders = [run, tmp_path / "b" / "run", other]
    titles = sorted(item.title for item in compared(folders, tmp_path / "out").evaluation.standings)
    assert titles == ["run (a/run)", "run (b/run)", f"run ({tmp_path.name}/c)"]
    named = {run: "mine", folders[1]: "yours"}
    result = compare(folders, tmp_path / "out", Silent(), titles=named, resamples=100)
    assert {item.title for item in result.evaluation.standings} == {"mine", "yours", "run"}


def test_a_probe_on_the_folds_of_a_run_is_compared_with_it(tmp_path: Path) -> None:
    from pipeline.data.folds_file import read_folds

    probing = _tests("test_pipeline_probe")
    run = make_run(tmp_path / "run", {"name": "poolformer3d_t"})
    document = read_json(run / "folds.json")
    assert isinstance(document, dict)
    del document["sha256"]
    write_json(run / "folds.json", document)
    known = {row["case_id"]: row for row in read_table(run / "predictions.csv")}
    table = probing.make_table(patients=40, scans=3, signal=2, channels=(2, 2))
    table = replace(
        table,
        case_ids=tuple(known),
        patient_ids=tuple(row["patient_id"] for row in known.values()),
        labels=tuple(row["label"] for row in known.values()),
        folds=tuple(int(row["fold"]) for row in known.values()),
    )
    sha256 = read_folds(run / "folds.json").sha256
    table = replace(table, origin=replace(table.origin, folds=sha256, start="random"))
    probing.probed(tmp_path / "probe", table, run=run)
    folder = tmp_path / "probe" / "out"
    back = read_competitor(folder)
    assert back.case_ids == tuple(sorted(known))
    assert back.card == Card(
        title="probe of poolformer3d_t",
        kind="probe",
        network="poolformer3d_t",
        start="random",
        folds=sha256,
        notes=("logistic regression on all stages",),
    )
    result = compared([run, folder], tmp_path / "out")
    assert {item.card.kind for item in result.evaluation.standings} == {"network", "probe"}
    assert "untrained: random features" in " ".join(result.lines())


def test_the_answers_of_a_probe_give_the_figure_of_all_stages(tmp_path: Path) -> None:
    from pipeline.evaluation.metrics import fold_mean_auroc, ones
    from pipeline.evaluation.probes import LOGISTIC

    probing = _tests("test_pipeline_probe")
    result = probing.probed(
        tmp_path, probing.make_table(patients=18, signal=2, channels=(2, 2), folds=None), folds=3
    )
    back = read_competitor(tmp_path / "out")
    expected = result.evaluation.stages[-1].probes[LOGISTIC].auroc.estimate
    assert fold_mean_auroc(back.scored, ones(back.scored))[0] == pytest.approx(expected)
    assert "folds made by the probe" in back.card.notes
    assert back.card.start == "trained"


def test_the_verb_compares_several_and_reports_one(tmp_path: Path) -> None:
    folders = three(tmp_path)
    words = [str(folder) for folder in folders]
    done = CliRunner().invoke(app, ["report", *words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "1. slices (2D slices)" in done.output
    assert "slices is best" in done.output
    assert f"page: {tmp_path / 'out' / 'index.html'}" in done.output
    assert (tmp_path / "out" / "comparison.json").is_file()
    one = CliRunner().invoke(app, ["report", words[0]])
    assert one.exit_code == 0, one.output
    assert "report: " in one.output
    assert (folders[0] / "report" / "index.html").is_file()


def test_comparing_needs_no_torch() -> None:
    code = (
        "import sys; import pipeline.compare; "
        "found = {'torch', 'monai', 'accelerate', 'matplotlib.pyplot'} & set(sys.modules); "
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
