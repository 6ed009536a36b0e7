"""Rights of the superuser are given up, so that files that may not be read are no exception."""

from __future__ import annotations

import ctypes
import os
import sys

_VERSION_3 = 0x20080522  # of the interface; two words of 32 bits for each of the three sets


def can_be_plain() -> bool:
    """Whether this process is, or can be made, one that permissions hold for."""
    return os.geteuid() != 0 or sys.platform == "linux"


def become_plain() -> None:
    """Gives up all capabilities; permissions hold for this process from now on.

    Raises:
        OSError: The system does not let it.

    Source: capset(2), capabilities(7).
    """
    if os.geteuid() != 0:
        return
    library = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    if library.capset(header, none) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
