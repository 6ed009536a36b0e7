"""A plan as YAML: each setting under the reason for it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import yaml
from pydantic import JsonValue

from ..errors import ConfigError
from ..printable import printable
from .choices import Choice, in_order

_WIDTH = 100


def plan_text(
    head: Sequence[str],
    base: str,
    choices: Iterable[Choice],
    written: Mapping[str, JsonValue],
) -> str:
    """The config that a plan writes.

    Args:
        head: Lines of the comment at the top; their leading blanks stay.
        base: The config that it starts from.
        choices: The settings that have a reason.
        written: Value by key of all settings that are written, e.g. `preprocess.size`; those of
            no choice stand without a comment.
    """
    reasons = {choice.key: choice.reason for choice in choices}
    entries = [Choice(key, value, reasons.get(key, "")) for key, value in written.items()]
    lines = [*_comments(head, ""), f"base: {_flow(base)}"]
    section = ""
    for entry in in_order(entries):
        name, dot, key = entry.key.partition(".")
        if not dot:
            lines += [*_comments([entry.reason], ""), f"{name}: {_flow(entry.value)}"]
            continue
        if name != section:
            lines.append(f"{name}:")
            section = name
        lines += [*_comments([entry.reason], "  "), f"  {key}: {_flow(entry.value)}"]
    return "\n".join(lines) + "\n"


def encodable(text: str) -> str:
    """The text of a config, which has to be UTF-8 in the end.

    Raises:
        ConfigError: It cannot be, for the path of the data that it names.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            "the path of the data cannot be written in a config",
            why="the name of a folder is not UTF-8 text",
            remedy="rename the folder",
        ) from error
    return text


def _comments(texts: Iterable[str], indent: str) -> list[str]:
    lines = []
    for text in texts:
        clean = printable(text)
        inner = clean[: len(clean) - len(clean.lstrip())]
        first = f"{indent}# {inner}"
        lines += textwrap.wrap(
            clean.strip(),
            _WIDTH,
            initial_indent=first,
            subsequent_indent=f"{first}  " if inner else first,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _flow(value: JsonValue) -> str:
    dumped: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1 << 16
    )
    return dumped.removesuffix("\n").removesuffix("\n...").strip()
