"""What libraries write to the two outputs of the process, past Python."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def caught_output() -> Iterator[Callable[[], bool]]:
    """Catches what the process writes to its two outputs; tells whether there is any."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    saved = [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile() as kept:
        for number in (1, 2):
            os.dup2(kept.fileno(), number)
        try:
            yield lambda: os.fstat(kept.fileno()).st_size > 0
        finally:
            for number, old in zip((1, 2), saved, strict=True):
                os.dup2(old, number)
                os.close(old)
