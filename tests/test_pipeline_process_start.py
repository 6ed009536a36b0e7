"""What a process of ours sets before torch is imported."""

import os
import platform
import subprocess
import sys

import pytest

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
def test_memory_that_is_freed_is_used_again() -> None:
    assert pages_fetched() < 1000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_what_the_environment_says_of_memory_is_left_alone() -> None:
    # Twelve thousand pages an array, where each is mapped and given back.
    assert pages_fetched(MALLOC_MMAP_THRESHOLD_="1048576") > 50_000


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
