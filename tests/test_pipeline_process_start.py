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


def ended(program: str) -> subprocess.CompletedProcess[str]:
    """A process of ours that tells at its exit whether it will search for cycles."""
    told = (
        "import atexit, gc\n"
        "atexit.register(lambda: print(gc.get_threshold()[0], gc.get_freeze_count() > 0))\n"
    )
    command = [sys.executable, "-c", told + program]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["--wrong"], 2)])
def test_a_command_searches_seldom_for_cycles_and_not_at_its_exit(
    words: list[str], code: int
) -> None:
    program = f"import sys; sys.argv[1:] = {words}\nfrom pipeline.cli import main; main()"
    done = ended(program)
    assert done.stdout.splitlines()[-1] == "10000 True"
    assert done.returncode == code


def test_nothing_is_said_at_the_exit_of_what_triton_leaves() -> None:
    pytest.importorskip("triton")
    done = ended("import triton\nfrom pipeline.process_start import end_quickly; end_quickly()")
    assert done.stdout.endswith("False\n")
    assert "nanobind" not in done.stderr
