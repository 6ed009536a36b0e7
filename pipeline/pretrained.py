"""`pretrained.json`: what a pretraining made, from which volumes, and whether it fits a network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter
from safetensors import SafetensorError, safe_open

from .config import ModelConfig, PreprocessConfig
from .errors import ConfigError
from .storage import sha256, write_json
from .typed_files import read_typed

FILE = "pretrained.json"
#: In the metadata of an encoder's file.
KIND = "volclass_pretraining"
#: Keys of `model` that decide which weights an encoder has and what they mean. Drop path has no
#: weights; heads, masks and auxiliary heads come after the encoder.
_OF_THE_ENCODER = ("name", "mixer", "stem", "strides", "options")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SeenCase(_Part):
    """A case that taught a network, or by which it was chosen.

    Attributes:
        voxels: Hash of its voxels, without their geometry.
        patient_id: Whose it is; None where the manifest names no patients.
    """

    voxels: str
    patient_id: str | None = None


class PretrainedNetwork(_Part):
    """An encoder that is done.

    Attributes:
        fold: The fold whose training part taught it; None for all cases.
        file: Its weights, relative to the folder.
        sha256: Of that file.
        epoch: The epoch that was chosen, from 1.
        loss: Its reconstruction loss on the validation part; guessing the mean costs about 1.
        train: The cases that taught it, by id.
        validation: The cases by which it was chosen, by id.
    """

    fold: Annotated[int, Field(ge=0)] | None
    file: str
    sha256: str
    epoch: int
    loss: float
    train: dict[str, SeenCase]
    validation: dict[str, SeenCase]

    @property
    def seen(self) -> dict[str, SeenCase]:
        """All cases that had a part in it."""
        return {**self.train, **self.validation}


class Pretraining(_Part):
    """What a folder of `volclass pretrain` holds.

    Attributes:
        format: Of this file.
        scope: `fold` or `all`, as in the configuration.
        model: What decides the encoder's weights.
        preprocess: How its volumes were prepared.
        networks: Those that are done.
    """

    format: Literal[1] = 1
    scope: Literal["fold", "all"]
    model: dict[str, JsonValue]
    preprocess: dict[str, JsonValue]
    networks: tuple[PretrainedNetwork, ...] = ()

    @property
    def start(self) -> str:
        """SHA-256 of all weights that it has for the folds of others.

        A network for the refit may come later, and no fold starts from it.
        """
        whole = self.scope == "all"
        kept = [network for network in self.networks if whole or network.fold is not None]
        pairs = sorted((str(network.fold), network.sha256) for network in kept)
        return sha256(json.dumps(pairs).encode())

    def network(self, fold: int | None) -> PretrainedNetwork | None:
        """What a fold's network starts from, or that of all cases; None where it is missing."""
        wanted = fold if self.scope == "fold" else None
        return next((item for item in self.networks if item.fold == wanted), None)


def read_pretraining(folder: Path) -> Pretraining:
    """What a pretraining noted of itself.

    Raises:
        ConfigError: The folder is none of a pretraining.
        StorageError: The file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(
            "there is no pretraining to start from",
            where=f"model.init: {folder}",
            why=f"it is neither random, timm, inflate, nor a folder with {FILE}",
            remedy="name the folder that was given to `volclass pretrain` as --out",
        )
    remedy = "restore the file, or pretrain again into another folder"
    return read_typed(path, TypeAdapter(Pretraining), remedy)


def refuse_encoder(path: Path) -> None:
    """Refuses weights of a pretraining that are named as a file, without what they have seen.

    Args:
        path: Of any kind; one that cannot be read is refused by whoever loads it.

    Raises:
        ConfigError: The file says that it is one, or lies in a folder of a pretraining.
    """
    place = path.resolve()
    # The folder of a network, and the one of its checkpoints.
    folders = [folder for folder in place.parents[:3] if (folder / FILE).is_file()]
    try:
        with safe_open(path, framework="pt") as file:
            says_so = KIND in (file.metadata() or {})
    except (OSError, SafetensorError):
        says_so = False
    if says_so or folders:
        raise ConfigError(
            "these weights are part of a pretraining",
            where=f"model.weights: {path.name}",
            why="what it has seen is noted in its folder, and a file alone cannot be compared "
            "with the cases that are tested",
            remedy=f"name the folder: model.init={folders[0] if folders else 'FOLDER'}, without "
            "model.weights",
        )


def write_pretraining(folder: Path, record: Pretraining) -> None:
    """Writes the record.

    Raises:
        StorageError: It cannot be written.
    """
    write_json(folder / FILE, cast("JsonValue", json.loads(record.model_dump_json())))


def encoder_settings(model: ModelConfig) -> dict[str, JsonValue]:
    """The settings that decide what weights the encoder has."""
    tree = cast("dict[str, JsonValue]", json.loads(model.model_dump_json()))
    return {key: tree[key] for key in _OF_THE_ENCODER}


def preprocess_settings(preprocess: PreprocessConfig) -> dict[str, JsonValue]:
    """The settings that decide what grey values the encoder sees."""
    return cast("dict[str, JsonValue]", json.loads(preprocess.model_dump_json()))


@dataclass(frozen=True, slots=True)
class _Change:
    key: str
    then: JsonValue
    now: JsonValue

    def __str__(self) -> str:
        return f"\n    - {self.key}: {self.then} in the pretraining, {self.now} here"


def check_encoder(record: Pretraining, folder: Path, model: ModelConfig) -> None:
    """Refuses a network of other shape or options than the pretrained one.

    Raises:
        ConfigError: Names each key with both values.
    """
    changes = [*_changes("model", record.model, encoder_settings(model))]
    _refuse("the network is not the one that was pretrained", folder, changes)


def check_preprocessing(record: Pretraining, folder: Path, preprocess: PreprocessConfig) -> None:
    """Refuses volumes that are prepared otherwise than those of the pretraining.

    Raises:
        ConfigError: Names each key with both values.
    """
    now = preprocess_settings(preprocess)
    changes = [*_changes("preprocess", record.preprocess, now)]
    _refuse("the volumes are prepared otherwise than in the pretraining", folder, changes)


def _refuse(what: str, folder: Path, changes: list[_Change]) -> None:
    if changes:
        raise ConfigError(
            what,
            where=f"model.init: {folder.name}",
            why="".join(str(change) for change in changes),
            remedy="use the settings of the pretraining, or pretrain with these",
        )


def _changes(
    prefix: str, then: Mapping[str, JsonValue], now: Mapping[str, JsonValue]
) -> Iterator[_Change]:
    for key in sorted(then.keys() | now.keys()):
        old, new = then.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(f"{prefix}.{key}", old, new)
        elif old != new:
            yield _Change(f"{prefix}.{key}", old, new)
