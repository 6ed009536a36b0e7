"""Randomness as a function: every random choice has a seed derived from what it is for.

Nothing is drawn from a running stream, so a resumed run, or one with another number of workers,
makes the same choices as a run that was never interrupted.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derived_seed(*parts: int | str) -> int:
    """A 32-bit seed that depends on all parts and on their order, and on nothing else.

    Args:
        parts: What the seed is for, e.g. `(seed, epoch, case_id)`; text and numbers differ.
    """
    words: list[int] = []
    for part in parts:
        tagged = f"{type(part).__name__}:{part}".encode()
        words.append(int.from_bytes(hashlib.sha256(tagged).digest()[:8], "little"))
    return int(np.random.SeedSequence(words).generate_state(1)[0])
