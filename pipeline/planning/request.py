"""What a plan is asked for: the data, the config that it starts from, and what is decided."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml
from pydantic import JsonValue

from ..config import Config
from ..config_file import config_tree, find_config, load_config, shipped_configs
from ..errors import ConfigError
from .choices import Choice

#: What a stem may be besides its strides, which are planned nevertheless.
_STEM_KINDS = ("model.stem.kind", "model.stem.windows")


@dataclass(frozen=True, slots=True)
class Request:
    """What a plan is made for.

    Attributes:
        source: The config that it starts from, as `load_config` takes it.
        overrides: `section.key=value`; what they set is not planned.
    """

    source: str
    overrides: tuple[str, ...]

    @property
    def asked(self) -> frozenset[str]:
        """Keys `section.key` that are decided."""
        decided = (text for text in self.overrides if not text.startswith(_STEM_KINDS))
        return frozenset(key for text in decided for key in _keys(text))

    def config(self, choices: Iterable[Choice] = ()) -> Config:
        """The configuration with some choices.

        Raises:
            ConfigError: It is not valid.
        """
        planned = [
            f"{choice.key}={json.dumps(choice.value, ensure_ascii=False)}"
            for choice in choices
            if not choice.asked
        ]
        return load_config(self.source, [*self.overrides, *planned])

    def base(self, folder: Path) -> str:
        """How a config in `folder` names the one that it starts from."""
        path, shipped = find_config(self.source).resolve(), shipped_configs().resolve()
        if path.is_relative_to(shipped):
            return path.relative_to(shipped).as_posix()
        return Path(os.path.relpath(path, folder.resolve())).as_posix()

    def written(self, choices: Iterable[Choice], folder: Path) -> dict[str, JsonValue]:
        """Value by key of what a config in `folder` must say beside its base."""
        values = {choice.key: choice.value for choice in choices}
        tree, base = (
            cast("Mapping[str, JsonValue]", config_tree(config, folder))
            for config in (self.config(choices), load_config(self.source))
        )
        keys = [key for text in self.overrides for key in _keys(text)]
        if self.config().data.source == "manifest":
            keys = ["data.source", "data.manifest", *keys]
        return {
            key: _said(key, tree, base, values.get(key)) for key in dict.fromkeys([*keys, *values])
        }


def request_of(config: str | None, words: Iterable[str]) -> Request:
    """Understands the words of a command line.

    Args:
        config: The config that is named, if one is.
        words: At most one manifest, and overrides.

    Raises:
        ConfigError: There is nothing to plan for, too much, or it is not valid.
    """
    given = list(words)
    overrides = [word for word in given if "=" in word and not Path(word).exists()]
    manifests = [word for word in given if word not in overrides]
    if len(manifests) > 1:
        raise ConfigError(
            "a plan is made for one manifest",
            why=f"{len(manifests)} are named: {', '.join(Path(word).name for word in manifests)}",
            remedy="write settings as section.key=value",
        )
    if not manifests and config is None:
        raise ConfigError(
            "nothing to plan for", remedy="name a manifest (a CSV of volumes), or a --config"
        )
    for manifest in manifests:
        if Path(manifest).is_dir():
            raise ConfigError(
                f"{Path(manifest).name} is a folder, not a manifest",
                where=manifest,
                remedy=f"volclass init {manifest} --out work/ makes a manifest of it",
            )
        overrides.insert(0, f"data.manifest={json.dumps(manifest, ensure_ascii=False)}")
    request = Request(config or "base", tuple(overrides))
    request.config()
    return request


def _keys(override: str) -> list[str]:
    """The settings that an override sets, by section and name."""
    name, _, text = override.partition("=")
    if "." in name:
        return [".".join(name.split(".")[:2])]
    value = yaml.safe_load(text)
    return [f"{name}.{key}" for key in value] if isinstance(value, dict) else [name]


def _said(
    key: str,
    tree: Mapping[str, JsonValue],
    base: Mapping[str, JsonValue],
    chosen: JsonValue,
) -> JsonValue:
    """The value of a setting; of a mapping what differs from the base, or was chosen."""
    value, below = _at(tree, key), _at(base, key)
    if not isinstance(value, dict) or not isinstance(below, dict):
        return value
    named = chosen if isinstance(chosen, dict) else {}
    return {
        name: part
        for name, part in value.items()
        if name in named or name not in below or below[name] != part
    }


def _at(tree: Mapping[str, JsonValue], key: str) -> JsonValue:
    section, dot, name = key.partition(".")
    part = tree[section]
    return cast("Mapping[str, JsonValue]", part)[name] if dot else part
