"""Loading processes heed no signal, and keep no process from its end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from torch.utils.data import DataLoader, Dataset

from pipeline.data.signals import handed_over
from pipeline.errors import EndedLoaderError

# The loader is held to the end, as a traceback may hold it; the processes write who they are.
SCRIPT = """
import os, sys
from pipeline.data.signals import handed_over, leave_signals_to_the_main_process
from torch.utils.data import DataLoader

class Numbers:
    def __len__(self): return 8
    def __getitem__(self, index): return os.getpid()

kept = handed_over(DataLoader(Numbers(), num_workers=2, persistent_workers=True,
                              worker_init_fn=leave_signals_to_the_main_process))
print(*sorted({int(next(kept)) for _ in range(4)}), flush=True)
if sys.argv[1] == "error":
    raise SystemExit(7)
sys.stdin.read()
"""


@pytest.mark.parametrize(("end", "code"), [("error", 7), ("finished", 0)])
def test_a_process_ends_though_its_loader_is_held(end: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, end],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, "")
    for number in map(int, done.stdout.split()):
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


class Torn(Dataset[int]):
    """Raises what a file that ends too early may."""

    def __getitem__(self, index: int) -> int:
        raise EOFError

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), EOFError()])
def test_a_process_that_ends_while_it_hands_over_is_named(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(DataLoader[int]):
        def __iter__(self) -> Iterator[int]:  # type: ignore[override]  # torch's has no protocol
            yield 1
            raise error

    monkeypatch.setattr("pipeline.data.signals.time.sleep", lambda _: None)
    found = handed_over(Broken(Torn(), num_workers=1))
    assert next(found) == 1
    with pytest.raises(EndedLoaderError, match="was ended") as refused:
        next(found)
    assert refused.value.exit_code == 4


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_loading_process_raises_is_not_taken_for_its_end(workers: int) -> None:
    with pytest.raises(EOFError):
        next(handed_over(DataLoader(Torn(), num_workers=workers)))


def test_processes_that_others_started_are_left_alone_at_exit() -> None:
    script = (
        f"import multiprocessing, time\n{SCRIPT.replace('sys.stdin.read()', '')}"
        + """
other = multiprocessing.Process(target=time.sleep, args=(60,), daemon=True)
other.start()
import pipeline.data.signals as signals
signals._end_those_left()
print(other.is_alive())
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "finished"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split()[2:] == ["True"]


@pytest.mark.parametrize(
    ("seen", "remedy"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed.", "lower system.workers"),
        ("DataLoader worker (pid 7) is killed by signal: Bus error.", "shared memory"),
        ("DataLoader worker (pid 7) is killed by signal: Segmentation fault.", "--debug"),
        ("DataLoader worker (pid 7) exited unexpectedly with exit code 1.", "--debug"),
        ("DataLoader worker (pid(s) 7) exited unexpectedly", "lower system.workers"),
    ],
)
def test_the_remedy_is_that_of_the_signal(seen: str, remedy: str) -> None:
    assert remedy in str(EndedLoaderError(seen))
