"""What a finished run is opened with: the run itself, and volumes that were read and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator

from .build import Network, build_accelerator, build_network, build_store
from .config_file import load_config
from .data.cases import Case
from .data.covariates import CovariateEncoder
from .data.covariates_file import read_covariates, read_encoder
from .data.doubts import doubts
from .data.folds_file import read_folds
from .data.formats.dicom_folder import split_series
from .data.series_checks import check_series
from .data.splits import Folds
from .data.volume import Reason, voxels_of
from .data.volume_checks import Refusal, check_contents, check_refusals, content_problems
from .data.volumes import VolumeStore, prepare
from .errors import ConfigError, DataError, StorageError
from .progress import Display
from .reports.wording import counted
from .run import Member, Run, RunFolder, training_identity
from .start_record import recorded_start
from .training.checkpoint import CheckpointFolder

#: Lie among what may differ, and decide what the networks read, and which cases the run has.
_DECIDING = ("data.covariates", "data.splits")


def open_run(folder: Path, display: Display, overrides: Sequence[str] = ()) -> Run:
    """A finished or partly finished run, ready to answer; it has no cases yet.

    Args:
        folder: The run.
        display: Where progress is shown.
        overrides: Settings that differ from the run's.

    Raises:
        ConfigError: The folder holds no run.
        StorageError: A file of the run is damaged.
    """
    names = RunFolder(folder)
    if not names.config.is_file() or not names.folds.is_file():
        raise ConfigError(
            "this folder holds no run",
            where=str(folder),
            why="config.yaml or folds.json is missing",
            remedy="name the folder that was given to train as --out",
        )
    config = load_config(str(names.config), overrides)
    accelerator: Accelerator = build_accelerator(config.system, config.train.precision)
    store: VolumeStore = build_store(config, names.cache(config))
    folds = read_folds(names.folds)
    start = recorded_start(names, config.model)
    covariates = read_covariates(names.covariates) if config.data.covariates else None
    return Run(
        config,
        names,
        accelerator,
        store,
        {},
        {},
        folds,
        display,
        start=start,
        covariates=covariates,
    )


def trained_folds(run: Run) -> list[int]:
    """The folds that are finished; says which are not.

    Raises:
        ConfigError: None is.
    """
    count = len(run.folds.folds)
    trained = [k for k in range(count) if run.folder.fold_predictions(k).is_file()]
    if not trained:
        raise ConfigError(
            "the run has no trained fold yet",
            where=str(run.folder.path),
            remedy="finish it: the train command with --resume",
        )
    if len(trained) < count:
        run.display.line(
            f"only {len(trained)} of {count} folds are trained; the others are left out"
        )
    return trained


def trained_network(run: Run, member: Member) -> Network:
    """A network with the weights that were kept, on the run's device.

    Raises:
        StorageError: The weights are missing or damaged.
    """
    identity = training_identity(run)
    best = CheckpointFolder(run.folder.checkpoints(member), identity).best()
    # The weights that training started from are not needed any more, nor is their file.
    normalised = any(name.endswith(".offset") for name in best.tensors)
    encoder = trained_encoder(run, member.fold)
    network = build_network(
        run.config.model,
        len(run.folds.classes),
        start=False,
        normalised=normalised,
        covariates=0 if encoder is None else encoder.width,
    )
    try:
        network.load_state_dict(best.tensors)
    except RuntimeError:
        raise StorageError(
            "the kept weights are not those of the run's network",
            where=str(run.folder.checkpoints(member)),
            why="names or shapes of tensors differ from what config.yaml describes",
            remedy="restore the folder, or train the fold again",
        ) from None
    return network.to(run.accelerator.device)


def trained_encoder(run: Run, fold: int | None) -> CovariateEncoder | None:
    """How the networks of a fold, or those of all cases, read clinical variables.

    Returns:
        None where they read none.

    Raises:
        StorageError: The file is missing or damaged.
    """
    return None if run.covariates is None else read_encoder(run.folder.encoder(fold))


def models_that_saw(folds: Folds) -> dict[str, set[int | None]]:
    """For each volume of the run, the folds that trained on it or chose by it.

    By voxels alone: a copy with another header is the same scan. None stands for the network of
    all cases.
    """
    seen: dict[str, set[int | None]] = {}
    for record in folds.cases.values():
        if record.content is not None:
            seen.setdefault(voxels_of(record.content), set()).add(None)
    for number, fold in enumerate(folds.folds):
        for case_id in (*fold.train, *fold.validation):
            content = folds.cases[case_id].content
            if content is not None:
                seen[voxels_of(content)].add(number)
    return seen


def is_override(text: str, free: tuple[str, ...] = ("data.", "system.")) -> bool:
    """Whether an input is a setting; only those that start with `free` may differ from the run.

    Raises:
        ConfigError: It is a setting that decides what the models are.
    """
    key, equals, _ = text.partition("=")
    if not equals or Path(text).exists() or split_series(Path(text))[1] is not None:
        return False
    if not key.startswith(free) or key.startswith(_DECIDING):
        raise ConfigError(
            f"{key} cannot be changed for a trained run",
            why="the models were trained with the run's own setting",
            remedy=f"only these may differ: {', '.join(free)}, but not {', '.join(_DECIDING)}",
        )
    return True


@dataclass(frozen=True, slots=True)
class VolumesRead:
    """The volumes of a manifest, read and checked.

    Attributes:
        contents: Content hash by case id.
        refused: What cannot be used, no more than the configuration allows.
        doubtful: What is doubtful in the others, in words; empty where nothing is.
    """

    contents: dict[str, str]
    refused: list[Refusal]
    doubtful: str


def read_volumes(run: Run, cases: Sequence[Case], advance: Callable[[], None]) -> VolumesRead:
    """Reads, checks and caches all labelled cases, and shows what is doubtful.

    Args:
        run: Configuration, store and display.
        cases: All cases of the manifest.
        advance: Called after each case.

    Raises:
        DataError: More volumes are refused than allowed, or the same one stands there twice, or
            cases share a DICOM series.
    """
    contents, refused = prepare(run.store, cases, run.config.system.workers, advance)
    check_refusals(refused, run.config.data.max_quarantine)
    if run.config.data.source == "medmnist":
        # A published set is compared as it was published; what is wrong with it is said.
        problems = content_problems(cases, contents)
        same = [f"{counted(len(problems), 'pair')} of the set: {problems[0]}"] if problems else []
    else:
        check_contents(cases, contents)
        check_series(cases, contents, run.store)
        same = []
    doubtful = doubts(run.store, [case for case in cases if case.case_id in contents])
    told = [*same, *(f"{code} in {text}" for code, text in doubtful.items())]
    for text in told:
        run.display.line(f"doubtful: {text}")
    return VolumesRead(contents, refused, "; ".join(told))


def with_volumes(run: Run, cases: Sequence[Case]) -> Run:
    """The run with these cases, all of them read, checked and cached.

    Raises:
        DataError: More volumes are refused than `data.max_quarantine` allows, or cases hold parts
            or copies of one DICOM series.
    """
    bar = run.display.bar("reading volumes", len(cases))
    contents, refused = prepare(run.store, cases, run.config.system.workers, bar.advance)
    _check_inputs(refused, run.config.data.max_quarantine)
    for item in refused:
        run.display.line(f"left out: {item.case_id} ({item.file}): {item.code}, {item.reason}")
    usable = {case.case_id: case for case in cases if case.case_id in contents}
    if not usable:
        raise DataError(
            "no usable volume is left",
            why=f"all {len(cases)} are left out" if cases else "none is named",
            remedy="mend the volumes, or name others",
        )
    # Whose scans they are decides nothing here, and of most it is not known.
    check_series(cases, contents, run.store, patients=False)
    for code, text in doubts(run.store, list(usable.values())).items():
        run.display.line(f"doubtful: {code} in {text}")
    return replace(run, cases=usable, contents=contents)


def _check_inputs(refused: Sequence[Refusal], allowed: int) -> None:
    """Stops when more inputs are refused than allowed; here no report says what was left out."""
    try:
        check_refusals(refused, allowed)
    except DataError as error:
        several = any(item.code == Reason.E_DICOM_SERIES.name for item in refused)
        first = "name the series that is meant, FOLDER#series=HASH; else " if several else ""
        leave_out = f"data.max_quarantine={len(refused)} leaves them out, and names them"
        remedy = f"{first}mend or leave out what is refused; {leave_out}"
        raise DataError(error.what, why=error.why, remedy=remedy) from None
