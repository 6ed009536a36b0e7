"""Which weights a run started from: noted once, and the same whenever it goes on.

Weights of a pretraining must fit the run, and must not have seen what it tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from .build import start_sha256
from .config import Config, ModelConfig
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


def check_pretraining(run: Run, numbers: Sequence[int] | None = None) -> None:
    """Refuses a pretraining with other volumes' preparation, or without a network for each fold.

    Args:
        run: With its folds.
        numbers: The only folds that are trained; None for all, and the refit if it is asked for.

    Raises:
        ConfigError: Names the keys, or the folds.
        StorageError: Its record is damaged.
    """
    config = run.config
    if config.model.pretrained_run is None:
        return
    folder = Path(config.model.pretrained_run)
    record = read_pretraining(folder)
    check_prepared(config)
    # A run needs all of them, whatever it trains now: the hash of the start is that of all.
    wanted = range(len(run.folds.folds)) if numbers is None else numbers
    missing = [f"fold {k}" for k in wanted if record.network(k) is None]
    refit = config.cv.refit and numbers is None
    missing += ["all cases (cv.refit)"] if refit and not record.network(None) else []
    if missing:
        raise ConfigError(
            f"the pretraining has no network for {', '.join(missing)}",
            where=f"model.init: {folder.name}",
            why="it is not finished, or was made with other settings of cv",
            remedy="finish it with --resume, or pretrain with the settings of cv of this run",
        )


def check_prepared(config: Config) -> None:
    """Refuses volumes that are prepared otherwise than those of the pretraining, if there is one.

    Raises:
        ConfigError: Names the keys.
        StorageError: Its record is damaged.
    """
    if config.model.pretrained_run is not None:
        folder = Path(config.model.pretrained_run)
        check_preprocessing(read_pretraining(folder), folder, config.preprocess)


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
    folder = Path(run.config.model.pretrained_run)
    record = read_pretraining(folder)
    found: list[str] = []
    for number in numbers:
        network = record.network(number)
        if network is not None:
            tested = run.folds.folds[number].test
            found += [f"fold {number}: {text}" for text in _seen(run, tested, network).values()]
    _refuse_seen(
        found,
        folder,
        "pretrain with pretrain.scope=fold on the folds of this run (its folds.json copied into "
        "the new folder), or on other patients",
    )


def seen_by_pretraining(run: Run, tested: Mapping[str, int]) -> frozenset[str]:
    """Ids of the cases that the pretraining's network of all cases saw, or whose patient it saw.

    Says how many there are.

    Args:
        run: With the contents of all volumes; it need not start from a pretraining.
        tested: The fold that tests a case, by case id.

    Raises:
        DataError: It saw some that a fold tests; names them.
    """
    if run.config.model.pretrained_run is None:
        return frozenset()
    folder = Path(run.config.model.pretrained_run)
    network = read_pretraining(folder).network(None)
    found = {} if network is None else _seen(run, sorted(run.cases), network)
    _refuse_seen(
        [f"fold {tested[name]}: {text}" for name, text in found.items() if name in tested],
        folder,
        "describe the cases by a run that `train` started from a pretraining with "
        "pretrain.scope=fold, or pretrain on other patients",
    )
    if found:
        run.display.line(
            f"the pretraining saw {len(found)} of these {len(run.cases)} cases, or their patients; "
            "the column seen marks them"
        )
    return frozenset(found)


def _refuse_seen(found: Sequence[str], folder: Path, remedy: str) -> None:
    if found:
        more = f"\n    and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DataError(
            f"E_PRETRAINED_ON_TEST: the pretraining saw {len(found)} cases that this run tests",
            where=f"model.init: {folder.name}",
            why="".join(f"\n    - {text}" for text in found[:_SHOWN]) + more,
            remedy=f"{remedy}; if they are other people of the same names, rename them in one of "
            "the manifests",
        )


def _seen(run: Run, case_ids: Iterable[str], network: PretrainedNetwork) -> dict[str, str]:
    """How a network knows a case, by the id of each one that it knows."""
    seen, found = network.seen, {}
    voxels = {case.voxels: name for name, case in seen.items()}
    patients = {case.patient_id: name for name, case in seen.items() if case.patient_id is not None}
    for case_id in case_ids:
        patient = run.cases[case_id].patient_id
        same = voxels.get(voxels_of(run.contents[case_id]))
        if same is not None:
            found[case_id] = f"{case_id} has the voxels of {same}, which was pretrained on"
        elif patient in patients:
            found[case_id] = (
                f"{case_id} is of patient {patient}, as is {patients[patient]}, "
                "which was pretrained on"
            )
    return found
