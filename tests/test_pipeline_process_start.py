"""What a process of ours sets before torch is imported."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from pipeline import process_start

#: Five arrays of 48 MiB, one after the other; prints how many pages were fetched for them.
ARRAYS = """
import resource
import numpy as np
from pipeline.process_start import prepare_process

prepare_process()
np.ones(6 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(6 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_fetched(**settings: str) -> int:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))
    }
    done = subprocess.run(
        [sys.executable, "-c", ARRAYS],
        env=environment | settings | {"NUMPY_MADVISE_HUGEPAGE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_freed_memory_is_used_again_unless_the_environment_says_otherwise() -> None:
    # Each array is mapped and given back there, page by page, however large a page is.
    given_back = pages_fetched(MALLOC_MMAP_THRESHOLD_="1048576")
    assert given_back >= 100
    assert pages_fetched() < given_back / 4


class OldLibrary:
    """As glibc was that takes no threshold for mapping above 32 MiB; keeps what it took."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int]] = []

    def mallopt(self, parameter: int, value: int) -> int:
        """Take a parameter: 1, or 0 where it is refused."""
        if parameter == -3 and value > 32 << 20:
            return 0
        self.taken.append((parameter, value))
        return 1


def test_an_old_glibc_takes_what_it_can_before_adaptation_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = OldLibrary()
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.28"))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    process_start._keep_freed_memory()
    assert library.taken == [(-3, 32 << 20), (-1, 1 << 30)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "PASSIVE 20000"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"GOMP_SPINCOUNT": "7"}, "PASSIVE 7"),
    ],
)
def test_threads_spin_shortly_unless_the_environment_says_otherwise(
    settings: dict[str, str], expected: str
) -> None:
    code = (
        "import os; from pipeline.process_start import prepare_process; prepare_process();"
        "print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"
    )
    kept = {n: v for n, v in os.environ.items() if n not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=kept | settings, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


def ended(*imported: str) -> "subprocess.CompletedProcess[str]":
    """A process that is prepared, imports these and ends quickly."""
    program = f"""
import atexit
import gc
from pipeline.process_start import end_quickly, prepare_process

prepare_process()
import {", ".join(imported)}
atexit.register(print, "done at the exit")
end_quickly()
print(gc.get_freeze_count() > 0)
"""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def test_an_end_without_a_search_for_cycles_still_does_what_is_registered() -> None:
    done = ended("json")
    assert (done.stdout.split("\n"), done.stderr) == (["True", "done at the exit", ""], "")


def test_nothing_is_said_of_what_is_left_at_the_end() -> None:
    pytest.importorskip("triton")
    done = ended("torch", "triton")
    assert (done.stdout.split("\n"), done.stderr) == (["False", "done at the exit", ""], "")
