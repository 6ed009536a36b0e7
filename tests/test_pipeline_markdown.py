"""A page of several parts: each command replaces its own, and no other."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.markdown import put_part, with_part

WORDS = st.text("abc ", min_size=1, max_size=9).map(str.strip).filter(bool)
PARTS = st.dictionaries(WORDS, WORDS, max_size=4)


def test_a_part_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "page.md"
    put_part(page, "One", ["first"])
    put_part(page, "Two", ["second", "", "### inner", "more"])
    put_part(page, "One", ["again"])
    expected = "# Benchmarks\n\n## One\n\nagain\n\n## Two\n\nsecond\n\n### inner\nmore\n"
    assert page.read_text() == expected


@given(PARTS, WORDS, WORDS)
def test_what_is_written_twice_is_there_once(parts: dict[str, str], title: str, line: str) -> None:
    text = "# Page\n"
    for name, content in parts.items():
        text = with_part(text, name, [content])
    once = with_part(text, title, [line])
    assert with_part(once, title, [line]) == once
    assert once.count(f"## {title}\n") == 1
    for name, content in parts.items():
        if name != title:
            assert f"## {name}\n\n{content}\n" in once
