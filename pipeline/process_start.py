"""How a process of ours starts, uses cores and memory, and ends."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys

from .monai_start import lean_monai

#: glibc's <malloc.h>: what is freed at the end of the heap goes back to the system where it is
#: more than the first; requests above the second are mapped, and always go back.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: Bytes that are kept, and the largest threshold for mapping that all versions of glibc take.
_KEPT, _OLD_LIMIT = 1 << 30, 1 << 25
#: Containers that are made and not freed before Python searches them for cycles; by default 700, of
#: which the libraries' import makes hundreds of thousands.
_UNCOLLECTED = 10_000


def prepare_process() -> None:
    """Sets what is quick for training and predicting.

    What the environment says of threads and memory stays. Threads are to be set before torch is
    imported, and what MONAI goes without before MONAI is.
    """
    # Threads that spin long while they wait for each other starve the loading processes, and
    # themselves where the machine is shared; threads that sleep at once take most of the time to
    # wake. So they spin shortly. OpenMP reads this once, when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        _keep_freed_memory()
    gc.set_threshold(_UNCOLLECTED)
    lean_monai()


def end_quickly() -> None:
    """Leaves what the process holds to the system. For a process that is about to exit.

    Python would search all objects of its libraries for cycles once more. What is registered for
    the exit is done as ever; a file in a cycle that is still open would not be flushed.

    Does nothing where Triton is loaded, as by an optimizer or by torchvision.
    """
    # Its bindings (nanobind) complain at the exit of each object of theirs that is left.
    if "triton._C" not in sys.modules:
        gc.freeze()


def _keep_freed_memory() -> None:
    # The grids of a network come and go with each step. Given back to the system each time, every
    # page of them is fetched and cleared again, which can take a third of a forward pass.
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    # Setting either ends glibc's own adaptation, so the second is set only where the first was.
    if libc.mallopt(_MMAP_THRESHOLD, _KEPT) or libc.mallopt(_MMAP_THRESHOLD, _OLD_LIMIT):
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
