"""Progress of long work: bars with an estimate on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .printable import printable_lines

_SECONDS_BETWEEN_LINES = 10.0


class Bar(Protocol):
    """One running piece of work."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Notes that `amount` more is done; `note` says what was seen."""
        ...

    def skip(self, amount: int) -> None:
        """Notes that `amount` need not be done, so that the estimate leaves it out."""
        ...


class Display(Protocol):
    """Where progress is shown."""

    def line(self, text: str) -> None:
        """Shows a line that stays."""
        ...

    def bar(self, name: str, total: int) -> Bar:
        """Shows a new piece of work of `total` parts."""
        ...


class Silent:
    """Shows nothing; for use from Python and for all processes but the first."""

    def line(self, text: str) -> None:
        """Shows nothing."""

    def bar(self, name: str, total: int) -> Bar:
        """Shows nothing."""
        return self

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Shows nothing."""

    def skip(self, amount: int) -> None:
        """Shows nothing."""


class _PlainBar:
    def __init__(self, name: str, total: int, console: Console) -> None:
        self._name, self._total, self._console = name, total, console
        self._done = 0
        self._started = self._shown = time.monotonic()

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Prints a line when the last one is ten seconds old, or the work is done."""
        self._done += amount
        now = time.monotonic()
        if now - self._shown < _SECONDS_BETWEEN_LINES and self._done < self._total:
            return
        self._shown = now
        left = (now - self._started) / max(self._done, 1) * (self._total - self._done)
        rest = f", {duration(left)} left" if self._done < self._total else ""
        note = f", {note}" if note else ""
        text = f"{self._name}: {self._done}/{self._total}{note}{rest}"
        self._console.print(printable_lines(text), markup=False, highlight=False, soft_wrap=True)

    def skip(self, amount: int) -> None:
        self._total -= amount


class _Plain:
    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, text: str) -> None:
        self._console.print(printable_lines(text), markup=False, highlight=False, soft_wrap=True)

    def bar(self, name: str, total: int) -> Bar:
        return _PlainBar(name, total, self._console)


class _RichBar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=amount, note=note)
        if self._progress.tasks[self._task].finished:
            self._progress.update(self._task, visible=len(self._progress.tasks) == 1)

    def skip(self, amount: int) -> None:
        task = self._progress.tasks[self._task]
        self._progress.update(self._task, total=(task.total or 0) - amount)


class _Rich:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def line(self, text: str) -> None:
        self._progress.console.print(
            printable_lines(text), markup=False, highlight=False, soft_wrap=True
        )

    def bar(self, name: str, total: int) -> Bar:
        return _RichBar(self._progress, self._progress.add_task(name, total=total, note=""))


def making_bar(display: Display) -> Callable[[int, int], None]:
    """Shows the making of volumes by (number, total); no bar where none are made."""
    bars: list[Bar] = []

    def advance(_: int, total: int) -> None:
        if not bars:
            bars.append(display.bar("making volumes", total))
        bars[0].advance()

    return advance


@contextmanager
def display() -> Iterator[Display]:
    """Progress on standard error: bars on a terminal, a line every ten seconds elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Plain(console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        yield _Rich(progress)


def duration(seconds: float) -> str:
    """A time in words, e.g. `45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """A number of bytes in words, e.g. `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
