"""Loading processes heed no signal; they end with the main process, or are ended by others."""

from __future__ import annotations

import atexit
import multiprocessing

# It registers the waiting for processes at exit. What is registered after it runs before it.
import multiprocessing.util
import signal
import time
from collections.abc import Iterator
from functools import cache
from multiprocessing.process import BaseProcess
from typing import TypeVar
from weakref import WeakSet

from torch.utils.data import DataLoader

from ..errors import EndedLoaderError

Item = TypeVar("Item")

#: What torch writes into an error that was raised in a loading process, not by its end.
_RAISED_THERE = "in DataLoader worker process"

_started: WeakSet[BaseProcess] = WeakSet()


def leave_signals_to_the_main_process(_: int) -> None:
    """Ignores Ctrl-C and SIGTERM in a loading process.

    Both may reach the whole process group; the main process alone decides what to do, and its
    loading processes end with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def handed_over(loader: DataLoader[Item]) -> Iterator[Item]:
    """Walks through what loading processes hand over; they end with the main process at the latest.

    Args:
        loader: It says itself, by a RuntimeError anywhere, that one of them ended.

    Raises:
        EndedLoaderError: One ended while it handed over.
    """
    others = {*multiprocessing.active_children()}
    try:
        loaded = iter(loader)
        _end_at_exit({*multiprocessing.active_children()} - others)
        yield from loaded
    except (ConnectionError, EOFError) as error:
        if loader.num_workers == 0 or _RAISED_THERE in str(error):
            raise
        time.sleep(1.0)  # within which torch may hear of the signal, and say which it was
        raise EndedLoaderError(f"it broke off ({error})") from error


def _end_at_exit(processes: set[BaseProcess]) -> None:
    """Has loading processes ended that are left when the main process exits.

    A traceback, or a program of one's own, may still hold a loader, which then does not end them.
    Python would ask them to by SIGTERM, which they ignore, and wait for them without end. What they
    write, a cache file, is named when it is whole, so that nothing is lost.
    """
    _started.update(processes)
    if processes:
        _register()


@cache
def _register() -> None:
    atexit.register(_end_those_left)


def _end_those_left() -> None:
    left = [process for process in _started if process.is_alive()]
    if left:
        # PyTorch would take their end for a fault, and say so.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in left:
        process.kill()
        process.join()
