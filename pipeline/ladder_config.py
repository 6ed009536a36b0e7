"""The ladder file: which rungs there are, and the configuration of each.

A rung starts from the ladder's `config`; what is set for all rungs, for the rung and on the
command line follows, in that order. All rungs share one set of cases and folds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import Field, JsonValue, model_validator

from .config import Config, IntensityConfig, Section, is_path
from .config_file import find_config, load_config, overrides_of, parse_yaml, validated
from .errors import ConfigError, VolclassError

RungKind = Literal[
    "majority",
    "metadata",
    "histogram",
    "shape",
    "clinical",
    "train",
    "probe",
    "ensemble",
    "pretrain",
]
Settings = dict[str, JsonValue]

#: Sections that a rung may change, by its kind; what else was set would silently do nothing.
_USED: dict[RungKind, tuple[str, ...]] = {
    "majority": (),
    "metadata": (),
    "histogram": ("preprocess",),
    "shape": ("preprocess",),
    "clinical": (),
    "ensemble": (),
    "pretrain": ("preprocess", "augment", "model", "train", "pretrain", "system"),
    "train": ("preprocess", "augment", "model", "train", "system", "report"),
    "probe": ("preprocess", "model", "train", "system", "report"),
}
#: What these learn from is the shape itself, or the values of its voxels.
_READING_VOXELS = ("histogram", "shape")
_SHARED = ("data", "cv", "seed")
_CACHE = "system.cache_dir"
_NETWORK = "model.name"


class RungConfig(Section):
    """One rung."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]
    """Its folder within the ladder's."""
    kind: RungKind
    """`majority`, `metadata`, `histogram` and `shape` need no network, and `clinical` no image, but
    `data.covariates` of the whole ladder; `train` trains the configured network; `probe` puts
    simple classifiers on the features of that network as it starts."""
    covariates: bool = False
    """Whether a `train` rung reads the ladder's `data.covariates` beside the volume."""
    title: Annotated[str, Field(min_length=1)] | None = None
    """As the page calls it; by default its name."""
    of: tuple[str, ...] = ()
    """The earlier rungs whose probabilities an `ensemble` averages."""
    start: str | None = None
    """The earlier `pretrain` rung that a `train` rung starts from; that is no competitor itself."""
    settings: Settings = Field(default_factory=dict, alias="set")
    """`section.key: value`, for this rung alone; not of `data` and `cv`, nor `seed`, nor the
    cache."""

    @property
    def shown(self) -> str:
        """What the page calls it."""
        return self.title or self.name

    @property
    def reads_covariates(self) -> bool:
        """Whether clinical variables take part."""
        return self.covariates or self.kind == "clinical"

    @model_validator(mode="after")
    def _covariates_have_an_effect(self) -> RungConfig:
        if self.covariates and self.kind not in ("train", "clinical"):
            raise ValueError(f"covariates would do nothing in a {self.kind} rung")
        return self

    @model_validator(mode="after")
    def _a_start_is_trained_on(self) -> RungConfig:
        if self.start is not None and self.kind != "train":
            raise ValueError(f"start would do nothing in a {self.kind} rung")
        if self.start is not None and {"model.init", "model.weights"} & self.settings.keys():
            raise ValueError("start says where the weights come from: leave model.init out")
        return self

    @model_validator(mode="after")
    def _an_ensemble_has_parts(self) -> RungConfig:
        if self.kind == "ensemble" and len(set(self.of)) < 2:
            raise ValueError("an ensemble needs `of` with two or more earlier rungs")
        if self.of and self.kind != "ensemble":
            raise ValueError(f"`of` would do nothing in a {self.kind} rung")
        return self

    @model_validator(mode="after")
    def _settings_are_its_own(self) -> RungConfig:
        for key in self.settings:
            section = key.partition(".")[0]
            if section in _SHARED:
                raise ValueError(
                    f"{key} cannot be set for one rung: all rungs share cases, folds and seed; "
                    "set it for the whole ladder"
                )
            if key == _CACHE:
                raise ValueError(
                    f"{key} cannot be set for one rung: all rungs share one cache; set it for the "
                    "whole ladder"
                )
            if section not in _USED[self.kind]:
                used = ", ".join(_USED[self.kind]) or "none"
                raise ValueError(
                    f"{key} would do nothing in a {self.kind} rung; sections that count: {used}"
                )
        return self


class LadderConfig(Section):
    """A ladder file."""

    config: Annotated[str, Field(min_length=1)]
    """What every rung starts from: a path relative to this file, or a shipped config's name."""
    settings: Settings = Field(default_factory=dict, alias="set")
    """`section.key: value`, for all rungs."""
    rungs: Annotated[tuple[RungConfig, ...], Field(min_length=2)]
    """In the order in which they are climbed."""

    @model_validator(mode="after")
    def _settings_and_names_are_sound(self) -> LadderConfig:
        for settings in (self.settings, *(rung.settings for rung in self.rungs)):
            for key in settings:
                if key != "seed" and "." not in key:
                    raise ValueError(f"set takes section.key: value, not {key!r}")
        if sum(rung.kind != "pretrain" for rung in self.rungs) < 2:
            raise ValueError("two rungs or more must answer; a pretraining does not")
        # Some file systems know no difference between capital and small letters.
        names = [rung.name.casefold() for rung in self.rungs]
        for place, rung in enumerate(self.rungs):
            before = {other.name: other.kind for other in self.rungs[:place]}
            later = [name for name in rung.of if before.get(name, "pretrain") == "pretrain"]
            if later:
                raise ValueError(f"{rung.name} averages {later[0]}, which is no earlier rung")
            if rung.start is not None and before.get(rung.start) != "pretrain":
                raise ValueError(f"{rung.name} starts from {rung.start}, no earlier pretrain rung")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"several rungs are named {', '.join(twice)}")
        return self


@dataclass(frozen=True, slots=True)
class Rung:
    """A rung with its whole configuration."""

    plan: RungConfig
    config: Config


@dataclass(frozen=True, slots=True)
class Ladder:
    """A ladder, read.

    Attributes:
        base: What all rungs share: its cases, folds and seed count for each of them.
        rungs: In order.
    """

    base: Config
    rungs: tuple[Rung, ...]

    def cut(self, names: Collection[str]) -> Ladder:
        """The ladder with some rungs alone, in their order, and the rungs that these rest on.

        Raises:
            ConfigError: There is no such rung, or fewer than two would answer.
        """
        known = {rung.plan.name: rung.plan for rung in self.rungs}
        missing = sorted(set(names) - known.keys())
        if missing:
            raise ConfigError(
                f"there is no rung {', '.join(missing)}",
                where="--rungs",
                remedy=f"choose among {', '.join(known)}",
            )
        wanted = set(names)
        # A rung rests on earlier ones only.
        for plan in reversed(known.values()):
            if plan.name in wanted:
                wanted |= {*plan.of, *([] if plan.start is None else [plan.start])}
        rungs = tuple(rung for rung in self.rungs if rung.plan.name in wanted)
        if sum(rung.plan.kind != "pretrain" for rung in rungs) < 2:
            raise ConfigError(
                "two rungs or more must answer, to be compared",
                where="--rungs",
                remedy=f"choose among {', '.join(known)}",
            )
        return Ladder(self.base, rungs)


def read_ladder(
    source: str,
    overrides: Sequence[str],
    note: Callable[[str], None],
    defaults: Sequence[str] = (),
) -> Ladder:
    """Reads a ladder file and makes the configuration of every rung.

    Args:
        source: Path of a YAML file, or the name of a shipped one such as `ladders/quick`.
        overrides: `section.key=value`, for all rungs and after all else; not against what a rung
            says of its own network.
        note: Told what was left out of a configuration, and of which.
        defaults: `section.key=value`, for all rungs that do not say otherwise.

    Raises:
        ConfigError: The file is missing or no ladder, a rung's configuration is not valid, or an
            override would make it another network than it says; names the rung and the key.
    """
    path = find_config(source)
    plan = validated(
        LadderConfig, parse_yaml(path), source, "configs/ladders/quick.yaml is an example"
    )
    beside = path.parent / plan.config
    start = str(beside) if beside.is_file() else plan.config
    shared = [*overrides_of(plan.settings, path.parent), *defaults]
    base = load_config(start, [*shared, *overrides])
    _check_one_network_for_all(plan, overrides)
    rungs = tuple(_rung(rung, start, shared, overrides, path.parent, note) for rung in plan.rungs)
    if base.data.covariates and not any(rung.reads_covariates for rung in plan.rungs):
        note("data.covariates: no rung reads them; add a clinical rung, or covariates: true")
    return Ladder(base, rungs)


def _rung(
    rung: RungConfig,
    start: str,
    shared: Sequence[str],
    overrides: Sequence[str],
    folder: Path,
    note: Callable[[str], None],
) -> Rung:
    own = list(overrides_of(rung.settings, folder))

    def note_of_rung(text: str) -> None:
        note(f"{rung.name}: {text}")

    with in_rung(rung.name):
        # All rungs share the cases; which of them also read their covariates, each says itself.
        unread = [] if rung.reads_covariates else ["data.covariates=[]"]
        config = load_config(start, [*shared, *own, *overrides, *unread], note_of_rung)
        if rung.reads_covariates and not config.data.covariates:
            raise ConfigError(
                "this rung reads covariates, and the ladder names none",
                where="data.covariates",
                remedy="set it for the whole ladder, e.g. set: {data.covariates: [age, sex]}",
            )
        if any(re.match(r"model[.=]", text) for text in overrides):
            _check_own_network(rung, config, folder)
    if rung.kind in _READING_VOXELS and config.preprocess.intensity.name == "distance":
        note_of_rung("distances are for networks: it reads the voxels, by intensity unit")
        config = _of_voxels(config)
    return Rung(rung, config)


def _of_voxels(config: Config) -> Config:
    preprocess = config.preprocess.model_copy(update={"intensity": IntensityConfig(name="unit")})
    return config.model_copy(update={"preprocess": preprocess})


def _check_one_network_for_all(plan: LadderConfig, overrides: Sequence[str]) -> None:
    """A network can be named for all rungs only where none names one."""
    names = [rung.name for rung in plan.rungs if _NETWORK in rung.settings]
    if names and any(text.startswith((f"{_NETWORK}=", "model=")) for text in overrides):
        raise ConfigError(
            f"{_NETWORK} cannot be set for all rungs",
            where=f"rung {names[0]}",
            why="it names a network of its own, and the others would no longer be what they are "
            "called",
            remedy="leave the override out, or change the ladder file",
        )


def _check_own_network(rung: RungConfig, config: Config, folder: Path) -> None:
    """Refuses overrides of what a rung says of its own network."""
    tree = cast("Settings", json.loads(config.model_dump_json()))
    for key, value in rung.settings.items():
        section, _, name = key.partition(".")
        if isinstance(value, str) and is_path(section, name, value):
            value = str((folder / value).resolve())
        if key.startswith("model.") and not _holds(_at(tree, key.split(".")), value):
            raise ConfigError(
                f"{key} cannot be set for all rungs",
                why=f"this rung sets {key} itself, and would no longer be what it is called",
                remedy="leave the override out, or change the ladder file",
            )


def _at(tree: JsonValue, keys: Sequence[str]) -> JsonValue:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _holds(found: JsonValue, said: JsonValue) -> bool:
    """Whether a value is still what was said; a mapping may hold more than that."""
    if isinstance(found, dict) and isinstance(said, dict):
        return all(_holds(found.get(key), value) for key, value in said.items())
    return found == said


@contextmanager
def in_rung(name: str) -> Iterator[None]:
    """Lets an error of the block say in which rung it came up."""
    try:
        yield
    except VolclassError as error:
        error.where = f"rung {name}" if error.where is None else f"rung {name}: {error.where}"
        raise
