"""How a process of ours uses cores and memory, and starts: set before torch is imported."""

from __future__ import annotations

import ctypes
import os
import platform

from .monai_start import keep_torchvision_from_monai

#: glibc's <malloc.h>: what is freed at the end of the heap goes back to the system where it is
#: more than the first; requests above the second are mapped, and always go back.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: Bytes that are kept, and the largest threshold for mapping that all versions of glibc take.
_KEPT, _OLD_LIMIT = 1 << 30, 1 << 25


def prepare_process() -> None:
    """Sets what is quick for training and predicting, unless the environment says otherwise."""
    # Threads that spin long while they wait for each other starve the loading processes, and
    # themselves where the machine is shared; threads that sleep at once take most of the time to
    # wake. So they spin shortly. OpenMP reads this once, when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        _keep_freed_memory()
    keep_torchvision_from_monai()


def _keep_freed_memory() -> None:
    # The grids of a network come and go with each step. Given back to the system each time, every
    # page of them is fetched and cleared again, which can take a third of a forward pass.
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    # Setting either ends glibc's own adaptation, so the second is set only where the first was.
    if libc.mallopt(_MMAP_THRESHOLD, _KEPT) or libc.mallopt(_MMAP_THRESHOLD, _OLD_LIMIT):
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
