"""Cross-validation from a configuration to a report; every step leaves a file a person can open."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator
from pydantic import JsonValue

from .build import (
    build_accelerator,
    build_manifest,
    build_store,
    check_augmentation,
    check_compile,
    check_freezing,
    check_network,
    describe_start,
    mask_store,
)
from .config import Config
from .data.folds_file import check_folds, read_folds
from .data.masks import check_taught
from .data.splits import Fold, Folds, make_folds
from .errors import ConfigError
from .forecast import forecast
from .frozen import compute_slice_features
from .inputs import read_volumes
from .predict import predict_test_fold
from .processes import check_shares, owned
from .progress import Bar, Display, Silent, making_bar, size
from .reports.page import write_report
from .run import Member, Run, RunFolder
from .run_record import (
    check_folder,
    check_same_refusals,
    earlier_refusals,
    note_disguise,
    note_seconds,
    with_covariates,
    write_settings,
    write_start,
)
from .start_record import (
    check_pretraining,
    check_start,
    check_unseen,
    recorded_start,
    refuse_pretraining_folder,
    write_start_record,
)
from .storage import check_writable, folder_bytes, read_table, write_table
from .train import train_member
from .training.loop import asked_to_stop
from .training.signals import StopRequest, heeding_signals


def cross_validate(
    config: Config,
    out: Path,
    display: Display,
    *,
    fold: int | None = None,
    resume: bool = False,
    dry_run: bool = False,
) -> RunFolder | None:
    """Trains and judges every fold, and writes the report.

    Args:
        config: The configuration.
        out: The run folder.
        display: Where progress is shown.
        fold: Train this fold only, counted from 0.
        resume: Go on with a run that was stopped.
        dry_run: Stop after the forecast.

    Returns:
        The run folder; None after a dry run, and on all processes but the first.

    Raises:
        VolclassError: Whatever the user can mend; nothing that was there is lost.
    """
    folder = RunFolder(out)
    check_freezing(config, check_network(config))
    refuse_pretraining_folder(out)
    check_writable(out)
    accelerator = build_accelerator(config.system, config.train.precision)
    check_compile(config.system, accelerator.device)
    check_augmentation(config, accelerator.device)
    first = bool(accelerator.is_main_process)
    display = display if first else Silent()
    with owned(folder, accelerator), heeding_signals() as stop:
        check_folder(config, folder, resume=resume, fold=fold)
        opened = _open(config, folder, accelerator, display)
        numbers = _chosen(opened.run, fold)
        anything_left = bool(numbers) or config.cv.refit
        opened = _with_start(opened, anything_left=anything_left)
        for line in forecast(opened.run, numbers).lines() if anything_left else ():
            display.line(line)
        if dry_run:
            return None
        started = time.monotonic()
        try:
            run = _read_volumes(opened, stop)
            check_unseen(run, numbers)
            run = _with_slice_features(run, stop)
            _train_folds(run, numbers, stop)
            if first and config.cv.refit:
                # Before the refit: it changes no figure, and may still be stopped.
                write_report(folder.path)
            _refit(run, stop)
        finally:
            if first and folder.environment.is_file():
                note_seconds(folder, time.monotonic() - started)
        if first:
            write_report(folder.path)
        accelerator.wait_for_everyone()
    return folder if first else None


@dataclass(frozen=True, slots=True)
class _Opened:
    """A run before its volumes are read.

    Attributes:
        run: With all cases of the manifest.
        frozen: Whether its folds were there before; they are obeyed, not made anew.
        notes: What the environment file says beside versions.
    """

    run: Run
    frozen: bool
    notes: dict[str, JsonValue]


def _open(config: Config, folder: RunFolder, accelerator: Accelerator, display: Display) -> _Opened:
    """Cases and folds, as the manifest has them; no volume is read yet."""
    cache = folder.cache(config)
    with accelerator.main_process_first():
        manifest = build_manifest(config, cache, making_bar(display))
    for line in manifest.notes():
        display.line(line)
    cases = {case.case_id: case for case in manifest.cases}
    frozen = folder.folds.is_file()
    if frozen:
        folds = read_folds(folder.folds)
        left_out = earlier_refusals(folder)
        check_folds(folds, [case for name, case in cases.items() if name not in left_out])
        display.line(f"folds: as in {folder.folds.name}")
    else:
        folds = make_folds(manifest.cases, config.cv, config.seed)
    # Nobody writes folds before everybody has looked whether there are any.
    accelerator.wait_for_everyone()
    store = build_store(config, cache)
    run = Run(config, folder, accelerator, store, cases, {}, folds, display)
    taught = [len(fold.train) for fold in run.folds.folds]
    check_shares(run, [*taught, *([len(run.folds.cases)] if config.cv.refit else [])])
    if config.model.masks.weight > 0:
        for fold in folds.folds:
            check_taught(run.select(fold.train))
    return _Opened(run, frozen, {"patients_assumed": manifest.patients_assumed})


def _with_start(opened: _Opened, *, anything_left: bool) -> _Opened:
    """The run with the hash of the weights that it starts from; says what they are.

    They are needed only where something is left to train.
    """
    run, model = opened.run, opened.run.config.model
    if anything_left:
        check_pretraining(run)
        start = check_start(run.folder, model)
        for line in describe_start(model, len(run.folds.classes)):
            run.display.line(line)
    else:
        start = recorded_start(run.folder, model)
    return replace(opened, run=replace(run, start=start))


def _chosen(run: Run, fold: int | None) -> list[int]:
    """The folds that are asked for and not finished yet."""
    count = len(run.folds.folds)
    if fold is not None and not 0 <= fold < count:
        raise ConfigError(
            f"there is no fold {fold}", where="--fold", why=f"folds count from 0 to {count - 1}"
        )
    asked = range(count) if fold is None else [fold]
    return [number for number in asked if not run.folder.fold_predictions(number).is_file()]


def _read_volumes(opened: _Opened, stop: StopRequest) -> Run:
    """Reads and caches every volume; refused ones stop the run or leave it. Then it has begun."""
    run = opened.run
    if run.accelerator.is_main_process:
        write_start_record(run.folder, run.start)
        write_settings(run)
    cases = list(run.cases.values())
    bar = run.display.bar("reading volumes", len(cases))

    def advance() -> None:
        """Shows progress, and obeys a request to stop: what was read stays in the cache."""
        bar.advance()
        stop.obey()

    with run.accelerator.main_process_first():
        read = read_volumes(run, cases, advance)
    if run.config.system.cache != "ram":
        kept = size(folder_bytes(run.cache))
        run.display.line(f"cache of preprocessed volumes: {kept} in {run.cache.name}")
    left_out = {item.case_id for item in read.refused}
    run = with_covariates(_without(run, read.contents, left_out, frozen=opened.frozen))
    if run.config.model.masks.weight > 0:
        for fold in run.folds.folds:
            mask_store(run.store, run.select(fold.train), run.contents)
    if run.accelerator.is_main_process:
        write_start(run, read.refused, {**opened.notes, "doubtful": read.doubtful})
        note_disguise(run)
    run.accelerator.wait_for_everyone()
    return run


def _without(run: Run, contents: dict[str, str], left_out: set[str], *, frozen: bool) -> Run:
    """The run without refused volumes; folds that exist lose them, others are made anew."""
    usable = {name: case for name, case in run.cases.items() if name not in left_out}
    run = replace(run, cases=usable, contents=contents)
    check_same_refusals(run.folder, left_out)
    if not left_out & set(run.folds.cases):
        return run
    run.display.line(f"left out: {len(left_out)} volumes, listed in quarantine.csv")
    if frozen:
        folds = _folds_without(run.folds, left_out)
        check_folds(folds, list(usable.values()))
    else:
        folds = make_folds(list(usable.values()), run.config.cv, run.config.seed)
    return replace(run, folds=folds)


def _folds_without(folds: Folds, left_out: set[str]) -> Folds:
    def kept(part: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(case_id for case_id in part if case_id not in left_out)

    return replace(
        folds,
        cases={name: record for name, record in folds.cases.items() if name not in left_out},
        folds=tuple(
            Fold(kept(fold.train), kept(fold.validation), kept(fold.test)) for fold in folds.folds
        ),
    )


def _with_slice_features(run: Run, stop: StopRequest) -> Run:
    """The run with what its frozen 2D network makes of the volumes, where it has one."""
    if not run.config.model.slices.frozen:
        return run
    with run.accelerator.main_process_first():
        return replace(run, slice_features=compute_slice_features(run, stop))


def _train_folds(run: Run, numbers: list[int], stop: StopRequest) -> None:
    """Trains and tests fold after fold; predictions of all finished folds are kept together."""
    epochs = run.config.train.epochs
    members = {number: run.members(number) for number in numbers}
    total = run.display.bar("all folds", epochs * sum(map(len, members.values())))
    for number in numbers:
        for member in members[number]:
            _train(run, member, epochs, (total,), stop)
        predict_test_fold(run, number)
        run.accelerator.wait_for_everyone()
        if asked_to_stop(run.accelerator, stop):
            raise stop.error()
    if run.accelerator.is_main_process:
        _gather_predictions(run)


def _train(
    run: Run, member: Member, epochs: int, totals: tuple[Bar, ...], stop: StopRequest
) -> None:
    bar = run.display.bar(member.name.replace("_", " ").replace("/", ", "), epochs)
    train_member(run, member, (bar, *totals), stop, epochs)
    # The best weights are written by the first process alone.
    run.accelerator.wait_for_everyone()


def _refit(run: Run, stop: StopRequest) -> None:
    """Trains on all cases, for as long as the folds' best networks were trained on average.

    Where it is asked for, and all folds are finished. Nothing is left to judge the weights by, so
    the epoch cannot be chosen any more: it is taken from the folds, on the same course of the
    learning rate.
    """
    numbers = range(len(run.folds.folds))
    finished = all(run.folder.fold_predictions(number).is_file() for number in numbers)
    if not (run.config.cv.refit and finished):
        return
    best = [
        max(int(row["epoch"]) for row in read_table(run.folder.log(member)) if row["best"] == "1")
        for number in numbers
        for member in run.members(number)
    ]
    epochs = round(sum(best) / len(best))
    run.display.line(f"refit: all cases, {epochs} epochs (mean of the folds' best)")
    for member in run.members(None):
        _train(run, member, epochs, (), stop)


def _gather_predictions(run: Run) -> None:
    files = [run.folder.fold_predictions(k) for k in range(len(run.folds.folds))]
    rows = [row for file in files if file.is_file() for row in read_table(file)]
    rows.sort(key=lambda row: row["case_id"])
    write_table(run.folder.predictions, list(rows[0]), rows)
