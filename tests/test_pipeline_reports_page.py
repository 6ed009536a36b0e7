"""The report of a synthetic run: right figures, escaped text, nothing from outside, same bytes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import JsonValue
from sklearn import metrics as sk

from pipeline.evaluation.cases import FloatArray
from pipeline.evaluation.results import evaluate
from pipeline.reports.limits import limits
from pipeline.reports.page import write_report
from pipeline.reports.pictures import picture_name, three_planes
from pipeline.reports.run_files import read_run
from pipeline.storage import read_table, write_json, write_table, write_text

FOLDS = 5
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', r"=HYPERLINK($5)\1\d")


@dataclass(frozen=True)
class MadeRun:
    """A synthetic run folder and what was put into it."""

    folder: Path
    labels: list[int]
    scores: FloatArray
    folds: list[int]


def make_run(
    folder: Path,
    classes: Sequence[str] = ("healthy", "tumour"),
    *,
    patients: int = 40,
    scans: int = 3,
    sites: Sequence[str | None] = (None,),
    finished: int = FOLDS,
    names: Mapping[int, str] | None = None,
    pictures: bool = True,
) -> MadeRun:
    """Writes every file of a run; `finished` folds have predictions, `names` replace case ids."""
    rng = np.random.default_rng(len(classes))
    owner = np.repeat(np.arange(patients), scans)
    labels = (np.arange(patients) % len(classes))[owner]
    folds = (np.arange(patients) // len(classes) % FOLDS)[owner]
    shared = rng.normal(0, 0.6, (patients, len(classes)))[owner]
    logits = 1.6 * np.eye(len(classes))[labels] + shared
    logits += rng.normal(0, 0.7, logits.shape)
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = [f"P{who:03d}_scan{index % scans}" for index, who in enumerate(owner)]
    for index, name in (names or {}).items():
        ids[index] = name
    entries: dict[str, dict[str, str]] = {
        case: {
            "patient_id": f"P{owner[index]:03d}",
            "label": classes[labels[index]],
            "content": "0" * 64,
            **({"site": site} if (site := sites[owner[index] % len(sites)]) else {}),
        }
        for index, case in enumerate(ids)
    }
    cases: dict[str, JsonValue] = {case: dict(entry.items()) for case, entry in entries.items()}
    parts: list[JsonValue] = [_split(ids, folds, fold) for fold in range(FOLDS)]
    _write_settings(folder)
    write_json(
        folder / "folds.json",
        {
            "format": 1,
            "scheme": "kfold",
            "seed": 0,
            "classes": list(classes),
            "cases": cases,
            "folds": parts,
            "sha256": "0" * 64,
        },
    )
    columns = ["case_id", "patient_id", "fold", "label", "prediction"]
    columns += [f"p_{name}" for name in classes]
    rows = [
        {
            "case_id": case,
            "patient_id": entries[case]["patient_id"],
            "fold": int(folds[index]),
            "label": entries[case]["label"],
            "prediction": classes[int(scores[index].argmax())],
            **{f"p_{name}": float(scores[index, k]) for k, name in enumerate(classes)},
        }
        for index, case in enumerate(ids)
        if folds[index] < finished
    ]
    write_table(folder / "predictions.csv", columns, rows)
    for fold in range(min(FOLDS, finished + 1)):
        (folder / f"fold_{fold}").mkdir()
        inside = [row for row in rows if row["fold"] == fold]
        if inside:
            write_table(folder / f"fold_{fold}" / "predictions.csv", columns, inside)
        _write_log(folder / f"fold_{fold}" / "log.csv", fold)
    (folder / "cases").mkdir()
    drawn = [three_planes(phantom(seed), (1.0, 1.0, 3.0)) for seed in range(6)]
    for index, case in enumerate(ids if pictures else []):
        (folder / "cases" / picture_name(case)).write_bytes(drawn[index % 6])
    kept = folds < finished
    return MadeRun(folder, labels[kept].tolist(), scores[kept], folds[kept].tolist())


def phantom(seed: int) -> FloatArray:
    """A noisy ellipsoid with a bright ball, shape (1, 40, 48, 16)."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 48, 16)), indexing="ij")
    body = (x / 0.75) ** 2 + (y / 0.9) ** 2 + (z / 0.85) ** 2 < 1
    centre = rng.uniform(-0.3, 0.3, 3)
    radius = rng.uniform(0.14, 0.3)
    ball = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < radius**2
    noise = rng.normal(0, 0.12, body.shape)
    result: FloatArray = (body * 1.0 + ball * 0.9 + noise)[None]
    return result


def _split(ids: Sequence[str], folds: np.ndarray, fold: int) -> dict[str, JsonValue]:
    parts: dict[str, list[JsonValue]] = {"train": [], "validation": [], "test": []}
    for case, own in zip(ids, folds.tolist(), strict=True):
        kind = {fold: "test", (fold + 1) % FOLDS: "validation"}.get(own, "train")
        parts[kind].append(case)
    return dict(parts.items())


def _write_settings(folder: Path) -> None:
    settings = {
        "seed": 0,
        "data": {"source": "manifest", "manifest": "/home/you/secret folder/cases.csv"},
        "train": {"epochs": 30, "lr": 0.001},
        "report": {"bootstrap": 200, "gallery": 12},
    }
    write_text(folder / "config.yaml", yaml.safe_dump(settings))
    write_json(folder / "environment.json", {"volclass": "0.1.0", "device": "cpu", "seconds": 61.5})
    columns = ("case_id", "file", "code", "reason", "remedy")
    row = (
        "P900",
        "/data/share/P900.nii",
        "truncated",
        "/data/share/P900.nii ends early",
        "copy it",
    )
    write_table(folder / "quarantine.csv", columns, [dict(zip(columns, row, strict=True))])


def _write_log(path: Path, fold: int) -> None:
    rows, best = [], 0.0
    for epoch in range(1, 26):
        area = 0.9 - 0.4 * np.exp(-epoch / 6) + 0.02 * np.sin(epoch * 2.3 + fold)
        rows.append(
            {
                "epoch": epoch,
                "train_loss": float(0.7 * np.exp(-epoch / 9) + 0.05),
                "validation_loss": float(0.5 * np.exp(-epoch / 6) + 0.25 + 0.004 * epoch),
                "validation_auroc": float(area) if epoch > 1 else None,
                "best": int(area > best),
                "seconds": 3.5,
            }
        )
        best = max(best, float(area))
    write_table(path, list(rows[0]), rows)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("classes", [("healthy", "tumour"), ("a", "b", "c")])
def test_metrics_json_equals_scikit_learn(empty: Path, classes: tuple[str, ...]) -> None:
    run = make_run(empty, classes, pictures=False)
    report = write_report(run.folder)
    values = json.loads(report.metrics.read_text())
    labels, scores, folds = np.asarray(run.labels), run.scores, np.asarray(run.folds)
    truth = np.eye(len(classes))[labels]
    columns = [1] if len(classes) == 2 else list(range(len(classes)))
    areas = [
        float(sk.roc_auc_score(truth[folds == f][:, columns], scores[folds == f][:, columns]))
        for f in range(FOLDS)
    ]
    metrics = values["metrics"]
    assert metrics["auroc"]["estimate"] == pytest.approx(np.mean(areas), abs=1e-12)
    assert [fold["auroc"] for fold in values["folds"]] == pytest.approx(areas, abs=1e-12)
    pooled = sk.roc_auc_score(truth[:, columns], scores[:, columns])
    assert metrics["auroc_pooled"]["estimate"] == pytest.approx(pooled, abs=1e-12)
    accuracy = sk.accuracy_score(labels, scores.argmax(axis=1))
    assert metrics["accuracy"]["estimate"] == pytest.approx(accuracy, abs=1e-12)
    assert values["folds"][0]["best_epoch"] > 0
    assert values["folds"][0]["epochs"] == 25
    assert values["classes"] == list(classes)
    assert values["left_out"] == 1
    shown = report.page.read_text()
    assert f"{metrics['auroc']['estimate']:.3f}" in shown
    assert f"{metrics['accuracy']['low']:.3f} to {metrics['accuracy']['high']:.3f}" in shown


def test_text_of_a_hostile_manifest_is_escaped_everywhere(empty: Path) -> None:
    names = {**dict(enumerate(HOSTILE)), 3: "../../etc/passwd", 4: "日本語 $x$", 5: "x" * 200}
    make_run(empty, HOSTILE, names=names, sites=HOSTILE)
    table = [dict.fromkeys(("case_id", "file", "code", "reason", "remedy"), HOSTILE[1])]
    write_table(empty / "quarantine.csv", list(table[0]), table)
    settings = yaml.safe_load((empty / "config.yaml").read_text())
    settings["report"]["gallery"] = 120
    write_text(empty / "config.yaml", yaml.safe_dump({**settings, HOSTILE[0]: HOSTILE[1]}))
    page = write_report(empty).page.read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "=HYPERLINK($5)" in page
    assert "日本語 $x$" in page
    assert not re.search(
        r"<(script|iframe|object|embed|link|base|form|meta http-equiv=.refresh)", page
    )
    for tag in re.findall(r"<[^>]*>", page):
        assert not re.search(r"\son\w+\s*=", re.sub(r'"[^"]*"', '""', tag)), tag
    assert page.count("<img ") == page.count('src="data:image/png;base64,') == 120


def test_the_page_loads_nothing_and_names_no_folder(empty: Path) -> None:
    make_run(empty, sites=("Bonn", "Ulm"))
    report = write_report(empty)
    page = re.sub(r'"data:image/png;base64,[^"]*"', '"data:"', report.page.read_text())
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert not re.search(r"https?:|file:|//\w|@import|url\((?!#)", page)
    for text in (report.page.read_text(), report.metrics.read_text()):
        assert str(empty) not in text
        assert "/home/" not in text
        assert "secret folder" not in text
        assert "/data/share" not in text
    assert report.page.stat().st_size < 3_000_000
    assert set(re.findall(r'(?:src|href)="(.)', page)) <= {"d", "#"}
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)
    assert all(re.search(r'alt="[^"]{10,}"', tag) for tag in re.findall(r"<img [^>]*>", page))
    assert all('aria-label="' in tag for tag in re.findall(r"<svg [^>]*>", page))


def test_equal_files_give_equal_bytes(empty: Path, tmp_path: Path) -> None:
    make_run(empty)
    first = write_report(empty)
    second = write_report(empty, tmp_path / "elsewhere")
    assert second.page == tmp_path / "elsewhere" / "index.html"
    assert first.page.read_bytes() == second.page.read_bytes()
    assert first.metrics.read_bytes() == second.metrics.read_bytes()


@pytest.mark.parametrize(
    ("fact", "words"),
    [({"patients_assumed": True}, "no patient column"), ({"bit_exact": False}, "only to rounding")],
)
def test_what_weakens_the_evidence_is_said_at_the_top(
    fact: dict[str, JsonValue], words: str, empty: Path
) -> None:
    make_run(empty, pictures=False)
    assert all(words not in notice for notice in write_report(empty).notices)
    write_json(empty / "environment.json", fact)
    report = write_report(empty)
    assert any(words in notice for notice in report.notices)
    assert words in report.page.read_text()


def test_an_unfinished_run_says_so_loudly(empty: Path) -> None:
    make_run(empty, finished=2, pictures=False)
    (empty / "predictions.csv").unlink()
    (empty / "environment.json").unlink()
    report = write_report(empty)
    page = report.page.read_text()
    assert "2 of 5 folds have predictions (missing: fold 2, 3, 4)" in report.notices[0]
    assert report.notices[0] in page
    assert "environment.json is missing" in report.notices[1]
    assert page.index('role="alert"') < page.index('class="hero"')
    assert page.count("not finished") >= 4
    assert "no picture in the run" in page
    assert json.loads(report.metrics.read_text())["unfinished_folds"] == [2, 3, 4]


def test_test_cases_without_a_prediction_are_counted(empty: Path) -> None:
    make_run(empty, pictures=False)
    rows = read_table(empty / "predictions.csv")
    write_table(empty / "predictions.csv", list(rows[0]), rows[1:])
    shutil.rmtree(empty / "fold_0")
    notices = write_report(empty).notices
    assert notices[0] == "Fold 0: 1 of its 24 test cases lack a prediction and are in no figure."
    assert notices[1] == "fold_0/log.csv is missing from the run."


def test_a_report_needs_no_torch(empty: Path) -> None:
    make_run(empty, pictures=False)
    code = (
        "import sys, pathlib; from pipeline.reports.page import write_report; "
        "write_report(pathlib.Path(sys.argv[1])); "
        "found = {'torch', 'monai', 'accelerate', 'safetensors', 'matplotlib.pyplot'} "
        "& set(sys.modules); sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(empty)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_limits_speak_of_this_run(empty: Path) -> None:
    make_run(empty, patients=10, sites=("north", "south"), pictures=False)
    run = read_run(empty)
    said = " ".join(limits(run, evaluate(run.scored, resamples=100)))
    assert "“healthy”: 5 patients with 15 cases carry this label." in said
    assert "all cases of “north”, “south” carry one label" in said
    assert "not for clinical use" in said
    assert "Anything about 1 left-out case" in said


def test_weights_of_a_file_are_a_limit_of_a_single_run(empty: Path) -> None:
    make_run(empty, patients=10, pictures=False)
    run = read_run(empty)
    result = evaluate(run.scored, resamples=100)
    assert not any("weights of the file" in text for text in limits(run, result))
    started = replace(run, config={**run.config, "model.weights": "…/own.safetensors"})
    (said,) = [text for text in limits(started, result) if "weights of the file" in text]
    assert "(…/own.safetensors) have seen these cases" in said


def test_a_perfect_ranking_is_not_called_certain(empty: Path) -> None:
    make_run(empty, patients=10, pictures=False)
    run = read_run(empty)
    certain = np.eye(2)[run.scored.labels]
    perfect = replace(run, scored=replace(run.scored, probabilities=certain))
    said = " ".join(limits(perfect, evaluate(perfect.scored, resamples=100)))
    assert "it has no interval, for every resampling gives the same value" in said
    assert "to better than the interval" not in said


def test_a_class_without_cases_leaves_dashes_and_a_reason(empty: Path) -> None:
    make_run(empty, ("a", "b", "c"), pictures=False)
    plan = json.loads((empty / "folds.json").read_text())
    plan["classes"] = ["a", "b", "c", "d"]
    write_json(empty / "folds.json", plan)
    for path in (empty / "predictions.csv", *empty.glob("fold_*/predictions.csv")):
        rows = [{**row, "p_d": "0.0"} for row in read_table(path)]
        write_table(path, list(rows[0]), rows)
    page = write_report(empty).page.read_text()
    assert "No AUROC: no test fold has a case of every class." in page
    assert "no case of &#39;d&#39;" in page
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL).lower()
