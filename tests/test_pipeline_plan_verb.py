"""What a plan may look at, what it remembers, and that the verb writes what `train` takes."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from leak_makers import write_rows
from typer.testing import CliRunner

from pipeline import plan_reading
from pipeline.cli import app
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.data.cases import Case
from pipeline.data.folds_file import read_folds
from pipeline.data.formats.rules import Rules
from pipeline.data.manifest import read_manifest
from pipeline.data.splits import Fold, make_folds
from pipeline.data.volumes import Refusal
from pipeline.errors import ConfigError, DataError, StorageError
from pipeline.plan import plan, plan_for
from pipeline.plan_reading import Looks
from pipeline.planning.fingerprint import Look
from pipeline.planning.request import request_of
from pipeline.progress import Silent
from pipeline.storage import read_table
from plan_makers import QUICK, SMALL, manifest, planned, scan, scans


def test_labels_shuffled_change_nothing(tmp_path: Path) -> None:
    spacings = [(1.0, 1.0, 2.0), (1.1, 1.0, 2.5), (0.9, 1.2, 3.0)]
    cases = scans(tmp_path, spacings, [(16, 18, 12), (20, 14, 9)], patients=10)
    made = planned(cases, tmp_path / "plan.yaml")
    rows = [(row["image"], row["label"], row["patient_id"]) for row in read_table(cases)]
    labels = np.random.default_rng(1).permutation([label for _, label, _ in rows])
    assert list(labels) != [label for _, label, _ in rows]
    manifest(tmp_path, [(a, str(b), c) for (a, _, c), b in zip(rows, labels, strict=True)])
    again = planned(cases, tmp_path / "again.yaml")
    assert again.choices == made.choices
    assert again.fingerprint == made.fingerprint


def test_a_plan_of_given_cases_knows_nothing_of_others(tmp_path: Path) -> None:
    cases = scans(tmp_path, [(1.0, 1.0, 1.0), (2.0, 1.0, 4.0)], [(16, 18, 12), (30, 30, 30)])
    config = load_config("base", [f"data.manifest={cases}", *QUICK])
    all_cases = read_manifest(config.data).cases
    looks, _ = Looks(tmp_path, Rules()).read(all_cases, 0, lambda: None)
    part = [case for case in all_cases if case.case_id in ("p0", "p2", "p4")]
    alone = plan_for(part, {case.case_id: looks[case.case_id] for case in part}, config)
    assert plan_for(part, looks, config) == alone
    assert plan_for(all_cases, looks, config).choices != alone.choices
    assert alone.value("preprocess.spacing") == [1.0, 1.0, 1.0]


def test_the_plan_of_a_fold_looks_at_its_training_part_alone(tmp_path: Path) -> None:
    cases = scans(tmp_path, shapes=[(16, 16, 16), (18, 14, 12)], patients=12)
    made = planned(cases, tmp_path / "plan.yaml", fold=1)
    config = load_config("base", [f"data.manifest={cases}", *QUICK])
    fold = make_folds(read_manifest(config.data).cases, config.cv, config.seed).folds[1]
    assert len(made.fingerprint.looks) == len(fold.train)
    for number, name in enumerate((*fold.test, *fold.validation)):
        scan(tmp_path / f"{name}.nii", (3.0, 0.5, 9.0), (40, 9, 30), ct=True, seed=number)
    again = planned(cases, tmp_path / "again.yaml", fold=1)
    assert again.choices == made.choices
    assert again.fingerprint == made.fingerprint
    assert "--fold 1 --out" in made.lines()[-1]
    assert "training part of fold 1 alone" in (tmp_path / "plan.yaml").read_text()
    assert planned(cases, tmp_path / "all.yaml").fingerprint != made.fingerprint
    with pytest.raises(ConfigError, match="there is no fold 2"):
        planned(cases, tmp_path / "none.yaml", fold=2)


def told_apart(folder: Path, patients: int = 16, masks: bool = False) -> dict[float, str]:
    """Writes volumes that no two have the same spacing; their ids by that spacing."""
    spacings = [(1.0 + number / 100, 1.0, 1.0) for number in range(patients)]
    cases = scans(folder, spacings, patients=patients)
    rows = read_table(cases)
    if masks:
        structure = np.zeros((16, 16, 16), dtype=np.uint8)
        structure[4:8, 4:8, 4:8] = 1
        for row, (width, _, _) in zip(rows, spacings, strict=True):
            row["mask"] = row["image"].replace(".nii", "_mask.nii")
            affine = np.diag([width, 1.0, 1.0, 1.0])
            nib.save(nib.Nifti1Image(structure, affine), folder / row["mask"])
        write_rows(cases, rows)
    return {spacing[0]: f"p{number}" for number, spacing in enumerate(spacings)}


def left_out_of_folds(case_id: str, manifest: Path, *overrides: str) -> Fold:
    """The first fold as a run makes it, which leaves one case out; not that of all cases."""
    config = load_config("base", [f"data.manifest={manifest}", *QUICK, *overrides])
    cases = read_manifest(config.data).cases
    usable = [case for case in cases if case.case_id != case_id]
    kept, whole = (make_folds(part, config.cv, config.seed).folds[0] for part in (usable, cases))
    assert set(kept.test) & set(whole.train)
    return kept


def test_the_plan_of_a_fold_sees_no_test_case_where_volumes_are_left_out(tmp_path: Path) -> None:
    names = told_apart(tmp_path)
    (tmp_path / "p5.nii").write_bytes((tmp_path / "p5.nii").read_bytes()[:-20])
    cases, out = tmp_path / "cases.csv", tmp_path / "plan.yaml"
    fold = left_out_of_folds("p5", cases)
    made = planned(cases, out, "data.max_quarantine=1", "train.epochs=1", fold=0)
    seen = {names[round(look.spacing[0], 2)] for look in made.fingerprint.looks}
    assert seen == set(fold.train)
    text = " ".join(out.read_text().replace("#", "").split())
    assert "makes its folds without it: after mending any, plan again before training" in text
    done = cross_validate(load_config(str(out)), tmp_path / "run", Silent(), fold=0)
    assert done is not None
    trained = read_folds(done.folds).folds[0]
    assert set(trained.train) == seen
    assert set(trained.test) == set(fold.test)


def test_a_refused_mask_leaves_its_case_out_of_the_folds_of_a_plan(tmp_path: Path) -> None:
    names = told_apart(tmp_path, masks=True)
    empty = np.zeros((16, 16, 16), dtype=np.uint8)
    nib.save(nib.Nifti1Image(empty, np.diag([1.05, 1.0, 1.0, 1.0])), tmp_path / "p5_mask.nii")
    cases = tmp_path / "cases.csv"
    fold = left_out_of_folds("p5", cases)
    masked = ["model.masks.weight=0.5", "data.max_quarantine=1"]
    made = planned(cases, tmp_path / "plan.yaml", *masked, fold=0)
    assert [(item.file, item.code) for item in made.refused] == [("p5_mask.nii", "E_MASK_EMPTY")]
    assert {names[round(look.spacing[0], 2)] for look in made.fingerprint.looks} == set(fold.train)
    empty[0] = 1
    nib.save(nib.Nifti1Image(empty, np.eye(4)), tmp_path / "p5_mask.nii")
    moved = planned(cases, tmp_path / "moved.yaml", *masked, fold=0)
    assert [item.code for item in moved.refused] == ["E_MASK_GEOMETRY"]


def test_a_fold_that_nobody_knows_is_not_planned(tmp_path: Path) -> None:
    told_apart(tmp_path)
    (tmp_path / "p5.nii").write_bytes(b"")
    with pytest.raises(DataError, match="1 volume cannot be used") as caught:
        planned(tmp_path / "cases.csv", tmp_path / "plan.yaml", fold=0)
    assert "data.max_quarantine=1" in str(caught.value)
    assert not (tmp_path / "plan.yaml").exists()
    assert len(planned(tmp_path / "cases.csv", tmp_path / "all.yaml").refused) == 1


def test_a_second_plan_reads_no_volume_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = scans(tmp_path)
    made = planned(cases, tmp_path / "plan.yaml")
    scan(tmp_path / "p1.nii", shape=(24, 24, 24))
    read: list[str] = []
    look = plan_reading._look

    def counted(case: Case) -> Look | Refusal:
        read.append(case.case_id)
        return look(case)

    monkeypatch.setattr(plan_reading, "_look", counted)
    again = planned(cases, tmp_path / "again.yaml")
    assert read == ["p1"]
    assert len(again.fingerprint.looks) == len(made.fingerprint.looks)
    assert again.fingerprint != made.fingerprint
    kept = tmp_path / ".volclass-cache/plan/looks-2.json"
    assert str(tmp_path) not in kept.read_text()
    assert "p1" not in kept.read_text()
    kept.write_text("{")
    with pytest.raises(StorageError):
        planned(cases, tmp_path / "third.yaml")


def test_loading_processes_see_the_same(tmp_path: Path) -> None:
    cases = scans(tmp_path)
    (tmp_path / "p5.nii").write_bytes(b"")
    config = load_config("base", [f"data.manifest={cases}"])
    listed = read_manifest(config.data).cases
    one = Looks(tmp_path / "one", Rules()).read(listed, 0, lambda: None)
    two = Looks(tmp_path / "two", Rules()).read(listed, 2, lambda: None)
    assert one == two
    assert len(one[0]) == 7


def test_the_verb_writes_what_train_takes_and_overwrites_nothing(tmp_path: Path) -> None:
    cases, out = scans(tmp_path), tmp_path / "plan.yaml"
    words = ["plan", str(cases), "--out", str(out), *QUICK, SMALL, "train.epochs=1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "preprocess.spacing = [1.0, 1.0, 1.0]: " in done.output
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "--force" in refused.output
    assert CliRunner().invoke(app, [*words, "--force"]).exit_code == 0
    train = ["train", "--config", str(out), "--out", str(tmp_path / "run"), "report.bootstrap=100"]
    done = CliRunner().invoke(app, train)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run/report/index.html").is_file()


def test_a_config_may_be_the_start(tmp_path: Path, small_manifest: Path) -> None:
    own = tmp_path / "own/mine.yaml"
    own.parent.mkdir()
    relative = os.path.relpath(small_manifest, own.parent)
    own.write_text(
        "base: base.yaml\n"
        f"data: {{source: manifest, manifest: {relative}}}\n"
        "model: {name: poolformer3d_t, drop_path: 0.2}\n"
        "train: {lr: 0.5, batch_size: 3}\nsystem: {workers: 0}\n"
    )
    request = request_of(str(own), ["cv.folds=2", SMALL])
    made = plan(request, tmp_path / "plan.yaml", Silent())
    assert load_config(str(tmp_path / "plan.yaml")) == made.config
    assert "base: own/mine.yaml" in (tmp_path / "plan.yaml").read_text()
    assert made.config.train.lr == 0.5
    assert made.config.train.batch_size <= 3
    # It was meant for the other network.
    assert (made.config.model.name, made.config.model.drop_path) == ("poolformer3d_n", None)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "nothing to plan for"),
        (["a.csv", "b.csv"], "one manifest"),
        (["a.csv", "train.nonsense=1"], "nonsense"),
        (["."], "is a folder, not a manifest"),
    ],
)
def test_mistakes_are_told_before_anything_is_read(
    tmp_path: Path, words: list[str], what: str
) -> None:
    done = CliRunner().invoke(app, ["plan", *words, "--out", str(tmp_path / "plan.yaml")])
    assert done.exit_code == 2
    assert what in done.output
    assert "Traceback" not in done.output
    folder = CliRunner().invoke(app, ["plan", "a.csv", "--out", str(tmp_path)])
    assert "this is a folder" in folder.output
