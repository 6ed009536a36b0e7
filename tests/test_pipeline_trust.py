"""What makes a result trustworthy: resuming is real, and the test fold influences nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import crossval
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.data.folds_file import read_folds
from pipeline.errors import DivergedError, PreemptedError
from pipeline.progress import Display, Silent
from pipeline.storage import read_table
from pipeline.training import loop
from pipeline.training.signals import StopRequest

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

Build = Callable[..., Config]


class ShownLines(Display, Protocol):
    """A display that keeps its lines."""

    shown: list[str]


SameRun = Callable[[Path, Path], None]
FoldTensors = Callable[[Path, int, str], dict[str, Tensor]]
ROOT = Path(__file__).parent.parent


class StepCounter:
    """Counts optimizer steps, and asks to stop after a given number of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop_after: int | None) -> None:
        self.steps = 0
        request = StopRequest()
        original = loop._step

        def counted(*arguments: object) -> None:
            original(*arguments)  # type: ignore[arg-type]  # handed on as they are
            self.steps += 1
            if self.steps == stop_after:
                request.received = signal.SIGTERM

        @contextmanager
        def heeding() -> Iterator[StopRequest]:
            yield request

        monkeypatch.setattr(loop, "_step", counted)
        monkeypatch.setattr(crossval, "heeding_signals", heeding)


def steps_of(config: Config, out: Path, stop_after: int | None, resume: bool) -> int:
    """Runs until `stop_after` steps or the end; the number of steps done."""
    with pytest.MonkeyPatch.context() as patch:
        counter = StepCounter(patch, stop_after)
        if stop_after is None:
            cross_validate(config, out, Silent(), resume=resume)
        else:
            with pytest.raises(PreemptedError):
                cross_validate(config, out, Silent(), resume=resume)
        return counter.steps


# Two steps an epoch and three epochs a fold: within an epoch, at its end, and in the second fold.
@pytest.mark.parametrize("stops", [[1], [2], [3, 1, 1], [7], [6, 3]])
def test_resuming_repeats_no_step_and_changes_no_bit(
    stops: list[int],
    small_config: Build,
    reference: Path,
    tmp_path: Path,
    assert_same_run: SameRun,
) -> None:
    config, out = small_config("train.checkpoint_seconds=1000.0"), tmp_path / "run"
    whole = sum(int(read_table(reference / f"fold_{k}/log.csv")[-1]["step"]) for k in range(2))
    done = 0
    for number, stop_after in enumerate(stops):
        done += steps_of(config, out, stop_after, resume=number > 0)
    done += steps_of(config, out, None, resume=True)
    assert done == whole
    assert_same_run(reference, out)


EVERY_OPTION = (
    "train.seeds=2",
    "cv.refit=true",
    "train.epochs=2",
    "augment.mixup=0.4",
    "train.loss=focal",
    "augment.test_time=flips",
    "train.checkpoint_seconds=1000.0",
)
MEMBERS = [f"{name}{seed}" for name in ("fold_0", "fold_1", "refit") for seed in ("", "/seed_1")]


# Four steps a network: within the second one of a fold, at the end of a fold, within the refit.
@pytest.mark.parametrize(
    "stops",
    [
        pytest.param([6], marks=pytest.mark.slow),
        [8, 9],
        pytest.param([18, 3], marks=pytest.mark.slow),
    ],
)
def test_resuming_is_exact_for_every_member(
    stops: list[int],
    small_config: Build,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    assert_same_run: SameRun,
) -> None:
    config, out = small_config(*EVERY_OPTION), tmp_path / "run"
    whole = tmp_path_factory.getbasetemp() / "every_option"
    expected = steps_of(config, whole, None, resume=whole.exists()) or _steps_in(whole)
    done = 0
    for number, stop_after in enumerate(stops):
        done += steps_of(config, out, stop_after, resume=number > 0)
    done += steps_of(config, out, None, resume=True)
    assert done == expected == _steps_in(out)
    assert_same_run(whole, out)
    for name in MEMBERS:
        (one,), (other,) = ((run / name).glob("checkpoints/best-*") for run in (whole, out))
        assert one.read_bytes() == other.read_bytes()


def _steps_in(run: Path) -> int:
    return sum(int(read_table(run / name / "log.csv")[-1]["step"]) for name in MEMBERS)


def test_the_test_fold_influences_nothing(
    small_config: Build,
    small_manifest: Path,
    reference: Path,
    tmp_path: Path,
    fold_tensors: FoldTensors,
) -> None:
    folds = read_folds(reference / "folds.json")
    shutil.copytree(small_manifest.parent, tmp_path / "data")
    for number, case_id in enumerate(folds.folds[0].test):
        garbage = np.random.default_rng(number).normal(50, 90, (8, 8, 8)).astype(np.float32)
        path = tmp_path / "data" / "images" / f"{case_id}.nii.gz"
        nib.save(nib.Nifti1Image(garbage, np.diag([1.0, 1.0, 1.5, 1.0])), path)
    config = small_config(f"data.manifest={tmp_path / 'data' / 'manifest.csv'}")
    cross_validate(config, tmp_path / "run", Silent(), fold=0)
    for kind in ("best", "last"):
        clean, noisy = (fold_tensors(run, 0, kind) for run in (reference, tmp_path / "run"))
        assert clean.keys() == noisy.keys()
        assert [name for name in clean if not torch.equal(clean[name], noisy[name])] == []
    before, after = (
        read_table(run / "fold_0" / "predictions.csv") for run in (reference, tmp_path / "run")
    )
    assert [row["p_left"] for row in before] != [row["p_left"] for row in after]


@pytest.mark.slow
def test_the_demo_tells_the_phantoms_apart(tmp_path: Path) -> None:
    cross_validate(load_config("quickstart"), tmp_path / "demo", Silent())
    summary = json.loads((tmp_path / "demo" / "report" / "metrics.json").read_text())
    assert summary["metrics"]["auroc"]["estimate"] >= 0.9


def test_a_divergence_that_only_validation_sees_names_the_cases(
    small_config: Build, tmp_path: Path
) -> None:
    config = small_config(
        "train.lr=1e30", "train.warmup=0.0", "train.clip=0.0", "train.batch_size=16"
    )
    with pytest.raises(DivergedError, match=r"not finite[\s\S]*cases p\d\d_\d"):
        cross_validate(config, tmp_path / "run", Silent())


def test_a_damaged_checkpoint_is_passed_over_aloud(
    small_config: Build,
    reference: Path,
    tmp_path: Path,
    assert_same_run: SameRun,
    lines: ShownLines,
) -> None:
    out = tmp_path / "run"
    steps_of(small_config("train.checkpoint_seconds=1e-6"), out, 3, resume=False)
    newest = max((out / "fold_0/checkpoints").glob("step-*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x00")

    cross_validate(small_config(), out, lines, resume=True)
    assert [text for text in lines.shown if "is damaged; going back" in text]
    assert_same_run(reference, out)


def test_two_processes_train_the_network_of_one(
    small_config: Build, small_arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    plain = ["model.options.dropout=0.0", "model.drop_path=0.0", "train.epochs=1"]
    plain += ["system.device=cpu"]
    cross_validate(small_config(*plain), tmp_path / "one", Silent())
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = str(ROOT / "scripts" / "train_volumes.py")
    done = subprocess.run(
        [*launch, script, *small_arguments(*plain, "--out", str(tmp_path / "two"))[1:]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("report: ") == 1
    one, two = (
        {row["case_id"]: row for row in read_table(tmp_path / name / "predictions.csv")}
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    assert len(one) == 20
    for case_id, row in one.items():
        assert float(row["p_left"]) == pytest.approx(float(two[case_id]["p_left"]), abs=2e-3)
