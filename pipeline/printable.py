"""Text that a terminal shows and does not obey."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text of one line: what would begin another line, or cannot be seen, becomes `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def printable_lines(text: str) -> str:
    """The same of each line of a text."""
    return "\n".join(printable(line) for line in text.split("\n"))
