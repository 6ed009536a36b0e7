"""Which weights a run started from: noted once, and the same whenever it goes on."""

from __future__ import annotations

from typing import cast

from pydantic import JsonValue

from .build import start_sha256
from .config import ModelConfig
from .errors import ConfigError
from .run import RunFolder
from .storage import read_json, write_json


def recorded_start(folder: RunFolder, config: ModelConfig) -> str | None:
    """The hash that a run noted; of a run without a note, that of the weights as they are now.

    Raises:
        StorageError: The note, or the file of weights, cannot be read.
    """
    if folder.start.is_file():
        record = cast("dict[str, JsonValue]", read_json(folder.start))
        return cast("str | None", record["sha256"])
    return start_sha256(config)


def check_start(folder: RunFolder, config: ModelConfig) -> str | None:
    """The hash of the weights to start from, where the run may start from them.

    Raises:
        ConfigError: The run began with others, or they cannot be had.
        StorageError: The file cannot be read.
    """
    now = start_sha256(config)
    if folder.start.is_file() and recorded_start(folder, config) != now:
        raise ConfigError(
            "the weights to start from are not those that this run began with",
            where="model.weights" if config.weights else "model.init",
            why="their content differs, and folds that start differently cannot be pooled",
            remedy="restore them, or start a new run with another --out",
        )
    return now


def write_start_record(folder: RunFolder, sha256: str | None) -> None:
    """Notes the weights that training starts from.

    Raises:
        StorageError: It cannot be written.
    """
    write_json(folder.start, {"sha256": sha256})
