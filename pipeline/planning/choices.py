"""A setting with the reason for it, and the order in which settings are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import JsonValue

from ..config import Config

#: Within their section; the sections follow the configuration.
_ORDER = (
    *("spacing", "size", "crop", "fit", "intensity"),
    *("name", "stem", "strides"),
    *("batch_size", "accumulate", "keep", "scheme", "folds"),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One setting.

    Attributes:
        key: Section and name, e.g. `preprocess.spacing`.
        value: As the configuration has it.
        reason: In words.
        asked: Whether the user decided it, so that nothing was proposed.
    """

    key: str
    value: JsonValue
    reason: str
    asked: bool = False

    def line(self) -> str:
        """The choice in one line."""
        return f"{self.key} = {plain(self.value)}: {self.reason}"


def plain(value: JsonValue) -> str:
    """A value in one line, without what is not set."""
    if isinstance(value, dict):
        parts = [f"{key}: {plain(part)}" for key, part in value.items() if part is not None]
        return f"{{{', '.join(parts)}}}" if parts else "null"
    if isinstance(value, list):
        return f"[{', '.join(plain(part) for part in value)}]"
    return "null" if value is None else str(value)


def in_order(choices: Iterable[Choice]) -> tuple[Choice, ...]:
    """Choices as a configuration has them: section by section."""
    sections = list(Config.model_fields)

    def place(choice: Choice) -> tuple[int, int]:
        section, _, name = choice.key.partition(".")
        return sections.index(section), _ORDER.index(name) if name in _ORDER else len(_ORDER)

    return tuple(sorted(choices, key=place))
