"""One run of all measurements, and its page."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..progress import Display
from ..storage import write_text
from .measurement import Amounts, Measured, measure
from .page import page


def reliability(out: Path, display: Display, amounts: Amounts) -> Measured:
    """Measures in a temporary folder, and writes the page.

    Args:
        out: The Markdown file to write.
        display: Where progress is shown.
        amounts: How much is measured.

    Raises:
        StorageError: The page, or a file of the measurement, cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="volclass-") as name:
        seen = measure(Path(name), display, amounts)
    write_text(out, page(seen))
    return seen
