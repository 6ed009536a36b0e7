"""How two stacks of one series lie: no order, no jitter and no order of asking decides it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.series_part import SeriesPart


def part(heights: list[float], first: int = 1) -> SeriesPart:
    """Axial slices at these heights, numbered on from the first."""
    return SeriesPart(
        series="s",
        owner={"PatientID": "p", "StudyInstanceUID": ""},
        kind={"Modality": "m"},
        settings={"EchoTime": 2.3},
        size=(9, 12),
        directions=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        spacing=(0.7, 0.8),
        corner=(-10.0, -20.0),
        heights=tuple(heights),
        numbers=tuple(range(first, first + len(heights))),
        pictures=(),
    )


def changed(item: SeriesPart, name: str, value: object) -> SeriesPart:
    """With another value of one attribute, whatever its type."""
    return SeriesPart(
        **{**{field.name: getattr(item, field.name) for field in fields(item)}, name: value}
    )


def even(count: int, step: float = 3.0, start: float = 0.0) -> list[float]:
    return [start + number * step for number in range(count)]


@given(
    count=st.integers(6, 40),
    step=st.floats(0.3, 10),
    start=st.floats(-1000, 1000),
    cut=st.floats(0.1, 0.9),
    jitter=st.floats(0, 0.04),
    way=st.sampled_from(["halves", "overlap", "two turns", "four turns"]),
)
def test_whatever_is_cut_from_a_stack_is_a_part(
    count: int,
    step: float,
    start: float,
    cut: float,
    jitter: float,
    way: Literal["halves", "overlap", "two turns", "four turns"],
) -> None:
    off = np.random.default_rng(count).uniform(-jitter, jitter, count) * step
    heights = (np.asarray(even(count, step, start)) + off).tolist()
    place = min(max(int(cut * count), 1), count - 2)
    pieces = {
        "halves": (heights[:place], heights[place:]),
        "overlap": (heights[: place + 1], heights[place:]),
        "two turns": (heights[::2], heights[1::2]),
        "four turns": (heights[::4], heights[1::4]),
    }
    one, other = (part(piece) for piece in pieces[way])
    assert one.lies(other) == other.lies(one) == "parts"
    assert part(heights).lies(part(heights)) == "again"


@pytest.mark.parametrize(
    ("one", "other", "lie"),
    [
        (even(8), even(8, start=0.2), "again"),
        (even(8), even(7), "again"),
        (even(8), even(5), "parts"),
        (even(8), even(8, start=24.0), "parts"),
        (even(8), even(8, start=30.0), "parts"),
        (even(8), even(8, start=60.0), "apart"),
        (even(8), [24.0], "parts"),
        (even(8), [], "another"),
    ],
)
def test_slices_lie_as_worked_out_by_hand(one: list[float], other: list[float], lie: str) -> None:
    assert part(one).lies(part(other)) == part(other).lies(part(one)) == lie


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", (9, 13)),
        ("kind", {"Modality": "n"}),
        ("settings", {"EchoTime": 4.6}),
        ("directions", (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)),
        ("directions", ()),
        ("spacing", (0.7, 0.9)),
        ("corner", (-10.0, -21.0)),
    ],
)
def test_stacks_that_differ_are_no_parts_of_each_other(name: str, value: object) -> None:
    one, other = part(even(8)), changed(part(even(8, start=24.0)), name, value)
    assert one.lies(other) == other.lies(one) == "another"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", {"Modality": ""}),
        ("settings", {"EchoTime": None}),
        ("settings", {"EchoTime": 2.3001}),
        ("directions", (0.999, 0.004, 0.0, 0.0, 1.0, 0.0)),
        ("corner", (-10.2, -20.1)),
        ("corner", (-10.52, -20.0)),  # leaning by less than 0.1 degrees
    ],
)
def test_what_is_not_stated_or_rounded_tells_nothing_apart(name: str, value: object) -> None:
    one, other = part(even(8)), changed(part(even(8, start=24.0)), name, value)
    assert one.lies(other) == other.lies(one) == "parts"


def test_owners_are_told_apart_by_what_both_state() -> None:
    one = part(even(8))
    assert one.is_of_one_owner(replace(one, owner={"PatientID": "", "StudyInstanceUID": "t"}))
    assert not one.is_of_one_owner(replace(one, owner={"PatientID": "q", "StudyInstanceUID": ""}))


def test_numbers_go_on_where_they_rise_or_fall_with_the_heights() -> None:
    one = part(even(8))
    assert one.goes_on_in(part(even(8, start=24.0), first=9))
    assert one.goes_on_in(part(even(8, start=24.0), first=209))
    assert one.goes_on_in(part(even(6, start=6.0), first=3))  # the same images from the third on
    falling = replace(one, numbers=one.numbers[::-1])
    assert falling.goes_on_in(replace(part(even(3, start=-9.0)), numbers=(11, 10, 9)))
    assert not one.goes_on_in(part(even(8, start=24.0)))  # a scan of its own begins at 1
    assert not one.goes_on_in(part(even(8, start=24.0), first=3))
    assert not one.goes_on_in(part(even(8, start=1.5), first=201))
    assert not one.goes_on_in(replace(one, numbers=(-1,) * 8))
    assert not replace(one, numbers=(1,) * 8).goes_on_in(replace(one, numbers=(1,) * 8))
    nearly = replace(one, heights=tuple(height + 2e-4 for height in one.heights))
    assert one.goes_on_in(nearly)
    some = replace(part(even(8, start=24.0)), numbers=(9, -1, 11, 12, -1, 14, 15, 16))
    assert one.goes_on_in(some)


def test_a_stack_with_slices_of_others_is_whole_again() -> None:
    whole = part(even(9))
    first, second, third = (
        replace(whole, heights=whole.heights[n::3], numbers=whole.numbers[n::3]) for n in range(3)
    )
    assert first.with_slices([second, third]) == whole
    assert first.with_slices([]) == first
    assert (whole.lacking(first), first.lacking(whole)) == (6, 0)


def test_a_height_that_stands_there_twice_counts_once() -> None:
    twice = part(sorted(even(8, start=24.0) * 2))
    assert part(even(8)).lies(twice) == twice.lies(part(even(8))) == "parts"
    assert part(even(8, start=24.0)).lies(twice) == "again"


def test_keywords_that_were_not_kept_tell_nothing_apart() -> None:
    one = part(even(8))
    bare = replace(part(even(8, start=24.0)), owner={}, kind={}, settings={})
    assert one.lies(bare) == bare.lies(one) == "parts"
    assert one.is_of_one_owner(bare)
    assert bare.is_of_one_owner(one)
