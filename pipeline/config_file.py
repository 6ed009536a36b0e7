"""Reads a configuration: a YAML file, at most one base below it, and `section.key=value` overrides.

All problems are reported together, each with its whole key; no text of a config is ever executed.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, cast

import yaml
from pydantic import BaseModel, JsonValue, ValidationError
from yaml.nodes import MappingNode, Node

from .config import PATH_KEYS, Config, ModelConfig, is_path, is_volume_network
from .errors import ConfigError

Tree = dict[str, JsonValue]
Schema = TypeVar("Schema", bound=BaseModel)
#: Keys of `model` that say what a network is like inside, and fit no other.
_OF_ONE_NETWORK = (
    *("mixer", "drop_path", "init", "weights", "any_intensity"),
    *("stem", "strides", "options", "inflate"),
)
#: What PyYAML raises; a tag such as `!!int` on other text ends in Python's own errors.
_NOT_YAML = (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError, RecursionError)


class _SafeLoader(yaml.SafeLoader):
    """YAML's safe loader, without aliases and repeated keys, and with `1e-3` as a number."""

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not understood here")
        return super().compose_node(parent, index)

    def construct_unique(self, node: MappingNode) -> Tree:
        """A mapping whose keys are all different; a repeated key is refused, not overwritten."""
        keys = [str(self.construct_object(key, deep=True)) for key, _ in node.value]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.YAMLError(f"the key {repeated[0]} stands twice")
        values = [self.construct_object(value, deep=True) for _, value in node.value]
        return dict(zip(keys, values, strict=True))


_SafeLoader.add_constructor("tag:yaml.org,2002:map", _SafeLoader.construct_unique)
# YAML 1.1, which PyYAML speaks, wants a dot and a signed exponent; people write 1e-3.
_SafeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789")
)


def shipped_configs() -> Path:
    """Folder of the configs that travel with the package."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def load_config(
    source: str, overrides: Sequence[str] = (), note: Callable[[str], None] | None = None
) -> Config:
    """Reads and checks a configuration.

    A file or an override that names another network than what it builds on leaves out the options
    that were meant for that one.

    Args:
        source: Path of a YAML file, or the name of a shipped config such as `quickstart`
            or `volumes/mr_patches`.
        overrides: `section.key=value`, the value in YAML; paths relative to the working folder.
        note: Told what was left out.

    Raises:
        ConfigError: The file is missing or not YAML, or keys or values are not valid.
    """
    notes: list[str] = []
    tree = _load_tree(find_config(source), (), notes)
    # The network first: options that are named beside it are meant for it.
    for override in sorted(overrides, key=lambda text: not text.startswith("model.name=")):
        _apply(tree, override, notes)
    for text in notes if note else ():
        cast("Callable[[str], None]", note)(text)
    return validate(tree, source)


def validate(tree: Mapping[str, JsonValue], source: str) -> Config:
    """Turns nested mappings into a `Config`; `source` is named in the message.

    Raises:
        ConfigError: Keys or values are not valid; all of them are listed.
    """
    return validated(Config, tree, source, "configs/base.yaml shows every key with its meaning")


def validated(schema: type[Schema], tree: Mapping[str, object], source: str, remedy: str) -> Schema:
    """Turns nested mappings into what a schema describes.

    Args:
        schema: What is valid.
        tree: The mappings, as YAML gives them.
        source: Named in the message.
        remedy: What to do, in words.

    Raises:
        ConfigError: Keys or values are not valid; all of them are listed.
    """
    try:
        text = json.dumps(tree, default=str)
    except (ValueError, RecursionError) as error:
        why = f"a number has too many digits, or lists lie too deep in each other: {error}"
        what = "a setting cannot be read"
        raise ConfigError(what, where=source, why=why, remedy=remedy) from None
    try:
        # By way of JSON: strict types, yet a list may stand for a tuple.
        return schema.model_validate_json(text)
    except ValidationError as error:
        items = [cast("Mapping[str, object]", item) for item in error.errors()]
        problems = [_problem(item, schema) for item in items]
        raise ConfigError(
            problems[0] if len(problems) == 1 else f"{len(problems)} settings are not valid",
            where=source,
            why=None if len(problems) == 1 else "".join(f"\n    - {text}" for text in problems),
            remedy=remedy,
        ) from None


def config_tree(config: Config, folder: Path) -> Tree:
    """The configuration as plain mappings, with paths relative to `folder`."""
    tree = cast("Tree", json.loads(config.model_dump_json()))
    for section, key in PATH_KEYS:
        part = cast("Tree", tree[section])
        if is_path(section, key, part[key]):
            part[key] = os.path.relpath(str(part[key]), folder.resolve())
    return tree


def config_text(config: Config, folder: Path) -> str:
    """The configuration as YAML that `load_config` reads back from a file in `folder`."""
    return yaml.safe_dump(config_tree(config, folder), sort_keys=False, allow_unicode=True)


def find_config(source: str) -> Path:
    """The file of a name: a path as it stands, or a shipped config.

    Raises:
        ConfigError: There is neither.
    """
    path = Path(source)
    shipped = shipped_configs() / f"{source.removesuffix('.yaml')}.yaml"
    if path.is_file():
        return path
    if not path.is_absolute() and shipped.is_file():
        return shipped
    root = shipped_configs()
    names = [str(file.relative_to(root).with_suffix("")) for file in sorted(root.rglob("*.yaml"))]
    raise ConfigError(
        f"there is no config {source}",
        why="it is neither a file nor the name of a shipped config",
        remedy=f"shipped are: {', '.join(names)}",
    )


def _load_tree(path: Path, seen: tuple[Path, ...], notes: list[str]) -> Tree:
    if path.resolve() in seen:
        raise ConfigError("a config cannot be its own base", where=str(path))
    tree = parse_yaml(path)
    base = tree.pop("base", None)
    _anchor(tree, path.parent)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise ConfigError("base must be one file name", where=str(path))
    beside = path.parent / base
    start = beside if beside.is_file() else find_config(base)
    below = _load_tree(start, (*seen, path.resolve()), notes)
    _leave_out_other_network(below, tree, notes)
    return _merged(below, tree)


def parse_yaml(path: Path) -> Tree:
    """The mapping in a YAML file, read safely.

    Raises:
        ConfigError: It cannot be read, or is no mapping.
    """
    try:
        # A copy: what is made of it is the caller's.
        tree = deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except (OSError, *_NOT_YAML) as error:
        raise ConfigError("cannot read the config", where=str(path), why=str(error)) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError("a config is a mapping of sections", where=str(path))
    return tree


@lru_cache(maxsize=16)
def _parsed(text: str) -> JsonValue:
    """What YAML says; most configs of a ladder, a search or a session rest on the same files."""
    return cast("JsonValue", _SafeLoader(text).get_single_data())


def _anchor(tree: Tree, folder: Path) -> None:
    """Makes the paths of a tree absolute, relative to the folder where they were written."""
    for section, key in PATH_KEYS:
        part = tree.get(section)
        if isinstance(part, dict) and is_path(section, key, part.get(key)):
            part[key] = str((folder / cast("str", part[key])).resolve())


def _leave_out_other_network(base: Tree, change: Tree, notes: list[str]) -> None:
    """Takes options of the base's network out of it where the change names another network."""
    below, above = base.get("model"), change.get("model")
    if not isinstance(below, dict) or not isinstance(above, dict):
        return
    old, new = below.get("name", ModelConfig().name), above.get("name")
    if new is None or new == old:
        return
    keys: tuple[str, ...] = _OF_ONE_NETWORK
    if is_volume_network(str(old)) != is_volume_network(str(new)):
        keys = (*keys, "slices")
    default = cast("Tree", json.loads(ModelConfig().model_dump_json()))
    left_out = []
    for key in keys:
        said = below.pop(key, None)
        whole = {**cast("Tree", default[key]), **said} if isinstance(said, dict) else said
        if whole not in (None, default[key]):
            left_out.append(key)
    if left_out:
        notes.append(f"model.name is {new}: left out what was set for {old}: {', '.join(left_out)}")


def _merged(base: Tree, tree: Tree) -> Tree:
    result = dict(base)
    for key, value in tree.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = _merged(cast("Tree", old), cast("Tree", value)) if both else value
    return result


def _apply(tree: Tree, override: str, notes: list[str]) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(
            f"{override!r} is not an override", remedy="write section.key=value, e.g. train.lr=1e-3"
        )
    try:
        value = cast("JsonValue", _SafeLoader(text).get_single_data())
    except _NOT_YAML as error:
        raise ConfigError(f"the value of {name} is not YAML", why=str(error)) from None
    change: Tree = {}
    part = change
    *sections, key = name.split(".")
    for section in sections:
        part[section] = part = {}
    part[key] = value
    if name == "data.manifest" and isinstance(tree.setdefault("data", {}), dict):
        # Naming a manifest is choosing it; nobody should have to say so twice.
        cast("Tree", tree["data"])["source"] = "manifest"
    _anchor(change, Path.cwd())
    _leave_out_other_network(tree, change, notes)
    tree.update(_merged(tree, change))


def overrides_of(settings: Mapping[str, JsonValue], folder: Path) -> Iterator[str]:
    """The settings `section.key: value` of a plan over configs, as overrides.

    Args:
        settings: As the plan's file has them.
        folder: Of that file; a path in it is relative to it.
    """
    for key, value in settings.items():
        section, _, name = key.partition(".")
        if isinstance(value, str) and is_path(section, name, value):
            value = str((folder / value).resolve())
        # JSON is YAML, so the text means what the file said.
        yield f"{key}={json.dumps(value, ensure_ascii=False)}"


def _problem(item: Mapping[str, object], schema: type[BaseModel]) -> str:
    location = [str(part) for part in cast("tuple[object, ...]", item["loc"])]
    key = ".".join(location)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(all_keys(schema)), n=1, cutoff=0.5)
        return f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else "")
    message = str(item["msg"]).removeprefix("Value error, ")
    given = item.get("input")
    shown = "" if isinstance(given, dict) else f" (given: {given!r})"
    return f"{key}: {message}{shown}" if key else message


def all_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All keys of the schema with their sections, e.g. `train.lr`."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        parts = kind if isinstance(kind, tuple) else getattr(kind, "__args__", (kind,))
        yield prefix + name
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from all_keys(part, f"{prefix}{name}.")
