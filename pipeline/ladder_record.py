"""`ladder.json`: what every rung of a ladder is, and how far it is.

It tells whether a folder holds the ladder that is asked for, and which rungs are finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter

from .build import start_sha256
from .config_file import load_config
from .errors import ConfigError
from .ladder_config import Ladder, Rung, in_rung
from .run import RunFolder, deciding_settings
from .storage import file_sha256, write_json
from .typed_files import read_typed

State = Literal["waiting", "started", "done"]

_FILE = "ladder.json"
#: The sections that decide a rung's result, for the kinds that do not need all of them.
_DECIDING = {
    "majority": ("seed", "data", "cv"),
    "metadata": ("seed", "data", "cv"),
    "clinical": ("seed", "data", "cv"),
    "histogram": ("seed", "data", "cv", "preprocess"),
    "shape": ("seed", "data", "cv", "preprocess"),
    "ensemble": ("seed", "data", "cv"),
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Entry(_Part):
    name: str
    state: State
    settings: dict[str, JsonValue]
    inputs: str | None = None


class _Document(_Part):
    format: Literal[1]
    rungs: tuple[_Entry, ...]


@dataclass(frozen=True, slots=True)
class LadderRecord:
    """What every rung is, and how far it is.

    Attributes:
        out: The ladder's folder.
        settings: What decides each rung's result, flat, by rung.
        states: How far each rung is.
        inputs: SHA-256 of what else a rung was told of the cases, by rung; what is not in it
            must be told by settings, folds and volumes, which are checked.
    """

    out: Path
    settings: dict[str, dict[str, JsonValue]]
    states: dict[str, State]
    inputs: dict[str, str | None]

    @staticmethod
    def opened(out: Path, plan: Ladder) -> LadderRecord:
        """The record of a new ladder, or of the one that is there.

        Raises:
            ConfigError: The folder holds a run, or a ladder of other settings.
        """
        if RunFolder(out).config.is_file():
            raise ConfigError(
                "this folder holds a run, not a ladder",
                where=str(out),
                remedy="choose another folder with --out",
            )
        settings: dict[str, dict[str, JsonValue]] = {}
        for rung in plan.rungs:
            with in_rung(rung.plan.name):
                settings[rung.plan.name] = _settings(rung, out)
        states: dict[str, State] = dict.fromkeys(settings, "waiting")
        inputs: dict[str, str | None] = dict.fromkeys(settings)
        if (out / _FILE).is_file():
            earlier = _read(out / _FILE)
            _check_same(earlier, settings, _defaults(out), out)
            states |= {entry.name: entry.state for entry in earlier}
            inputs |= {entry.name: entry.inputs for entry in earlier}
        return LadderRecord(out, settings, states, inputs)

    def is_done(self, rung: Rung) -> bool:
        """Whether a rung was finished."""
        return self.states[rung.plan.name] == "done"

    def was_told(self, rung: Rung, inputs: str | None) -> bool:
        """Whether a rung was told the same of the cases as it would be now."""
        return self.inputs[rung.plan.name] == inputs

    def note(self, rung: Rung, state: State, inputs: str | None = None) -> None:
        """Notes on disk how far a rung is, and what it was told of the cases."""
        self.states[rung.plan.name] = state
        self.inputs[rung.plan.name] = inputs
        self.write()

    def write(self) -> None:
        """Writes the file."""
        rungs: list[JsonValue] = [
            {
                "name": name,
                "state": self.states[name],
                "settings": settings,
                "inputs": self.inputs[name],
            }
            for name, settings in self.settings.items()
        ]
        write_json(self.out / _FILE, {"format": 1, "rungs": rungs})


def _settings(rung: Rung, out: Path) -> dict[str, JsonValue]:
    """What decides a rung's result; not where files lie, but what the weights are."""
    kind, model = rung.plan.kind, rung.config.model
    tree = deciding_settings(rung.config, out / rung.plan.name)
    parts = _DECIDING.get(kind, tuple(tree))
    flat = {"kind": kind, **_flat({name: tree[name] for name in parts})}
    if rung.plan.of:
        flat["of"] = list(rung.plan.of)
    if "model" in parts and model.weights is not None:
        flat["model.weights"] = file_sha256(Path(model.weights))
    elif rung.plan.start is not None:
        flat["model.init"] = f"rung {rung.plan.start}"
    elif "model" in parts and model.pretrained_run is not None:
        flat["model.init"] = start_sha256(model)
    return dict(flat)


def _flat(tree: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    pairs: dict[str, JsonValue] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            pairs |= _flat(value, f"{prefix}{key}.")
        else:
            pairs[prefix + key] = value
    return pairs


def _read(path: Path) -> tuple[_Entry, ...]:
    remedy = "restore it, or choose another folder with --out"
    return read_typed(path, TypeAdapter(_Document), remedy).rungs


def _defaults(out: Path) -> dict[str, JsonValue]:
    return _flat(deciding_settings(load_config("base"), out))


def _check_same(
    earlier: Sequence[_Entry],
    now: Mapping[str, Mapping[str, JsonValue]],
    defaults: Mapping[str, JsonValue],
    out: Path,
) -> None:
    """Rungs may be added; those that are there stay what they are.

    A record of an earlier version lacks the keys that are new: they had their default.
    """
    changes: list[str] = []
    for entry in earlier:
        if entry.name not in now:
            changes.append(f"\n    - rung {entry.name}: it is not in this ladder")
            continue
        new = now[entry.name]
        old = {key: defaults[key] for key in new if key in defaults} | entry.settings
        changes += [
            f"\n    - rung {entry.name}, {key}: {json.dumps(old.get(key))} in the folder, "
            f"{json.dumps(new.get(key))} now"
            for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)
        ]
    if changes:
        raise ConfigError(
            "this folder holds another ladder",
            where=str(out),
            why="".join(changes),
            remedy="use its settings, or choose another folder with --out",
        )
