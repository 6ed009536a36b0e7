"""What a run notes about itself on disk, and whether a folder may be used for it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import JsonValue

from .config import Config
from .config_file import config_text, load_config
from .data.cases import Case
from .data.covariate_table import judged
from .data.covariates import describe_kinds
from .data.covariates_file import (
    CovariateRecord,
    check_same_covariates,
    covariate_record,
    read_covariates,
    write_covariates,
)
from .data.folds_file import read_folds, write_folds
from .data.volume import has_mask, volume_of
from .data.volumes import Refusal
from .errors import ConfigError, DataError
from .evaluation.baselines import Lesson
from .evaluation.disguise import read_judged, write_judged
from .run import Run, RunFolder, deciding_settings, environment
from .storage import read_json, read_table, remove, write_json, write_table, write_text

_REFUSAL_COLUMNS = ("case_id", "file", "code", "reason", "remedy")
#: Facts of a session that say nothing about whether its numbers can be repeated.
_NOT_VERSIONS = {"started", "seconds", "bit_exact", "patients_assumed", "doubtful"}


def check_folder(config: Config, folder: RunFolder, *, resume: bool, fold: int | None) -> None:
    """Refuses a folder that holds another run, or none where one should be resumed.

    Raises:
        ConfigError: Names every setting that differs.
    """
    if not folder.config.is_file():
        if resume:
            raise ConfigError(
                "there is no run to resume",
                where=str(folder.path),
                why="the folder holds no config.yaml",
                remedy="leave out --resume, or check --out",
            )
        return
    if not any(folder.path.glob("*/checkpoints")):
        # The run was stopped before it trained anything: nothing can be lost or mixed.
        return
    _check_same_settings(config, folder)
    untouched = fold is not None and not folder.fold(fold).exists()
    if not resume and not untouched:
        raise ConfigError(
            "this folder already holds a run",
            where=str(folder.path),
            remedy="add --resume to go on with it, or choose another folder with --out",
        )


def _check_same_settings(config: Config, folder: RunFolder) -> None:
    earlier = load_config(str(folder.config))
    old = dict(_flat(deciding_settings(earlier, folder.path)))
    new = dict(_flat(deciding_settings(config, folder.path)))
    changes = [
        f"\n    - {key}: {old.get(key)} in the folder, {new.get(key)} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if changes:
        raise ConfigError(
            "this folder holds a run of another configuration",
            where=str(folder.path),
            why="".join(changes),
            remedy="use its settings, or choose another folder with --out",
        )


def _flat(tree: Mapping[str, JsonValue], prefix: str = "") -> list[tuple[str, JsonValue]]:
    pairs: list[tuple[str, JsonValue]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, value))
    return pairs


def write_start(run: Run, refused: Sequence[Refusal], notes: Mapping[str, JsonValue]) -> None:
    """Writes environment, left-out volumes and folds.

    Raises:
        DataError: The volumes are not those that the run began with.
    """
    folder = run.folder
    if folder.folds.is_file():
        _check_same_volumes(run)
    _write_environment(run, notes)
    # Folds come last: without them the other files mean nothing, and a killed start is begun anew.
    write_table(folder.quarantine, _REFUSAL_COLUMNS, [asdict(item) for item in refused])
    write_folds(folder.folds, run.folds, run.contents)


def write_settings(run: Run) -> None:
    """Writes the configuration: from now on the folder holds a run that can be resumed."""
    write_text(run.folder.config, config_text(run.config, run.folder.path))


def _check_same_volumes(run: Run) -> None:
    earlier = {
        name: record.content
        for name, record in read_folds(run.folder.folds).cases.items()
        if record.content is not None
    }
    # Folds that were copied from where no mask was read say nothing of masks, and a run that reads
    # none has none to compare. One that reads masks has some in every session.
    both = all(any(map(has_mask, known.values())) for known in (earlier, run.contents))
    changed = sorted(
        name
        for name, content in run.contents.items()
        if name in earlier and not _is_same(earlier[name], content, masks=both)
    )
    if changed:
        raise DataError(
            f"{len(changed)} volumes are not those that this run began with",
            why=f"their voxels, geometry or masks differ: {', '.join(changed[:5])}",
            remedy="restore the files, or start a new run with another --out",
        )


def _is_same(one: str, other: str, *, masks: bool) -> bool:
    return one == other if masks else volume_of(one) == volume_of(other)


def with_covariates(run: Run) -> Run:
    """The run with what there is to know of its clinical variables, noted on disk.

    Args:
        run: With its usable cases and its folds; may read no such variable.

    Raises:
        DataError: A column has no known cell, or the values are not those that the run began with.
        StorageError: The note of an earlier session is damaged, or none can be written.
    """
    names, folder = run.config.data.covariates, run.folder
    if not names:
        return run
    cases = run.select(tuple(sorted(run.folds.cases)))
    record = covariate_record(cases, names)
    for line in describe_kinds(cases, record.kinds):
        run.display.line(line)
    # Without folds the run has not begun, and what a killed start left means nothing.
    if folder.covariates.is_file() and folder.folds.is_file():
        check_same_covariates(read_covariates(folder.covariates), record)
    run.accelerator.wait_for_everyone()
    if run.accelerator.is_main_process:
        if not folder.folds.is_file() or not _holds(folder.covariates, record):
            remove(folder.covariates_judged)
        write_covariates(folder.covariates, record)
    return replace(run, covariates=record)


def _holds(path: Path, record: CovariateRecord) -> bool:
    return path.is_file() and read_covariates(path) == record


def note_disguise(run: Run) -> None:
    """Judges how well the clinical variables tell the label alone, and warns of a disguise.

    On all cases that teach or choose in some fold. It is done once: neither values nor labels of a
    run that has begun can change.

    Raises:
        StorageError: The file of an earlier session is damaged, or none can be written.
    """
    if run.covariates is None:
        return
    path = run.folder.covariates_judged
    if not path.is_file():
        taught = {name for fold in run.folds.folds for name in (*fold.train, *fold.validation)}
        cases = run.select(tuple(sorted(taught)))
        lesson, seed = _lesson(run, cases), run.config.seed
        write_judged(path, judged(cases, run.covariates.kinds, lesson, seed))
    for warning in read_judged(path).warnings():
        run.display.line(f"warning: {warning}")


def _lesson(run: Run, cases: Sequence[Case]) -> Lesson:
    classes = run.folds.classes
    return Lesson(
        np.array([classes.index(case.label or "") for case in cases], dtype=np.int64),
        np.array([case.patient_id for case in cases], dtype=np.str_),
        len(classes),
    )


def earlier_refusals(folder: RunFolder) -> set[str]:
    """Ids of the cases that the run has left out since it began."""
    if not (folder.quarantine.is_file() and folder.folds.is_file()):
        return set()
    return {row["case_id"] for row in read_table(folder.quarantine)}


def check_same_refusals(folder: RunFolder, left_out: set[str]) -> None:
    """Refuses to go on when other volumes are unreadable now than when the run began.

    Raises:
        DataError: Names them.
    """
    if not (folder.quarantine.is_file() and folder.folds.is_file()):
        return
    changed = sorted(earlier_refusals(folder) ^ left_out)
    if changed:
        raise DataError(
            "other volumes can be read now than when this run began",
            why=f"they differ in {', '.join(changed[:5])}",
            remedy="restore the files, or start a new run with another --out",
        )


def _write_environment(run: Run, notes: Mapping[str, JsonValue]) -> None:
    now = environment(run.accelerator)
    record: dict[str, JsonValue] = {
        **now,
        **notes,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": 0.0,
        "bit_exact": True,
    }
    if run.folder.environment.is_file():
        earlier = cast("dict[str, JsonValue]", read_json(run.folder.environment))
        changed = sorted(
            key for key in now if key not in _NOT_VERSIONS and earlier.get(key) != now[key]
        )
        record["started"], record["seconds"] = earlier["started"], earlier["seconds"]
        record["bit_exact"] = earlier["bit_exact"] is True and not changed
        if changed:
            run.display.line(f"resumed with another {', '.join(changed)}: not bit-exact")
    write_json(run.folder.environment, record)


def note_seconds(folder: RunFolder, seconds: float) -> None:
    """Adds to the time that the run has taken over all its sessions."""
    record = cast("dict[str, JsonValue]", read_json(folder.environment))
    record["seconds"] = round(float(cast("float", record["seconds"])) + seconds, 1)
    write_json(folder.environment, record)
