"""Nothing is lost: a run stopped or killed at any instant resumes to the very same bits."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from pipeline.cli import app

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

Arguments = Callable[..., list[str]]
Start = Callable[[list[str]], BaseProcess]
SameRun = Callable[[Path, Path], None]

#: A checkpoint after every step, so that interruptions fall in the middle of epochs too.
EVERY_STEP = "train.checkpoint_seconds=1e-6"


@pytest.fixture(scope="module")
def start() -> Start:
    """Starts `volclass` in a process of its own; the server has the heavy imports done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.crossval", "torch.utils.tensorboard"])

    def run(arguments: list[str]) -> BaseProcess:
        process = context.Process(
            target=app, kwargs={"args": arguments, "prog_name": "volclass"}, daemon=False
        )
        process.start()
        return process

    return run


def finish(start: Start, arguments: list[str]) -> None:
    process = start(arguments)
    process.join(120)
    assert process.exitcode == 0


def await_file(path: Path, process: BaseProcess) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert path.exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_a_stop_signal_saves_and_the_run_resumes_bit_for_bit(
    number: signal.Signals,
    code: int,
    start: Start,
    small_arguments: Arguments,
    reference: Path,
    tmp_path: Path,
    assert_same_run: SameRun,
) -> None:
    out = tmp_path / "run"
    arguments = small_arguments("--out", str(out), "train.checkpoint_seconds=1000")
    process = start(arguments)
    # TensorBoard's file appears when the loop starts, long before the first checkpoint.
    await_file(out / "fold_0" / "tensorboard", process)
    assert process.pid is not None
    import os

    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == code
    assert not (out / "predictions.csv").exists()
    finish(start, [*arguments, "--resume"])
    assert_same_run(reference, out)


def test_a_kill_between_epochs_resumes_bit_for_bit(
    start: Start,
    small_arguments: Arguments,
    reference: Path,
    tmp_path: Path,
    assert_same_run: SameRun,
) -> None:
    out = tmp_path / "run"
    arguments = small_arguments("--out", str(out))
    process = start(arguments)
    await_file(out / "fold_0" / "log.csv", process)
    process.kill()
    process.join()
    finish(start, [*arguments, "--resume"])
    assert_same_run(reference, out)


def kill_again_and_again(
    start: Start, arguments: list[str], out: Path, kills: int, seed: int
) -> int:
    """Kills a run at random instants until it finishes or has died `kills` times."""
    generator = random.Random(seed)
    died = 0
    process = start(arguments)
    while died < kills:
        process.join(generator.uniform(0.05, 1.2))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        died += 1
        resume = ["--resume"] if (out / "config.yaml").exists() else []
        process = start([*arguments, *resume])
    process.join(120)
    assert process.exitcode == 0
    return died


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_kills_at_random_instants_lose_nothing(
    seed: int,
    start: Start,
    small_arguments: Arguments,
    reference: Path,
    tmp_path: Path,
    assert_same_run: SameRun,
) -> None:
    out = tmp_path / "run"
    arguments = small_arguments("--out", str(out), EVERY_STEP)
    assert kill_again_and_again(start, arguments, out, kills=6, seed=seed) > 0
    assert_same_run(reference, out)
    assert not list(out.rglob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_ten_runs_killed_again_and_again_lose_nothing(
    seed: int,
    start: Start,
    small_arguments: Arguments,
    reference: Path,
    tmp_path: Path,
    assert_same_run: SameRun,
) -> None:
    out = tmp_path / "run"
    arguments = small_arguments("--out", str(out), EVERY_STEP)
    assert kill_again_and_again(start, arguments, out, kills=20, seed=seed) > 0
    assert_same_run(reference, out)


def test_a_second_process_in_the_same_folder_is_refused(
    start: Start, small_arguments: Arguments, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = small_arguments("--out", str(tmp_path / "run"), "train.epochs=1000")
    first = start(arguments)
    await_file(tmp_path / "run" / "fold_0", first)
    second = start(arguments)
    second.join(60)
    assert second.exitcode == 4
    assert first.is_alive()
    first.kill()
    first.join()
    finish(
        start,
        [
            *small_arguments("--out", str(tmp_path / "run"), "train.epochs=1000"),
            "--dry-run",
            "--resume",
        ],
    )
