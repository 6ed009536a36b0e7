"""Whole runs: what they leave on disk, and that nothing but the configuration decides it."""

from __future__ import annotations

import json
import platform
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
import torch
from torch import Tensor

from pipeline.config import Config
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError, DataError, DivergedError
from pipeline.progress import Display, Silent
from pipeline.storage import read_table

Build = Callable[..., Config]


class ShownLines(Display, Protocol):
    """A display that keeps its lines."""

    shown: list[str]


SameRun = Callable[[Path, Path], None]
FoldTensors = Callable[[Path, int, str], dict[str, Tensor]]


def test_a_run_leaves_every_file_of_the_design(reference: Path) -> None:
    expected = [
        "config.yaml",
        "environment.json",
        "folds.json",
        "quarantine.csv",
        "predictions.csv",
        "report/index.html",
        "report/metrics.json",
    ]
    assert [name for name in expected if not (reference / name).is_file()] == []
    for fold in range(2):
        folder = reference / f"fold_{fold}"
        assert {path.name for path in folder.iterdir()} == {
            "log.csv",
            "tensorboard",
            "checkpoints",
            "predictions.csv",
        }
        columns = read_table(folder / "log.csv")[0]
        assert {"train_loss", "train_loss_main", "train_loss_stage_2"} <= columns.keys()
    assert len(list((reference / "cases").glob("*.png"))) == 20


def test_every_case_is_predicted_once_by_a_fold_that_never_saw_its_patient(reference: Path) -> None:
    rows = read_table(reference / "predictions.csv")
    assert Counter(row["case_id"] for row in rows) == Counter(
        {f"p{patient:02d}_{scan}": 1 for patient in range(10) for scan in range(2)}
    )
    folds = json.loads((reference / "folds.json").read_text())
    for row in rows:
        fold = folds["folds"][int(row["fold"])]
        assert row["case_id"] in fold["test"]
        seen = {folds["cases"][name]["patient_id"] for name in fold["train"] + fold["validation"]}
        assert row["patient_id"] not in seen
        assert float(row["p_left"]) + float(row["p_right"]) == pytest.approx(1.0)


def test_no_path_host_or_user_is_in_any_output(reference: Path, small_manifest: Path) -> None:
    secrets = [str(reference.parent.parent), str(small_manifest.parent), str(Path.home())]
    secrets += [f".{platform.node()}."]
    files = [path for path in reference.rglob("*") if path.is_file()]
    assert len(files) > 30
    for secret in secrets:
        assert [path.name for path in files if secret in path.name] == []
        assert [path.name for path in files if secret.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_number_of_workers_changes_no_bit(
    workers: int, reference: Path, small_config: Build, tmp_path: Path, assert_same_run: SameRun
) -> None:
    cross_validate(small_config(f"system.workers={workers}"), tmp_path / "run", Silent())
    assert_same_run(reference, tmp_path / "run")


def test_folds_trained_one_by_one_make_the_same_run(
    reference: Path, small_config: Build, tmp_path: Path, assert_same_run: SameRun
) -> None:
    for fold in (1, 0):
        cross_validate(small_config(), tmp_path / "run", Silent(), fold=fold)
    assert_same_run(reference, tmp_path / "run")


def test_another_seed_gives_another_run(
    small_config: Build, tmp_path: Path, fold_tensors: FoldTensors
) -> None:
    for seed in (1, 2):
        config = small_config(f"seed={seed}", "train.epochs=1")
        cross_validate(config, tmp_path / f"run{seed}", Silent(), fold=0)
    first, second = (fold_tensors(tmp_path / f"run{seed}", 0, "last") for seed in (1, 2))
    name = "task.network.model.stem.conv.weight"
    assert not torch.equal(first[name], second[name])


def test_a_finished_run_resumes_to_itself(
    reference: Path, small_config: Build, tmp_path: Path, assert_same_run: SameRun
) -> None:
    cross_validate(small_config(), tmp_path / "run", Silent())
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*.safetensors")}
    cross_validate(small_config(), tmp_path / "run", Silent(), resume=True)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*.safetensors")} == before
    assert_same_run(reference, tmp_path / "run")


def test_batch_norm_refuses_batches_of_one(small_config: Build, tmp_path: Path) -> None:
    config = small_config("model.options.norm=batch", "train.batch_size=1")
    with pytest.raises(ConfigError, match="batch norm needs two"):
        cross_validate(config, tmp_path / "run", Silent())
    single = small_config("model.options.norm=batch", "preprocess.size=[4, 4, 4]", "train.epochs=1")
    cross_validate(single, tmp_path / "single", Silent(), fold=0)


def test_a_dry_run_forecasts_and_stops(
    small_config: Build, tmp_path: Path, lines: ShownLines
) -> None:
    assert cross_validate(small_config(), tmp_path / "run", lines, dry_run=True) is None
    assert not (tmp_path / "run" / "config.yaml").exists()
    text = "\n".join(lines.shown)
    assert all(word in text for word in ("forecast", "memory", "disk", "6 epochs", "parameters"))


def test_a_run_of_another_configuration_is_refused(reference: Path, small_config: Build) -> None:
    with pytest.raises(ConfigError, match=r"train\.lr: 0\.001 in the folder, 0\.5 now"):
        cross_validate(small_config("train.lr=0.5"), reference, Silent(), resume=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        cross_validate(small_config(), reference, Silent())


def test_more_workers_may_finish_a_run(small_config: Build, tmp_path: Path) -> None:
    cross_validate(small_config("train.epochs=1"), tmp_path / "run", Silent(), fold=0)
    more = small_config("train.epochs=1", "system.workers=1")
    cross_validate(more, tmp_path / "run", Silent(), resume=True)
    assert len(read_table(tmp_path / "run" / "predictions.csv")) == 20


def test_a_loss_that_is_not_finite_stops_with_the_cases(
    small_config: Build, tmp_path: Path
) -> None:
    with pytest.raises(DivergedError, match=r"not finite in epoch \d, step \d+[\s\S]*cases p\d\d"):
        cross_validate(
            small_config("train.lr=1e30", "train.warmup=0.0", "train.clip=0.0"),
            tmp_path / "run",
            Silent(),
        )
    assert not (tmp_path / "run" / "fold_0" / "predictions.csv").exists()


def test_accumulated_batches_give_the_gradient_of_the_whole(
    small_config: Build, tmp_path: Path, fold_tensors: FoldTensors
) -> None:
    moments = []
    for number, (batch, accumulate) in enumerate([(16, 1), (4, 4)]):
        config = small_config(
            f"train.batch_size={batch}",
            f"train.accumulate={accumulate}",
            "train.epochs=1",
            "model.drop_path=0.0",
            "model.options.dropout=0.0",
        )
        cross_validate(config, tmp_path / f"run{number}", Silent(), fold=0)
        tensors = fold_tensors(tmp_path / f"run{number}", 0, "last")
        # After the only step, Adam's first moment is a tenth of the gradient.
        moments.append({name: t for name, t in tensors.items() if name.endswith("exp_avg")})
    assert len(moments[0]) > 40
    for name, moment in moments[0].items():
        assert torch.allclose(moment, moments[1][name], atol=1e-7), name


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.sampler=balanced", "train.class_weights=none", "train.precision=bf16"],
        ["train.monitor=loss", "train.patience=1", "train.epochs=6"],
        ["preprocess.fit=resize", "preprocess.crop=foreground", "train.accumulate=2"],
        ["preprocess.spacing=[1, 1, 2]", "preprocess.intensity={name: window, low: -2, high: 3}"],
        ["model.mixer=conv", "model.stem={stride: [2, 2, 1]}", "model.strides=[2, 2, [2, 2, 1]]"],
        ["train.ema=0", "train.smoothing=0.1", "train.clip=0", "preprocess.intensity.name=unit"],
        ["model.supervision.weight=0", "preprocess.intensity.name=percentiles"],
    ],
)
def test_every_option_trains_to_a_report(
    overrides: list[str], small_config: Build, tmp_path: Path
) -> None:
    cross_validate(small_config("train.epochs=2", *overrides), tmp_path / "run", Silent())
    assert (tmp_path / "run/report/index.html").stat().st_size > 10_000
    assert len(read_table(tmp_path / "run/predictions.csv")) == 20


def test_the_last_epoch_is_kept_where_it_is_asked_for(
    small_config: Build, fold_tensors: Callable[[Path, int, str], dict[str, Tensor]], tmp_path: Path
) -> None:
    # A rate so high that the best loss comes early, and a patience that it would exhaust.
    given = ["train.monitor=loss", "train.patience=1", "train.epochs=5", "train.lr=0.3"]
    logs, kept = {}, {}
    for keep in ("best", "last"):
        config = small_config(*given, f"train.keep={keep}")
        cross_validate(config, tmp_path / keep, Silent(), fold=0)
        logs[keep] = [int(row["best"]) for row in read_table(tmp_path / keep / "fold_0/log.csv")]
        kept[keep] = fold_tensors(tmp_path / keep, 0, "best")
    assert logs["last"] == [0, 0, 0, 0, 1]
    assert len(logs["best"]) < 5
    last = fold_tensors(tmp_path / "last", 0, "last")
    averaged = {
        name.removeprefix("averaged."): t
        for name, t in last.items()
        if name.startswith("averaged.")
    }
    assert averaged
    for name, tensor in averaged.items():
        assert torch.equal(tensor, kept["last"][name]), name
    assert any(not torch.equal(t, kept["best"][name]) for name, t in kept["last"].items())


def test_the_quarantine_is_named_and_the_rest_goes_on(
    small_config: Build, small_manifest: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_manifest.parent, tmp_path / "data")
    bad = tmp_path / "data/images/p03_1.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-40])
    manifest = f"data.manifest={tmp_path / 'data/manifest.csv'}"
    with pytest.raises(DataError, match=r"p03_1 \(p03_1\.nii\.gz\): E_TRUNCATED"):
        cross_validate(small_config(manifest), tmp_path / "refused", Silent())
    config = small_config(manifest, "data.max_quarantine=1", "train.epochs=1")
    cross_validate(config, tmp_path / "run", Silent())
    assert [row["case_id"] for row in read_table(tmp_path / "run/quarantine.csv")] == ["p03_1"]
    assert len(read_table(tmp_path / "run/predictions.csv")) == 19
    assert "p03_1" in (tmp_path / "run/report/index.html").read_text()


def test_changed_voxels_are_refused_on_resume(
    small_config: Build, small_manifest: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_manifest.parent, tmp_path / "data")
    config = small_config(f"data.manifest={tmp_path / 'data/manifest.csv'}", "train.epochs=1")
    cross_validate(config, tmp_path / "run", Silent(), fold=0)
    shutil.copy(tmp_path / "data/images/p02_0.nii.gz", tmp_path / "data/images/p04_1.nii.gz")
    with pytest.raises(DataError, match="E_DUP_CONTENT"):
        cross_validate(config, tmp_path / "run", Silent(), resume=True)
    shutil.copy(tmp_path / "data/images/p02_0.nii.gz", tmp_path / "data/images/p02_1.nii.gz")
    shutil.copy(
        small_manifest.parent / "images/p04_1.nii.gz", tmp_path / "data/images/p04_1.nii.gz"
    )
    with pytest.raises(DataError, match="not those that this run began with"):
        cross_validate(config, tmp_path / "run", Silent(), resume=True)
