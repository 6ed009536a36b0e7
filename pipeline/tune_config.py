"""The tuning file: which settings are searched, between which bounds, and for how long.

All trials share one set of cases and folds.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from .config import Section

Parameters = dict[str, JsonValue]
#: Larger whole numbers are not exact in the search.
_LARGEST = 10**15
_Whole = Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]
Number = _Whole | Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]

_KEY = re.compile(r"[a-z_0-9]+(\.[A-Za-z_0-9]+)+")
_SEARCHED = ("preprocess", "augment", "model", "train")
_SHARED = ("data", "cv", "seed")
#: Settings of training that make no network better or worse than another.
_NOT_SEARCHED = {
    "train.monitor": "it is the figure by which trials are compared",
    "train.keep": "it decides which epoch's figure a trial is compared by",
    "train.seeds": "more networks make a trial dearer, and none of them better",
    "train.checkpoint_seconds": "it changes no network",
}


class Dimension(Section):
    """The values of one parameter: numbers from `low` to `high`, or `choices`.

    They are whole numbers where both ends are.
    """

    low: Number | None = None
    high: Number | None = None
    step: Number | None = None
    """Distance of the values; `high` must be reached by it."""
    log: bool = False
    """Search on a logarithmic scale."""
    choices: Annotated[tuple[JsonValue, ...], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _is_a_range_or_choices(self) -> Dimension:
        if self.choices is not None:
            if self.log or any(item is not None for item in (self.low, self.high, self.step)):
                raise ValueError("choices take no low, high, step or log")
            texts = [as_text(value) for value in self.choices]
            if len(set(texts)) < len(texts):
                raise ValueError("a choice stands twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("low and high are needed, or choices")
        if self.low >= self.high:
            raise ValueError(f"low must be less than high (given: {self.low} and {self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0 (given: {self.low})")
        if self.log and self.step is not None:
            raise ValueError("log takes no step")
        if self.step is not None:
            self._check_step(self.low, self.high, self.step)
        return self

    def _check_step(self, low: Number, high: Number, step: Number) -> None:
        if step <= 0:
            raise ValueError(f"step must be above 0 (given: {step})")
        if isinstance(low, int) and isinstance(high, int) and not isinstance(step, int):
            raise ValueError(f"whole numbers need a whole step (given: {step})")
        # Decimal: 0.3 is three steps of 0.1, as it is written.
        if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)) != 0:
            raise ValueError(f"steps of {step} from {low} do not reach {high}")

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[JsonValue, ...]:
        """The two ends, or all choices."""
        return (self.low, self.high) if self.choices is None else self.choices


class TuneConfig(Section):
    """A tuning file."""

    config: Annotated[str, Field(min_length=1)]
    """What every trial starts from: a path relative to this file, or a shipped config's name."""
    settings: Parameters = Field(default_factory=dict, alias="set")
    """`section.key: value`, for all trials."""
    trials: Annotated[int, Field(ge=1, le=10_000)] = 20
    """All trials, finished earlier ones included."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the search alone; that of folds and weights is the config's."""
    sampler: Literal["tpe", "grid"] = "tpe"
    """`tpe` learns from earlier trials; `grid` tries all combinations of choices, in their order,
    and has as many trials as there are of them at the most."""
    startup: Annotated[int, Field(ge=1)] = 5
    """Trials drawn at random before the search learns from them, and before any is stopped."""
    pruner: Literal["median", "none"] = "median"
    """`median` stops a network that is behind the median of the trials before it."""
    spared: Annotated[int, Field(ge=0)] = 3
    """First epochs of each network, after which it is not stopped yet."""
    folds: Literal["all"] | Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """On whose training parts trials learn, and on whose validation parts they are judged."""
    space: Annotated[dict[str, Dimension], Field(min_length=1)]
    """`section.key: {low, high, step, log}` or `section.key: {choices: [...]}`."""

    @model_validator(mode="after")
    def _keys_are_sound(self) -> TuneConfig:
        for key in self.settings:
            if key != "seed" and "." not in key:
                raise ValueError(f"set takes section.key: value, not {key!r}")
        for key in self.space:
            _check_key(key)
        for first, second in itertools.combinations(self.space, 2):
            if overlapping(first, second):
                raise ValueError(f"{first} is searched, so {second} cannot be searched beside it")
        for key, value in self.settings.items():
            for searched in self.space:
                if fixes(key, value, searched):
                    raise ValueError(f"{searched} is searched, so set cannot give it a value")
        return self

    @model_validator(mode="after")
    def _a_grid_has_choices(self) -> TuneConfig:
        if self.sampler == "grid":
            ranges = [key for key, item in self.space.items() if item.choices is None]
            if ranges:
                raise ValueError(f"a grid needs choices, and {ranges[0]} has none")
            count = math.prod(len(item.choices or ()) for item in self.space.values())
            if self.trials > count:
                raise ValueError(f"trials is {self.trials}, and the grid has {count} combinations")
        return self

    @model_validator(mode="after")
    def _folds_are_different(self) -> TuneConfig:
        if self.folds != "all" and (min(self.folds) < 0 or len(set(self.folds)) < len(self.folds)):
            raise ValueError("folds are different numbers, counted from 0")
        return self


def _check_key(key: str) -> None:
    section = key.partition(".")[0]
    if section in _SHARED:
        raise ValueError(f"{key} cannot be searched: all trials share cases, folds and seed")
    if not _KEY.fullmatch(key):
        raise ValueError(f"space takes section.key: {{...}}, not {key!r}")
    if section not in _SEARCHED:
        named = ", ".join(_SEARCHED)
        raise ValueError(f"{key} cannot be searched; sections that can be: {named}")
    if key in _NOT_SEARCHED:
        raise ValueError(f"{key} cannot be searched: {_NOT_SEARCHED[key]}")


def overlapping(one: str, other: str) -> bool:
    """Whether one key is the other, or a part of it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def fixes(key: str, value: JsonValue, searched: str) -> bool:
    """Whether giving `key` a value gives one to the searched key, or to a part of it."""
    if not searched.startswith(f"{key}."):
        return overlapping(key, searched)
    return value_at(value, searched.removeprefix(f"{key}.")) is not None


def value_at(tree: JsonValue, key: str) -> JsonValue:
    """What a tree of settings has at `section.key`; None where it has nothing."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def as_text(value: JsonValue) -> str:
    """A value as JSON, which is YAML, so that it means the same in an override."""
    return json.dumps(value, ensure_ascii=False)
