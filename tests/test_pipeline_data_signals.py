"""Loading processes heed no signal, and keep no process from its end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipeline.data.signals import handed_over
from pipeline.errors import EndedLoaderError

# The loader is held to the end, as a traceback may hold it; the processes write who they are.
SCRIPT = """
import os, sys
from pipeline.data.signals import end_loading_processes_at_exit, leave_signals_to_the_main_process
end_loading_processes_at_exit()  # before torch is imported, as the command does
from torch.utils.data import DataLoader

class Numbers:
    def __len__(self): return 8
    def __getitem__(self, index): return os.getpid()

kept = iter(DataLoader(Numbers(), num_workers=2, persistent_workers=True,
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


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), EOFError()])
def test_a_process_that_ends_while_it_hands_over_is_named(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loader() -> Iterator[int]:
        yield 1
        raise error

    monkeypatch.setattr("pipeline.data.signals.time.sleep", lambda _: None)
    found = handed_over(loader())
    assert next(found) == 1
    with pytest.raises(EndedLoaderError, match="was ended") as refused:
        next(found)
    assert refused.value.exit_code == 4
    assert list(handed_over([1, 2])) == [1, 2]
