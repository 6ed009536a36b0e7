"""A tuning file with the configurations that it leads to.

A trial starts from the file's `config`; what is set for all trials, the command line and the
trial's own parameters follow, in that order.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml
from pydantic import JsonValue

from .config import Config
from .config_file import find_config, load_config, overrides_of, parse_yaml, validated
from .errors import ConfigError
from .tune_config import Dimension, Parameters, TuneConfig, as_text, fixes, value_at

#: As many corners of the space are tried at most.
_CORNERS = 256


@dataclass(frozen=True, slots=True)
class TuningPlan:
    """A tuning file, read.

    Attributes:
        name: Of the file, without folders and ending.
        plan: What it says.
        base: What all trials share; their cases, folds and seed are its own.
        start: The config that trials start from.
        shared: Overrides for all trials.
        folder: Where the file lies; paths in it are relative to this.
    """

    name: str
    plan: TuneConfig
    base: Config
    start: str
    shared: tuple[str, ...]
    folder: Path

    def config(self, parameters: Mapping[str, JsonValue]) -> Config:
        """The configuration of a trial.

        Raises:
            ConfigError: Its parameters do not fit each other, or the rest.
        """
        return load_config(self.start, [*self.shared, *overrides_of(parameters, self.folder)])


def read_tuning(
    source: str, overrides: Sequence[str], note: Callable[[str], None] = lambda _: None
) -> TuningPlan:
    """Reads a tuning file, and makes sure that its space can be searched.

    Args:
        source: Path of a YAML file, or the name of a shipped one such as `tuning/mr_patches`.
        overrides: `section.key=value`, for all trials; none of what is searched.
        note: Told what was left out of the configuration.

    Raises:
        ConfigError: The file is missing or no tuning file, or a key or value of the space is not
            valid in any combination; names it.
    """
    path = find_config(source)
    example = "configs/tuning/mr_patches.yaml is an example"
    plan = validated(TuneConfig, parse_yaml(path), source, example)
    beside = path.parent / plan.config
    start = str(beside) if beside.is_file() else plan.config
    shared = (*overrides_of(plan.settings, path.parent), *overrides)
    base = load_config(start, shared, note)
    for override in overrides:
        _check_override(override, plan)
    tuning = TuningPlan(path.stem, plan, base, start, shared, path.parent)
    _check_fractions(tuning, source)
    check_space(tuning, lambda _: None)
    return tuning


def _check_override(override: str, plan: TuneConfig) -> None:
    key, _, text = override.partition("=")
    value = cast("JsonValue", yaml.safe_load(text))
    searched = [item for item in plan.space if fixes(key, value, item)]
    if searched:
        raise ConfigError(
            f"{key} cannot be set for all trials",
            where=f"space, {searched[0]}",
            why="it is searched",
            remedy="leave the override out, or take the key out of the space",
        )


def _check_fractions(tuning: TuningPlan, source: str) -> None:
    """A setting that holds fractions shall not be searched among whole numbers unawares."""
    tree = cast("JsonValue", json.loads(tuning.base.model_dump_json()))
    for key, dimension in tuning.plan.space.items():
        if dimension.whole and isinstance(value_at(tree, key), float):
            raise ConfigError(
                f"space.{key}: it holds fractions, and both ends are whole numbers",
                where=source,
                remedy=f"write low: {float(cast('int', dimension.low))}, "
                f"high: {float(cast('int', dimension.high))}, or choices",
            )


def check_space(tuning: TuningPlan, accepts: Callable[[Config], object]) -> None:
    """Refuses a value with which no corner of the space is a valid configuration.

    What is refused in some combinations only is left to the trials that meet it.

    Args:
        tuning: The space.
        accepts: Raises ConfigError where a configuration cannot be used.

    Raises:
        ConfigError: Names the value.
    """
    space = tuning.plan.space
    total = math.prod(len(dimension.ends) for dimension in space.values())
    open_values = {(key, as_text(end)) for key, item in space.items() for end in item.ends}
    refused: dict[tuple[str, str], ConfigError] = {}
    accepted = False
    for corner in _corners(space, total):
        values = {(key, as_text(value)) for key, value in corner.items()}
        if not values & open_values:
            continue
        try:
            accepts(tuning.config(corner))
        except ConfigError as error:
            refused |= {value: error for value in sorted(values - refused.keys())}
        else:
            accepted = True
            open_values -= values
            if not open_values:
                return
    if accepted and total > _CORNERS:
        return
    hopeless = [item for item in refused if item in open_values]
    raise _refusal(tuning, hopeless, refused[hopeless[0]], accepted)


def _refusal(
    tuning: TuningPlan, hopeless: Sequence[tuple[str, str]], cause: ConfigError, accepted: bool
) -> ConfigError:
    """What is wrong: with these values, or, where no corner was accepted, with all of them."""
    named = ", ".join(f"{key}={text}" for key, text in sorted(hopeless))
    why = cause.what if cause.why is None else f"{cause.what}: {cause.why}"
    return ConfigError(
        f"the space has no valid configuration with {named}" if accepted else cause.what,
        where="space" if cause.where is None else f"space, {cause.where}",
        why=why if accepted else cause.why,
        remedy=cause.remedy or "correct the space of the tuning file",
    )


def _corners(space: Mapping[str, Dimension], total: int) -> Iterator[Parameters]:
    """First as few as have every end, then all of them, or as many drawn by chance."""
    ends = [dimension.ends for dimension in space.values()]
    for place in range(max(len(values) for values in ends)):
        yield dict(zip(space, (values[place % len(values)] for values in ends), strict=True))
    if total <= _CORNERS:
        yield from (dict(zip(space, values, strict=True)) for values in itertools.product(*ends))
        return
    generator = random.Random(0)
    for _ in range(_CORNERS):
        yield dict(zip(space, map(generator.choice, ends), strict=True))
