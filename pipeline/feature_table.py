"""A table of features: one row a case and network, pooled features of every stage in columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import JsonValue, TypeAdapter, ValidationError

from .errors import ConfigError, DataError
from .storage import read_arrays, read_parquet, write_arrays, write_parquet

FORMAT = 1
#: How a stage's map (C, X, Y, Z) becomes C numbers.
POOLINGS = ("mean", "max", "std")
_METADATA = "volclass"
_IDS = ("case_id", "patient_id", "label", "fold", "model", "seen")

Block = NDArray[np.float32]

Start = Literal["run", "random", "timm", "pretraining", "file"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where features come from; features of another origin never stand in one table.

    Attributes:
        network: Name of the network.
        settings: SHA-256 of all settings of the network, and of the precision it ran in.
        start: `run` for trained networks of a run, `random` for one as it was drawn, `timm` for
            published 2D weights, `pretraining` for one of this program, which noted what it has
            seen, `file` for weights of a file, of which nobody knows what they have seen.
        channels: Channels of each stage.
        weights: SHA-256 of the weights, by model: `fold_0`, ..., `refit`, or `network` for one
            that no run trained.
        preprocessing: SHA-256 of settings and library versions.
        cases: SHA-256 of the cases and their contents.
        folds: SHA-256 of the folds, or None where there are none.
        scheme: `kfold` or `official`, or None where there are no folds.
        classes: In the order of the run; empty where labels are not known.
        seed: Of the run.
    """

    network: str
    settings: str
    start: Start
    channels: tuple[int, ...]
    weights: dict[str, str]
    preprocessing: str
    cases: str
    folds: str | None
    scheme: str | None
    classes: tuple[str, ...]
    seed: int

    def to_json(self) -> dict[str, JsonValue]:
        """As JSON values."""
        return cast("dict[str, JsonValue]", TypeAdapter(Origin).dump_python(self, mode="json"))


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """Features of N rows.

    Attributes:
        case_ids: (N,) ids.
        patient_ids: (N,) patients.
        labels: (N,) classes by name; None where unknown.
        folds: (N,) the fold that tests the case; None where no fold does.
        models: (N,) which of `origin.weights` made the row.
        seen: (N,) whether that model was trained on the case, or chosen by it.
        blocks: `stage1_mean` and so on -> (N, channels) float32.
        origin: Where the features come from.
    """

    case_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    labels: tuple[str | None, ...]
    folds: tuple[int | None, ...]
    models: tuple[str, ...]
    seen: tuple[bool, ...]
    blocks: Mapping[str, Block]
    origin: Origin

    @property
    def stages(self) -> tuple[int, ...]:
        """Stages, counted from 1."""
        return tuple(range(1, len(self.origin.channels) + 1))

    def stage(self, number: int) -> Block:
        """(N, 3 x channels) of one stage, counted from 1: mean, maximum, standard deviation."""
        return np.concatenate([self.blocks[f"stage{number}_{kind}"] for kind in POOLINGS], axis=1)


def block_names(stages: int) -> list[str]:
    """Names of the blocks of a network with so many stages, in the order of the file."""
    return [f"stage{number}_{kind}" for number in range(1, stages + 1) for kind in POOLINGS]


def training_path(path: Path) -> Path:
    """Where features of the training parts lie, beside those that a run's models did not see."""
    return path.with_name(f"{path.stem}.training{path.suffix}")


def check_suffix(path: Path) -> None:
    """Refuses a name from which the format cannot be told.

    Raises:
        ConfigError: It ends neither in .parquet nor in .npz.
    """
    if path.suffix not in (".parquet", ".npz"):
        raise ConfigError(
            f"features cannot be kept in {path.name}",
            why="its name ends neither in .parquet nor in .npz",
            remedy="name it so, e.g. features.parquet",
        )


def write_features(path: Path, table: FeatureTable) -> None:
    """Writes a table; the file's name says as Parquet or as .npz.

    A Parquet file has a column for each number: `stage1_mean_0`, `stage1_mean_1`, ... An .npz has
    an array for each block; there an unknown label is the empty text and no fold is -1.

    Raises:
        ConfigError: The name ends in neither.
        StorageError: It cannot be written.
    """
    check_suffix(path)
    meta = TypeAdapter(dict[str, JsonValue]).dump_json({"format": FORMAT, **table.origin.to_json()})
    if path.suffix == ".npz":
        write_arrays(
            path, {**_id_arrays(table), **table.blocks, _METADATA: np.array(meta.decode())}
        )
        return
    columns: dict[str, pa.Array] = {
        "case_id": pa.array(table.case_ids, pa.string()),
        "patient_id": pa.array(table.patient_ids, pa.string()),
        "label": pa.array(table.labels, pa.string()),
        "fold": pa.array(table.folds, pa.int32()),
        "model": pa.array(table.models, pa.string()),
        "seen": pa.array(table.seen, pa.bool_()),
    }
    for name, block in table.blocks.items():
        for number, column in enumerate(np.ascontiguousarray(block.T)):
            columns[f"{name}_{number}"] = pa.array(column, pa.float32())
    write_parquet(path, pa.table(columns), {_METADATA: meta.decode()})


def _id_arrays(table: FeatureTable) -> dict[str, NDArray[np.generic]]:
    return {
        "case_id": np.array(table.case_ids, dtype=np.str_),
        "patient_id": np.array(table.patient_ids, dtype=np.str_),
        "label": np.array([label or "" for label in table.labels], dtype=np.str_),
        "fold": np.array([-1 if fold is None else fold for fold in table.folds], dtype=np.int32),
        "model": np.array(table.models, dtype=np.str_),
        "seen": np.array(table.seen, dtype=np.bool_),
    }


def read_features(path: Path) -> FeatureTable:
    """Reads what `write_features` wrote.

    Raises:
        ConfigError: The name tells no format.
        DataError: It is no file of features.
        StorageError: It is missing or damaged.
    """
    check_suffix(path)
    if path.suffix == ".npz":
        arrays = read_arrays(path)
        text = str(arrays[_METADATA]) if _METADATA in arrays else None
        origin = _origin(path, text)
        return _from_arrays(path, arrays, origin)
    table, metadata = read_parquet(path)
    origin = _origin(path, metadata.get(_METADATA))
    return _from_columns(path, table, origin)


def _origin(path: Path, text: str | None) -> Origin:
    try:
        tree = TypeAdapter(dict[str, JsonValue]).validate_json(text or "{}")
        if tree.pop("format", None) != FORMAT:
            raise _no_features(path, "it carries no description of its features")
        return TypeAdapter(Origin).validate_python(tree)
    except ValidationError as error:
        raise _no_features(path, str(error.errors(include_url=False)[0]["msg"])) from None


def _from_arrays(
    path: Path, arrays: Mapping[str, NDArray[np.generic]], origin: Origin
) -> FeatureTable:
    names = block_names(len(origin.channels))
    missing = [name for name in (*_IDS, *names) if name not in arrays]
    if missing:
        raise _no_features(path, f"it has no {', '.join(missing[:5])}")
    ids = {name: arrays[name].tolist() for name in _IDS}
    return FeatureTable(
        tuple(ids["case_id"]),
        tuple(ids["patient_id"]),
        tuple(label or None for label in ids["label"]),
        tuple(None if fold < 0 else fold for fold in ids["fold"]),
        tuple(ids["model"]),
        tuple(ids["seen"]),
        {name: np.asarray(arrays[name], dtype=np.float32) for name in names},
        origin,
    )


def _from_columns(path: Path, table: pa.Table, origin: Origin) -> FeatureTable:
    names = block_names(len(origin.channels))
    widths = np.repeat(origin.channels, len(POOLINGS))
    columns = {
        name: [f"{name}_{number}" for number in range(width)]
        for name, width in zip(names, widths, strict=True)
    }
    there = set(table.column_names)
    wanted = (*_IDS, *(column for group in columns.values() for column in group))
    missing = [name for name in wanted if name not in there]
    if missing:
        raise _no_features(path, f"it has no column {', '.join(missing[:5])}")
    ids = {name: tuple(table.column(name).to_pylist()) for name in _IDS}
    blocks = {
        name: np.stack([table.column(column).to_numpy() for column in group], axis=1)
        for name, group in columns.items()
    }
    return FeatureTable(
        ids["case_id"],
        ids["patient_id"],
        ids["label"],
        ids["fold"],
        ids["model"],
        ids["seen"],
        blocks,
        origin,
    )


def _no_features(path: Path, why: str) -> DataError:
    return DataError(
        f"{path.name} is no file of features",
        where=str(path),
        why=why,
        remedy="`volclass features` writes such files",
    )
