"""How loading processes answer signals: not at all."""

from __future__ import annotations

import signal


def leave_signals_to_the_main_process(_: int) -> None:
    """Ignores Ctrl-C and SIGTERM in a loading process.

    Both may reach the whole process group; the main process alone decides what to do, and its
    loading processes end with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
