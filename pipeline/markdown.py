"""Pages of Markdown that several commands write, each its own part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .storage import make_folder, write_text

_PART = re.compile(r"^## (.+)$", re.MULTILINE)


def put_part(page: Path, title: str, lines: Sequence[str]) -> None:
    """Replaces the part under a heading of the second level, or adds it at the end.

    Args:
        page: The file; made where it is missing. Other parts stay as they are.
        title: Of the part.
        lines: Its lines, without the heading.

    Raises:
        StorageError: The page cannot be written.
    """
    make_folder(page.parent)
    text = page.read_text(encoding="utf-8") if page.is_file() else "# Benchmarks\n"
    write_text(page, with_part(text, title, lines))


def with_part(text: str, title: str, lines: Sequence[str]) -> str:
    """The text with a part replaced or added; see `put_part`."""
    starts = [(found.start(), found.group(1)) for found in _PART.finditer(text)]
    ends = [*(start for start, _ in starts[1:]), len(text)][: len(starts)]
    head = text[: starts[0][0]] if starts else text
    parts = {name: text[start:end] for (start, name), end in zip(starts, ends, strict=True)}
    parts[title] = "\n".join([f"## {title}", "", *lines])
    return "\n\n".join(part.rstrip("\n") for part in (head, *parts.values())) + "\n"
