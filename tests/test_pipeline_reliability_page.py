"""The page and the figures of a measurement: what holds, what does not, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.reliability import (
    ROWS,
    Bomb,
    Compared,
    Examined,
    Flips,
    Measured,
    Mutations,
    Orientation,
    failures,
    figures,
    page,
)

GOOD = Examined(
    4, "early", "quarantine", "quarantine", ("E_CRC",), 0.1, True, False, True, "", True
)
FLIPS = Flips(500, 499, 1, 0, 0)
CHANGED = Mutations(5000, 1000, 50, 3000, 950, 0, 0, 0, 0.1, 20 << 20)
BOMB = Bomb("zeros", "E_BUDGET", 0.1, 5_000_000)
CASE = Orientation("RAS", 1, (5, 6, 7), (2, 3, 4), True)
SEEN = Measured(
    tuple(ROWS),
    tuple(replace(GOOD, row=row, name=str(number)) for row in ROWS for number in range(3)),
    (),
    (
        Compared(4, "early", False, {"nibabel": "silent", "SimpleITK": "hang", "MONAI": "warned",
                                     "volclass": "named"}),
        Compared(39, "beside", True, {"nibabel": "right", "SimpleITK": "altered", "MONAI": "right",
                                      "volclass": "right"}),
    ),
    FLIPS,
    Flips(80, 31, 49, 0, 0),
    {"nibabel": Flips(500, 80, 0, 420, 0)},
    CHANGED,
    (BOMB,) * 10,
    (CASE,) * 6,
    312.0,
)  # fmt: skip


def with_file(**changes: object) -> Measured:
    """The measurement with one other file."""
    other = replace(GOOD, row=4, name="odd", **changes)  # type: ignore[arg-type]
    return replace(SEEN, examined=(*SEEN.examined, other))


def test_where_all_holds_nothing_failed() -> None:
    assert all(figure.holds for figure in figures(SEEN))
    assert failures(SEEN) == []
    assert "All of them hold." in page(SEEN)


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (replace(SEEN, examined=SEEN.examined[3:]), "kinds of bad input: 57; NOT MET"),
        (replace(SEEN, examined=SEEN.examined[::3]), "files of these kinds: 58; NOT MET"),
        (with_file(silent=True), "taken in silence: 1; NOT MET"),
        (with_file(happened="traceback"), "tracebacks: 1; NOT MET"),
        (with_file(happened="died"), "processes that died: 1; NOT MET"),
        (with_file(happened="hang"), "hangs over 5 s: 1 "),
        (with_file(told=False), "reason and remedy: 174 of 175; NOT MET"),
        (
            with_file(happened="warn", told=False),
            "findings that name file, reason and remedy: 0 of 1",
        ),
        (with_file(good=False), "good cases were all read: 174 of 175"),
        (with_file(passed=False), "met what was expected: 174 of 175"),
        (
            replace(SEEN, examined=(*SEEN.examined, replace(GOOD, row=40, seconds=1.2))),
            "answers within a second, where the table wants it: 9 of 10",
        ),
        (
            replace(SEEN, flips=replace(FLIPS, detected=498, silent=1)),
            "498 detected, 1 harmless, 1",
        ),
        (replace(SEEN, header_flips=Flips(80, 30, 49, 1, 0)), "gzip header, each: 30 detected"),
        (replace(SEEN, mutations=replace(CHANGED, crashed=1)), "crashes and hangs: 1 of 5,000"),
        (replace(SEEN, mutations=replace(CHANGED, hung=2)), "crashes and hangs: 2 of 5,000"),
        (replace(SEEN, mutations=replace(CHANGED, slowest=6.0)), "crashes and hangs: 0 of 5,000"),
        (replace(SEEN, mutations=replace(CHANGED, silent=3)), "read otherwise in silence: 3"),
        (replace(SEEN, mutations=replace(CHANGED, peak_bytes=1 << 30)), "process: 1024 MiB"),
        (replace(SEEN, bombs=(BOMB,) * 9), "in a second and 50 MB: 9 "),
        (replace(SEEN, bombs=(*SEEN.bombs[1:], replace(BOMB, seconds=2.0))), "50 MB: 9 (slowest 2"),
        (replace(SEEN, orientations=(CASE,) * 5), "worked out by hand: 5; NOT MET"),
        (replace(SEEN, orientations=(*(CASE,) * 5, replace(CASE, passed=False))), "by hand: 5;"),
    ],
)
def test_each_figure_can_fail_and_says_so_on_the_page(seen: Measured, says: str) -> None:
    failed = failures(seen)
    assert [line for line in failed if says in line and "NOT MET, the goal is" in line]
    text = page(seen)
    assert "What did not hold:" in text
    assert says in text
    assert "**no**" in text


def test_a_file_that_met_something_else_is_named() -> None:
    seen = with_file(happened="ok", codes=(), silent=True, passed=False)
    assert "row 4, odd: quarantine was due, and it was ok" in failures(seen)
    assert "- Row 4, bit flip in the compressed data: not as the table says: odd: taken." in page(
        seen
    )


def test_where_the_table_says_otherwise_the_page_says_why() -> None:
    text = " ".join(page(SEEN).split())
    for number, row in ROWS.items():
        if row.differs:
            assert f"- Row {number}, {row.what}: {row.differs}." in text
    assert "Row 5, gzip trailer missing: not as the table says: 0: left out E_CRC" in text


def test_every_row_stands_on_the_page_with_what_became_of_it() -> None:
    seen = with_file(happened="warn", codes=("W_NAME",))
    lines = page(seen).splitlines()
    rows = [line for line in lines if line.count("|") == 11]
    assert len(rows) == 2 + len(ROWS)
    (four,) = [line for line in rows if line.startswith("| 4 |")]
    assert "| 4 | left out: 3, taken, with a finding: 1 | `E_CRC`, `W_NAME` | 0 | 0 | 0 |" in four
    assert "| 4 of 4 | 0.10 s |" in four


def test_readers_stand_side_by_side() -> None:
    lines = page(SEEN).splitlines()
    assert "| 4 | bit flip in the compressed data | 1 | silent | hung | warned | named |" in lines
    assert "| nibabel | 1 | 0 | 0 | 0 | 0 | 0 | 0 |" in lines
    assert "| SimpleITK | 0 | 1 | 0 | 0 | 0 | 0 |" in lines  # of the sound ones
    assert "| nibabel | 80 | 0 | 420 | 0 |" in lines
    assert "| volclass | 499 | 1 | 0 | 0 |" in lines


def test_a_part_is_no_whole_and_what_was_not_seen_is_told() -> None:
    part = replace(SEEN, rows=(4,), examined=(GOOD,), left_out=("43, a file",))
    text = page(part)
    assert "**A part only: rows 4 of 58.**" in text
    assert "could not be shown: row 43, a file." in text
    assert failures(part) == []
    assert "A part only" not in page(SEEN)


def test_lines_of_the_page_are_tables_or_short() -> None:
    long = [line for line in page(SEEN).splitlines() if len(line) > 100 and line[0] != "|"]
    assert long == []
