"""Which weights a run started from: noted once, and the same whenever it goes on.

Weights of a pretraining must fit the run, and must not have seen what it tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from .build import start_sha256
from .config import ModelConfig
from .data.volume import voxels_of
from .errors import ConfigError, DataError
from .pretrained import FILE, PretrainedNetwork, check_preprocessing, read_pretraining
from .run import Run, RunFolder
from .storage import read_json, write_json

_SHOWN = 10


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
    # A run that was stopped before it trained anything may still start from other weights.
    begun = folder.start.is_file() and any(folder.path.glob("*/checkpoints"))
    if begun and recorded_start(folder, config) != now:
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


def refuse_pretraining_folder(folder: Path) -> None:
    """Refuses to train where a pretraining lies.

    Raises:
        ConfigError: It does.
    """
    if (folder / FILE).is_file():
        raise ConfigError(
            "this folder holds a pretraining",
            where=str(folder),
            why=f"it has {FILE}",
            remedy=f"choose another --out, and start from it by model.init={folder}",
        )


def check_pretraining(run: Run) -> None:
    """Refuses a pretraining with other volumes' preparation, or without a network for each fold.

    Raises:
        ConfigError: Names the keys, or the folds.
        StorageError: Its record is damaged.
    """
    config = run.config
    if config.model.pretrained_run is None:
        return
    folder = Path(config.model.pretrained_run)
    record = read_pretraining(folder)
    check_preprocessing(record, folder, config.preprocess)
    # All of them, whatever is trained now: the hash of the start is that of all.
    missing = [f"fold {k}" for k in range(len(run.folds.folds)) if record.network(k) is None]
    missing += ["all cases (cv.refit)"] if config.cv.refit and not record.network(None) else []
    if missing:
        raise ConfigError(
            f"the pretraining has no network for {', '.join(missing)}",
            where=f"model.init: {folder.name}",
            why="it is not finished, or was made with other settings of cv",
            remedy="finish it with --resume, or pretrain with the settings of cv of this run",
        )


def check_unseen(run: Run, numbers: Sequence[int]) -> None:
    """Refuses to start from networks that saw what a fold tests, or another scan of its patients.

    Args:
        run: With the contents of all volumes.
        numbers: The folds that are to be trained.

    Raises:
        DataError: Names the cases of each fold.
    """
    if run.config.model.pretrained_run is None or not numbers:
        return
    record = read_pretraining(Path(run.config.model.pretrained_run))
    found: list[str] = []
    for number in numbers:
        network = record.network(number)
        found += [] if network is None else _seen_in_test(run, number, network)
    if found:
        more = f"\n    and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DataError(
            f"E_PRETRAINED_ON_TEST: the pretraining saw {len(found)} cases that this run tests",
            where=f"model.init: {Path(run.config.model.pretrained_run).name}",
            why="".join(f"\n    - {text}" for text in found[:_SHOWN]) + more,
            remedy="pretrain with pretrain.scope=fold on the folds of this run (its folds.json "
            "copied into the new folder), or on other patients; if they are other people of the "
            "same names, rename them in one of the manifests",
        )


def _seen_in_test(run: Run, number: int, network: PretrainedNetwork) -> Iterator[str]:
    seen = network.seen
    voxels = {case.voxels: name for name, case in seen.items()}
    patients = {case.patient_id: name for name, case in seen.items() if case.patient_id is not None}
    for case_id in run.folds.folds[number].test:
        patient = run.cases[case_id].patient_id
        same = voxels.get(voxels_of(run.contents[case_id]))
        if same is not None:
            yield f"fold {number}: {case_id} has the voxels of {same}, which was pretrained on"
        elif patient in patients:
            yield (
                f"fold {number}: {case_id} is of patient {patient}, as is {patients[patient]}, "
                "which was pretrained on"
            )
