"""Asking a run to stop: SIGTERM, SIGUSR1 and Ctrl-C are noted and obeyed after the current step."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import InterruptedRunError, PreemptedError, VolclassError

_HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """Whether somebody asked this process to stop, and how."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None

    def note(self, number: int, _: FrameType | None) -> None:
        """Notes the first signal; a second one ends the process at once."""
        if self.received is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = signal.Signals(number)

    def obey(self) -> None:
        """Ends the work where somebody asked for it.

        Raises:
            PreemptedError: The process was asked to end.
            InterruptedRunError: Ctrl-C.
        """
        if self.received is not None:
            raise self.error()

    def error(self) -> VolclassError:
        """What the command ends with once the checkpoint is written."""
        remedy = "the same command with --resume goes on where it stopped"
        if self.received is signal.SIGINT:
            return InterruptedRunError("interrupted; a checkpoint was written", remedy=remedy)
        name = "another process" if self.received is None else self.received.name
        return PreemptedError(f"asked to stop by {name}; a checkpoint was written", remedy=remedy)


@contextmanager
def heeding_signals() -> Iterator[StopRequest]:
    """Notes stop signals within the block, and restores the earlier handlers after it."""
    request = StopRequest()
    earlier = {number: signal.signal(number, request.note) for number in _HEEDED}
    try:
        yield request
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
