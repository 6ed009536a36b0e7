"""A loading process that the system ends ends the run by one message, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.console import refusals

VOLCLASS = (sys.executable, "-c", "from pipeline.cli import main; main()")


def loading_processes(process: int) -> list[int]:
    return [*map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere its children are not listed")
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGBUS, marks=pytest.mark.slow)]
)
def test_a_training_says_so_and_goes_on_with_resume(
    number: signal.Signals, small_arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = small_arguments(
        *("--out", str(out), "system.workers=1", "system.cache=mapped", "cv.folds=2"),
        *("train.epochs=60", "train.patience=60"),
    )
    run = subprocess.Popen(
        [*VOLCLASS, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        log, deadline = out / "fold_0" / "log.csv", time.monotonic() + 120
        while not log.exists() and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.poll() is None, "it ended before it could be disturbed"
        os.kill(loading_processes(run.pid)[0], number)
        told = run.communicate(timeout=60)[1]
    finally:
        run.kill()
        run.communicate()
    assert run.returncode == 4, told
    assert "volclass: a process that loads volumes was ended" in told
    # Torch does not always hear of the signal, or of the end before the batch that is missing.
    seen = (signal.strsignal(number) or "", "exited unexpectedly", "broke off")
    assert any(text in told for text in seen)
    assert "--resume" in told
    assert "Traceback" not in told
    assert not (out / "predictions.csv").exists()
    done = subprocess.run(
        [*VOLCLASS, *arguments, "--resume"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (out / "predictions.csv").exists()


def test_another_error_of_torch_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="shapes"), refusals(debug=False):
        raise RuntimeError("shapes cannot be multiplied")
