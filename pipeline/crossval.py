"""Cross-validation from a configuration to a report; every step leaves a file a person can open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from pydantic import JsonValue

from .build import build_accelerator, build_manifest, build_store, check_network
from .config import Config
from .data.folds_file import check_folds, read_folds
from .data.splits import Fold, Folds, make_folds
from .data.volumes import Refusal, check_contents, check_refusals, prepare
from .errors import ConfigError
from .forecast import forecast
from .predict import predict_test_fold
from .progress import Bar, Display, Silent, size
from .reports.page import write_report
from .run import Run, RunFolder
from .run_record import (
    check_folder,
    check_same_refusals,
    earlier_refusals,
    note_seconds,
    write_start,
)
from .storage import check_writable, folder_bytes, locked, read_table, remove_partial, write_table
from .train import train_fold
from .training.signals import heeding_signals


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
        The run folder, or None after a dry run.

    Raises:
        VolclassError: Whatever the user can mend; nothing that was there is lost.
    """
    folder = RunFolder(out)
    check_network(config)
    check_writable(out)
    accelerator = build_accelerator(config.system, config.train.precision)
    display = display if accelerator.is_main_process else Silent()
    with _owned(folder, accelerator):
        check_folder(config, folder, resume=resume, fold=fold)
        run, notes = _open(config, folder, accelerator, display)
        numbers = _chosen(run, fold)
        for line in forecast(run, numbers).lines():
            display.line(line)
        if dry_run:
            return None
        started = time.monotonic()
        run, refused = _read_volumes(run)
        with accelerator.main_process_first():
            if accelerator.is_main_process:
                write_start(run, refused, notes)
        _train_folds(run, numbers)
        if accelerator.is_main_process:
            note_seconds(folder, time.monotonic() - started)
            write_report(folder.path)
    return folder


@contextmanager
def _owned(folder: RunFolder, accelerator: Accelerator) -> Iterator[None]:
    """The first process holds the folder's lock for all of them."""
    if not accelerator.is_main_process:
        yield
        return
    with locked(folder.path):
        remove_partial(folder.path)
        yield


def _open(
    config: Config, folder: RunFolder, accelerator: Accelerator, display: Display
) -> tuple[Run, dict[str, JsonValue]]:
    """Cases and folds, as the manifest has them; no volume is read yet."""
    cache = folder.cache(config)
    with accelerator.main_process_first():
        manifest = build_manifest(config, cache, _phantom_bar(display))
    for line in manifest.notes():
        display.line(line)
    cases = {case.case_id: case for case in manifest.cases}
    if folder.folds.is_file():
        folds = read_folds(folder.folds)
        left_out = earlier_refusals(folder)
        check_folds(folds, [case for name, case in cases.items() if name not in left_out])
        display.line(f"folds: as in {folder.folds.name}")
    else:
        folds = make_folds(manifest.cases, config.cv, config.seed)
    store = build_store(config, cache)
    run = Run(config, folder, accelerator, store, cases, {}, folds, display)
    return run, {"patients_assumed": manifest.patients_assumed}


def _phantom_bar(display: Display) -> Callable[[int, int], None]:
    """Shows the making of phantoms, if any are made at all."""
    bars: list[Bar] = []

    def advance(_: int, total: int) -> None:
        if not bars:
            bars.append(display.bar("making phantoms", total))
        bars[0].advance()

    return advance


def _chosen(run: Run, fold: int | None) -> list[int]:
    """The folds that are asked for and not finished yet."""
    count = len(run.folds.folds)
    if fold is not None and not 0 <= fold < count:
        raise ConfigError(
            f"there is no fold {fold}", where="--fold", why=f"folds count from 0 to {count - 1}"
        )
    asked = range(count) if fold is None else [fold]
    return [number for number in asked if not run.folder.fold_predictions(number).is_file()]


def _read_volumes(run: Run) -> tuple[Run, list[Refusal]]:
    """Reads and caches every volume; refused ones stop the run or leave it."""
    cases = list(run.cases.values())
    bar = run.display.bar("reading volumes", len(cases))
    with run.accelerator.main_process_first():
        contents, refused = prepare(run.store, cases, run.config.system.workers, bar.advance)
    check_refusals(refused, run.config.data.max_quarantine)
    check_contents(cases, contents)
    cache = run.folder.cache(run.config)
    run.display.line(f"cache of preprocessed volumes: {size(folder_bytes(cache))} in {cache.name}")
    return _without(run, contents, refused), refused


def _without(run: Run, contents: dict[str, str], refused: list[Refusal]) -> Run:
    """The run without refused volumes; folds that exist lose them, others are made anew."""
    left_out = {item.case_id for item in refused}
    usable = {name: case for name, case in run.cases.items() if name not in left_out}
    run = replace(run, cases=usable, contents=contents)
    check_same_refusals(run.folder, left_out)
    if not left_out & set(run.folds.cases):
        return run
    run.display.line(f"left out: {len(left_out)} volumes, listed in quarantine.csv")
    if run.folder.folds.is_file():
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


def _train_folds(run: Run, numbers: list[int]) -> None:
    """Trains and tests fold after fold; predictions of all finished folds are kept together."""
    epochs = run.config.train.epochs
    total = run.display.bar("all folds", epochs * len(numbers))
    with heeding_signals() as stop:
        for number in numbers:
            bar = run.display.bar(f"fold {number}", epochs)
            train_fold(run, number, (bar, total), stop)
            predict_test_fold(run, number)
            run.accelerator.wait_for_everyone()
            if stop.received is not None:
                raise stop.error()
    if run.accelerator.is_main_process:
        _gather_predictions(run)


def _gather_predictions(run: Run) -> None:
    files = [run.folder.fold_predictions(k) for k in range(len(run.folds.folds))]
    rows = [row for file in files if file.is_file() for row in read_table(file)]
    rows.sort(key=lambda row: row["case_id"])
    write_table(run.folder.predictions, list(rows[0]), rows)
