"""Sentences of the page, broken into lines."""

from __future__ import annotations

import textwrap

_WIDTH = 100


def paragraph(*sentences: str) -> list[str]:
    """The lines of a paragraph; no word is broken, nor a code span at its hyphens."""
    text = " ".join(sentences)
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def points(*texts: str) -> list[str]:
    """The lines of a list."""
    lines: list[str] = []
    for text in texts:
        first, *more = textwrap.wrap(
            text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False
        )
        lines += [f"- {first}", *(f"  {line}" for line in more)]
    return lines
