"""What no network needs: numbers beyond which building one would only fill the memory."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

#: Blocks of all stages together; the deepest published networks have a few hundred.
MOST_BLOCKS = 1_000
#: Channels of a stage, and any other number among the options of a network.
MOST_CHANNELS = 65_536
_MOST_ENTRIES = 64  # of a list
_DEPTHS = ("depths", "layers", "block_config")

Width = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
Reach = Annotated[int, Field(ge=1, le=1_024)]
"""An extent or a step in voxels."""
ReachPerAxis = Reach | tuple[Reach, Reach, Reach]


def within_limits(options: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The options of a network, if no number among them is beyond what any network needs.

    Raises:
        ValueError: One is.
    """
    for name, value in options.items():
        _check(name, value)
    return options


def _check(name: str, value: JsonValue) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check(f"{name}.{key}", item)
    elif isinstance(value, list):
        if len(value) > _MOST_ENTRIES:
            raise ValueError(f"{name} has {len(value):,} entries; at most {_MOST_ENTRIES} are read")
        for item in value:
            _check(name, item)
    elif isinstance(value, int | float) and abs(value) > MOST_CHANNELS:
        raise ValueError(f"{name} has {value:,}; no number may be beyond {MOST_CHANNELS:,}")
    if name in _DEPTHS and _total(value) > MOST_BLOCKS:
        text = f"{name} asks for {_total(value):,} blocks"
        raise ValueError(f"{text}; all stages together may have {MOST_BLOCKS:,}")


def _total(value: JsonValue) -> int:
    numbers = value if isinstance(value, list) else [value]
    return sum(number for number in numbers if isinstance(number, int))
