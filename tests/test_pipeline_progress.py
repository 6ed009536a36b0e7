"""Progress: plain lines where there is no terminal, with an estimate that can be believed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipeline import progress
from pipeline.progress import display, duration, size


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> io.StringIO:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    return text


def test_without_a_terminal_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=False)
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr("pipeline.progress.time.monotonic", lambda: float(next(clock)))
    with display() as shows:
        shows.line("[hello] /path")
        bar = shows.bar("fold 0", 10)
        bar.skip(4)
        for step in range(6):
            bar.advance(1, f"loss {step}")
    lines = text.getvalue().splitlines()
    assert lines[0] == "[hello] /path"
    assert lines[1] == "fold 0: 2/6, loss 1, 24 s left"
    assert lines[-1] == "fold 0: 6/6, loss 5"
    assert "\x1b" not in text.getvalue()


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with display() as shows:
        bar = shows.bar("all folds", 4)
        bar.skip(1)
        bar.advance(3, "loss 0.5")
        shows.line("done")
    assert "all folds" in text.getvalue()
    assert "3/3" in text.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h")]
)
def test_durations_are_said_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(12, "12 B"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e12, "3.0 TB")]
)
def test_sizes_are_said_in_words(count: float, words: str) -> None:
    assert size(count) == words
