"""Several networks a fold, a network of all cases, and options that change how a run trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Lines
from torch import Tensor

from pipeline import crossval
from pipeline.config import Config
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError
from pipeline.predict import predict
from pipeline.progress import Silent
from pipeline.reports.page import Report, write_report
from pipeline.storage import read_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

Build = Callable[..., Config]
MIXED = (
    "augment.mixup=0.4",
    "train.loss=focal",
    "augment.test_time=symmetries",
)


def probability(row: dict[str, str]) -> float:
    return float(row["p_left"])


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, small_config: Build) -> Path:
    """A run of two networks a fold, with a refit."""
    out = tmp_path_factory.mktemp("several") / "run"
    cross_validate(small_config("train.seeds=2", "cv.refit=true"), out, Silent())
    return out


def test_every_seed_and_the_refit_leave_their_files(several: Path) -> None:
    names = ("fold_0", "fold_0/seed_1", "fold_1", "fold_1/seed_1", "refit", "refit/seed_1")
    for name in names:
        assert (several / name / "log.csv").is_file()
        assert (several / name / "checkpoints/checkpoints.json").is_file()
        assert list((several / name / "tensorboard").iterdir())
    digests = {
        json.loads((several / name / "checkpoints/checkpoints.json").read_text())["best"]["sha256"]
        for name in names
    }
    assert len(digests) == len(names)


def test_the_first_seed_is_the_network_of_a_run_of_one(
    several: Path, reference: Path, fold_tensors: Callable[[Path, int, str], dict[str, Tensor]]
) -> None:
    for fold in range(2):
        one, other = (fold_tensors(run, fold, "best") for run in (several, reference))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_fold_answers_with_the_mean_of_its_seeds(
    several: Path, small_manifest: Path, tmp_path: Path
) -> None:
    predict(several, [str(small_manifest)], tmp_path / "p.csv", Silent(), out_of_fold=True)
    again = {row["case_id"]: probability(row) for row in read_table(tmp_path / "p.csv")}
    of_run = {row["case_id"]: probability(row) for row in read_table(several / "predictions.csv")}
    assert again.keys() == of_run.keys()
    assert all(abs(again[name] - of_run[name]) < 1e-6 for name in of_run)


def test_the_refit_takes_the_mean_of_the_best_epochs_and_all_cases(several: Path) -> None:
    best = [
        max(
            int(row["epoch"])
            for row in read_table(several / name / "log.csv")
            if row["best"] == "1"
        )
        for name in ("fold_0", "fold_0/seed_1", "fold_1", "fold_1/seed_1")
    ]
    rows = read_table(several / "refit" / "log.csv")
    assert len(rows) == round(sum(best) / 4)
    assert [row["best"] for row in rows] == ["0"] * (len(rows) - 1) + ["1"]
    assert {row["validation_auroc"] for row in rows} == {""}
    # Five steps of four cases: all twenty, where a fold's own part is seven to ten.
    assert int(rows[0]["step"]) == 5


def test_the_refitted_network_predicts_when_asked(
    several: Path, small_manifest: Path, tmp_path: Path
) -> None:
    images = str(small_manifest.parent / "images")
    ensemble = predict(several, [images], tmp_path / "e.csv", Silent())
    refitted = predict(several, [images], tmp_path / "r.csv", Silent(), refit=True)
    assert all(item.seen and item.fold is None for item in refitted)
    pairs = zip(ensemble, refitted, strict=True)
    assert any(abs(a.probabilities - b.probabilities).max() > 1e-6 for a, b in pairs)
    with pytest.raises(ConfigError, match="exclude each other"):
        predict(several, [images], tmp_path / "x.csv", Silent(), out_of_fold=True, refit=True)


def test_a_run_without_a_refit_says_how_to_get_one_and_gets_it(
    small_config: Build, small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, images = tmp_path / "run", str(small_manifest.parent / "images")
    refitted: list[bool] = []

    def watched(folder: Path) -> Report:
        refitted.append((folder / "refit" / "log.csv").is_file())
        return write_report(folder)

    monkeypatch.setattr(crossval, "write_report", watched)
    cross_validate(small_config("train.epochs=1"), run, Silent())
    assert refitted == [False]
    before = (run / "predictions.csv").read_bytes()
    with pytest.raises(ConfigError, match="no network of all cases") as caught:
        predict(run, [images], tmp_path / "p.csv", Silent(), refit=True)
    assert "--resume cv.refit=true" in str(caught.value)
    cross_validate(small_config("train.epochs=1", "cv.refit=true"), run, Silent(), resume=True)
    # The figures are there before the refit begins, which may take long.
    assert refitted == [False, False, True]
    assert (run / "predictions.csv").read_bytes() == before
    assert len(predict(run, [images], tmp_path / "p.csv", Silent(), refit=True)) == 20


def test_mixup_focal_loss_and_views_give_the_same_bits_with_any_workers(
    small_config: Build, tmp_path: Path, assert_same_run: Callable[[Path, Path], None]
) -> None:
    for workers in (0, 2):
        config = small_config(*MIXED, f"system.workers={workers}")
        cross_validate(config, tmp_path / f"run{workers}", Silent())
    assert_same_run(tmp_path / "run0", tmp_path / "run2")


def test_options_change_the_run(small_config: Build, reference: Path, tmp_path: Path) -> None:
    cross_validate(small_config("train.epochs=1", *MIXED), tmp_path / "mixed", Silent())
    cross_validate(small_config("train.epochs=1", *MIXED[:2]), tmp_path / "plain", Silent())
    rows = [read_table(tmp_path / name / "predictions.csv") for name in ("mixed", "plain")]
    # Trained alike, seen otherwise: the weights agree, the answers do not.
    assert [probability(row) for row in rows[0]] != [probability(row) for row in rows[1]]
    losses = [
        read_table(run / "fold_0/log.csv")[0]["train_loss"]
        for run in (tmp_path / "mixed", tmp_path / "plain", reference)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_memory_gives_the_bits_of_the_disk_and_leaves_no_volume_there(
    small_config: Build,
    reference: Path,
    tmp_path: Path,
    assert_same_run: Callable[[Path, Path], None],
    workers: int,
) -> None:
    cache = tmp_path / "cache"
    config = small_config(
        "system.cache=ram", f"system.cache_dir={cache}", f"system.workers={workers}"
    )
    cross_validate(config, tmp_path / "run", Silent())
    assert_same_run(tmp_path / "run", reference)
    assert list(cache.rglob("*.volume")) == []


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_mapped_volumes_give_the_bits_of_those_that_are_read(
    small_config: Build,
    reference: Path,
    tmp_path: Path,
    lines: Lines,
    assert_same_run: Callable[[Path, Path], None],
    workers: int,
) -> None:
    places = (f"system.cache_dir={tmp_path / 'cache'}", f"system.workers={workers}")
    cross_validate(small_config("system.cache=mapped", *places), tmp_path / "run", lines)
    assert_same_run(tmp_path / "run", reference)
    assert any(line.startswith("cache of preprocessed volumes: ") for line in lines.shown)


def test_the_report_says_what_was_not_tested(several: Path, reference: Path) -> None:
    pages = [(run / "report/index.html").read_text() for run in (several, reference)]
    for words in ("the mean of 2 networks", "no case was left to test it on"):
        assert words in pages[0]
        assert words not in pages[1]


def test_views_may_be_asked_for_when_predicting(
    reference: Path, small_manifest: Path, tmp_path: Path
) -> None:
    images = str(small_manifest.parent / "images")
    plain = predict(reference, [images], tmp_path / "a.csv", Silent())
    words = [images, "augment.test_time=flips"]
    seen = predict(reference, words, tmp_path / "b.csv", Silent())
    pairs = zip(plain, seen, strict=True)
    assert any(abs(a.probabilities - b.probabilities).max() > 1e-6 for a, b in pairs)
    with pytest.raises(ConfigError, match=r"augment\.noise cannot be changed"):
        predict(reference, [images, "augment.noise=0.5"], tmp_path / "c.csv", Silent())
