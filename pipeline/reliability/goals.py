"""The figures that must hold, and whether they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .examination import Examined
from .flips import Flips
from .measurement import Measured
from .table import ROWS

_FILES = 120


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        name: Of what.
        goal: In words.
        found: In words.
        holds: Whether the goal is met.
    """

    name: str
    goal: str
    found: str
    holds: bool

    def line(self) -> str:
        """The figure as a line to print."""
        state = "" if self.holds else f"; NOT MET, the goal is {self.goal}"
        return f"{self.name}: {self.found}{state}"


def figures(seen: Measured) -> list[Figure]:
    """All figures, in the order of the page."""
    return [*_of_files(seen), *_of_the_reader(seen)]


def failures(seen: Measured) -> list[str]:
    """What did not hold, in lines: figures, then each file that met something else."""
    lines = [figure.line() for figure in figures(seen) if not figure.holds]
    for item in seen.examined:
        if not item.passed:
            codes = f" {', '.join(item.codes)}" if item.codes else ""
            other = "; good cases were lost" if item.good is False else ""
            lines.append(
                f"row {item.row}, {item.name}: {item.expected} was due, and it was "
                f"{item.happened}{codes}{other}"
            )
    return lines


def _of_files(seen: Measured) -> list[Figure]:
    files = seen.examined
    kinds, asked = len({item.row for item in files}), len(seen.rows)
    refused = [item for item in files if item.happened in ("refuse", "quarantine")]
    warned = [item for item in files if item.happened == "warn"]
    beside = [item for item in files if item.good is not None]
    at_once = [item for item in files if ROWS[item.row].seconds < 5]
    slowest = max((item.seconds for item in files), default=0.0)
    count = str(len(files))
    return [
        Figure("kinds of bad input", str(asked), str(kinds), kinds == asked),
        Figure("files of these kinds", f"at least {_FILES}", count, len(files) >= _FILES)
        if seen.whole
        else Figure("files of these kinds", "any", count, bool(files)),
        _none("taken in silence", files, lambda item: item.silent),
        _none("tracebacks", files, lambda item: item.happened == "traceback"),
        _none("processes that died", files, lambda item: item.happened == "died"),
        _none("hangs over 5 s", files, lambda item: item.happened == "hang", f"{slowest:.1f} s"),
        _all("refusals that name file or line, reason and remedy", refused, lambda item: item.told),
        _all("findings that name file, reason and remedy", warned, lambda item: item.told),
        _all("manifests whose good cases were all read", beside, lambda item: item.good is True),
        _all("answers within a second, where the table wants it", at_once,
             lambda item: item.seconds < ROWS[item.row].seconds),
        _all("files that met what was expected", files, lambda item: item.passed),
    ]  # fmt: skip


def _none(
    name: str, files: Sequence[Examined], bad: Callable[[Examined], bool], slowest: str = ""
) -> Figure:
    count = sum(map(bad, files))
    more = f" (slowest {slowest})" if slowest else ""
    return Figure(name, "0", f"{count}{more}", count == 0)


def _all(name: str, files: Sequence[Examined], good: Callable[[Examined], bool]) -> Figure:
    count = sum(map(good, files))
    return Figure(name, "all", f"{count} of {len(files)}", count == len(files))


def _of_the_reader(seen: Measured) -> list[Figure]:
    changed = seen.mutations
    ended = changed.crashed + changed.hung
    equal = changed.unchanged + changed.as_reference
    slow = max((bomb.seconds for bomb in seen.bombs), default=0.0)
    large = max((bomb.peak_bytes for bomb in seen.bombs), default=0)
    good_bombs = sum(bomb.passed for bomb in seen.bombs)
    right = sum(case.passed for case in seen.orientations)
    return [
        _flips("flipped bits of a .nii.gz", seen.flips),
        _flips("flipped bits of its gzip header, each", seen.header_flips),
        Figure("changed header bytes: crashes and hangs", "0", f"{ended} of {changed.tried:,}",
               ended == 0 and changed.in_time),
        Figure("changed header bytes: read otherwise in silence", "0",
               f"{changed.silent} ({changed.refused:,} refused, {changed.flagged:,} flagged, "
               f"{equal:,} equal to a reference)", changed.silent == 0),
        Figure("changed header bytes: memory beyond the process", "at most 272 MiB",
               f"{changed.peak_bytes / 2**20:.0f} MiB", changed.within_memory),
        Figure("bombs refused in a second and 50 MB", "10",
               f"{good_bombs} (slowest {slow:.2f} s, largest {large / 1e6:.0f} MB)",
               good_bombs == len(seen.bombs) == 10),
        Figure("orientations as worked out by hand", "6", str(right),
               right == len(seen.orientations) == 6),
    ]  # fmt: skip


def _flips(name: str, flips: Flips) -> Figure:
    found = (
        f"{flips.detected} detected, {flips.harmless} harmless, {flips.silent} silent, "
        f"{flips.crashed} crashed"
    )
    return Figure(name, f"all {flips.tried} detected, or harmless", found, flips.passed)
