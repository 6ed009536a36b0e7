"""The cases and folds that several networks of one command share, a ladder's or a search's.

Volumes are read and checked once, and folds made once: at the first start, obeyed after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from .build import build_accelerator, build_manifest, build_store
from .config import Config, MaskConfig
from .data.cases import Case
from .data.folds_file import check_folds, read_folds
from .data.splits import Folds, make_folds
from .errors import ConfigError
from .inputs import read_volumes
from .progress import Display, making_bar
from .run import Run, RunFolder
from .run_record import check_same_refusals, write_start


def open_cases(
    config: Config,
    out: Path,
    display: Display,
    *,
    what: str,
    between: Callable[[], None] = lambda: None,
    masks: bool = False,
) -> Run:
    """All usable cases of a configuration, with the folds that a run would have.

    Args:
        config: What all networks share.
        out: Folder of the command; quarantine, environment and folds are written there.
        display: Where progress is shown.
        what: What the command does, for the refusal of several processes.
        masks: Read masks even where the configuration itself needs none.
        between: Called after each volume; may raise to stop: what was read stays in the cache.

    Raises:
        ConfigError: Several processes were started.
        DataError: The manifest or a volume is refused, or they are not those of the first start.
        StorageError: A file is damaged or cannot be written.
    """
    folder = RunFolder(out)
    accelerator = build_accelerator(config.system, config.train.precision)
    if accelerator.num_processes > 1:
        raise ConfigError(
            f"{what} is run by one process",
            why=f"{accelerator.num_processes} were started",
            remedy="start a single one",
        )
    cache = folder.cache(config)
    manifest = build_manifest(_with_masks(config) if masks else config, cache, making_bar(display))
    for line in manifest.notes():
        display.line(line)
    store = build_store(config, cache)
    nobody = Folds(config.cv.scheme, config.seed, (), {}, ())
    run = Run(config, folder, accelerator, store, {}, {}, nobody, display)
    bar = display.bar("reading volumes", len(manifest.cases))

    def advance() -> None:
        """Shows progress, and lets the caller stop."""
        bar.advance()
        between()

    read = read_volumes(run, manifest.cases, advance)
    check_same_refusals(folder, {item.case_id for item in read.refused})
    cases = {case.case_id: case for case in manifest.cases if case.case_id in read.contents}
    folds = _folds(config, folder, list(cases.values()))
    run = replace(run, cases=cases, contents=read.contents, folds=folds)
    notes: dict[str, JsonValue] = {"patients_assumed": manifest.patients_assumed}
    write_start(run, read.refused, {**notes, "doubtful": read.doubtful})
    return run


def _with_masks(config: Config) -> Config:
    model = config.model.model_copy(update={"masks": MaskConfig(weight=1.0)})
    return config.model_copy(update={"model": model})


def _folds(config: Config, folder: RunFolder, cases: Sequence[Case]) -> Folds:
    if not folder.folds.is_file():
        return make_folds(cases, config.cv, config.seed)
    folds = read_folds(folder.folds)
    check_folds(folds, cases)
    return folds
