"""Loading processes heed no signal; they end with the main process, or are ended by others."""

from __future__ import annotations

import atexit
import multiprocessing

# It registers the waiting for processes at exit. What is registered after it runs before it.
import multiprocessing.util
import signal
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TypeVar

from ..errors import EndedLoaderError

Item = TypeVar("Item")


def leave_signals_to_the_main_process(_: int) -> None:
    """Ignores Ctrl-C and SIGTERM in a loading process.

    Both may reach the whole process group; the main process alone decides what to do, and its
    loading processes end with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@cache
def end_loading_processes_at_exit() -> None:
    """Has the loading processes ended that are left when the main process exits.

    After an error its traceback may still hold a loader, which then does not end them. Python
    would ask them to by SIGTERM, which they ignore, and wait for them without end. What they write,
    a cache file, is named when it is whole, so that nothing is lost.
    """
    atexit.register(_end_loading_processes)


def _end_loading_processes() -> None:
    left = [process for process in multiprocessing.active_children() if process.daemon]
    if left:
        # PyTorch would take their end for a fault, and say so.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in left:
        process.kill()
        process.join()


def handed_over(loader: Iterable[Item]) -> Iterator[Item]:
    """Walks through what loading processes hand over.

    Args:
        loader: Torch's, which itself says by a RuntimeError, anywhere, that one of them ended.

    Raises:
        EndedLoaderError: One ended while it handed over.
    """
    loaded = iter(loader)
    while True:
        try:
            item = next(loaded)
        except StopIteration:
            return
        except (ConnectionError, EOFError) as error:
            time.sleep(1.0)  # within which torch is told of the signal, and says which it was
            raise EndedLoaderError(f"it broke off ({error})") from error
        yield item
