"""One run of all measurements, and its page."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path

from ..progress import Display
from ..storage import write_text
from .measurement import FLIPS, MUTATIONS, Measured, measure
from .page import page
from .table import ROWS


def reliability(
    out: Path,
    display: Display,
    rows: Collection[int] = tuple(ROWS),
    flips: int = FLIPS,
    mutations: int = MUTATIONS,
) -> Measured:
    """Measures in a temporary folder, and writes the page.

    Args:
        out: The Markdown file to write.
        display: Where progress is shown.
        rows: Of the acceptance table, that are measured.
        flips: How many bits are flipped.
        mutations: How many bytes of a header are changed.

    Raises:
        StorageError: The page, or a file of the measurement, cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="volclass-") as name:
        seen = measure(Path(name), display, rows, flips, mutations)
    write_text(out, page(seen))
    return seen
