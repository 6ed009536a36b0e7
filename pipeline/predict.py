"""Predictions: of a fold's test cases while training, and of any volume by the fold ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from .build import build_accelerator, build_dataset, build_network, build_store
from .config import DataConfig
from .config_file import load_config
from .data.cases import Case
from .data.dataset import evaluation_batches
from .data.folds_file import read_folds
from .data.manifest import read_manifest
from .data.splits import Folds
from .data.volumes import VolumeStore, check_refusals, prepare
from .errors import ConfigError, DataError
from .progress import Display
from .reports.pictures import picture_name, three_planes
from .run import Run, RunFolder, training_identity
from .storage import check_writable, make_folder, write_bytes, write_table
from .training.checkpoint import CheckpointFolder
from .training.inference import check_finite, predict_logits, softmax

_SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True, slots=True)
class Predicted:
    """One case with its class probabilities.

    Attributes:
        case: The case.
        probabilities: (K,) in the order of the classes.
        fold: The fold whose model predicted alone, or None for the ensemble.
        seen: Whether the run was trained on this volume.
    """

    case: Case
    probabilities: NDArray[np.float64]
    fold: int | None
    seen: bool = False


def predict_test_fold(run: Run, number: int) -> None:
    """Predicts a fold's test cases once, with the weights that validation chose."""
    cases = run.select(run.folds.folds[number].test)
    probabilities = _fold_probabilities(run, number, cases)
    if not run.accelerator.is_main_process:
        return
    make_folder(run.folder.pictures)
    for case in cases:
        volume = run.store.fetch_known(case, run.contents[case.case_id])
        picture = three_planes(volume.image.numpy(), volume.spacing)
        write_bytes(run.folder.pictures / picture_name(case.case_id), picture)
    rows = [
        _row(Predicted(case, row, number), run.folds.classes)
        for case, row in zip(cases, probabilities, strict=True)
    ]
    write_table(run.folder.fold_predictions(number), list(rows[0]), rows)


def _row(predicted: Predicted, classes: Sequence[str]) -> dict[str, object]:
    case = predicted.case
    return {
        "case_id": case.case_id,
        "patient_id": case.patient_id,
        "fold": predicted.fold,
        "label": case.label,
        "prediction": classes[int(predicted.probabilities.argmax())],
        **{
            f"p_{name}": float(value)
            for name, value in zip(classes, predicted.probabilities, strict=True)
        },
    }


def _fold_probabilities(run: Run, number: int, cases: Sequence[Case]) -> NDArray[np.float64]:
    """(cases, K) by the model of one fold."""
    config, classes = run.config, run.folds.classes
    network = build_network(config.model.model_copy(update={"weights": None}), len(classes))
    identity = training_identity(config, run.folds)
    best = CheckpointFolder(run.folder.checkpoints(number), identity).best()
    network.load_state_dict(best.tensors)
    network.to(run.accelerator.device)
    # Labels play no part in a prediction; a new manifest may even have others.
    unlabelled = [Case(case.case_id, case.patient_id, case.image) for case in cases]
    dataset = build_dataset(config, unlabelled, run.contents, classes, run.store)
    batches = evaluation_batches(dataset, config.train.batch_size, *run.loads)
    logits = predict_logits(network, batches, run.accelerator, len(cases))
    check_finite(logits, [case.case_id for case in cases])
    return softmax(logits)


def open_run(folder: Path, display: Display, overrides: Sequence[str] = ()) -> Run:
    """A finished or partly finished run, ready to predict; it has no cases yet.

    Args:
        folder: The run.
        display: Where progress is shown.
        overrides: `data.` and `system.` settings that differ from the run's.

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
    return Run(config, names, accelerator, store, {}, {}, read_folds(names.folds), display)


def predict(
    folder: Path,
    inputs: Sequence[str],
    out: Path,
    display: Display,
    *,
    out_of_fold: bool = False,
) -> list[Predicted]:
    """Predicts volumes with the ensemble of a run's fold models.

    Args:
        folder: The run.
        inputs: Volumes, folders of volumes, or manifests (`.csv`, `.tsv`); and overrides such as
            `data.max_quarantine=3`, which leaves out up to three unreadable volumes.
        out: CSV to write.
        display: Where progress is shown.
        out_of_fold: Predict each case of the run only by models that did not see it.

    Raises:
        ConfigError: No run, no trained fold in it, or an override that has no place here.
        DataError: An input is missing or refused.
        StorageError: The output cannot be written.
    """
    check_writable(out.parent)
    overrides = [text for text in inputs if _is_override(text)]
    opened = open_run(folder, display, overrides)
    trained = _trained_folds(opened)
    paths = [Path(text) for text in inputs if text not in overrides]
    rooted = any(text.startswith("data.root=") for text in overrides)
    cases = _input_cases(paths, opened.config.data, rooted)
    bar = display.bar("reading volumes", len(cases))
    contents, refused = prepare(opened.store, cases, opened.config.system.workers, bar.advance)
    check_refusals(refused, opened.config.data.max_quarantine)
    for item in refused:
        display.line(f"left out: {item.case_id} ({item.file}): {item.code}, {item.reason}")
    cases = [case for case in cases if case.case_id in contents]
    by_id = {case.case_id: case for case in cases}
    run = replace(opened, cases=by_id, contents=contents)
    results = list(_predictions(run, cases, trained, out_of_fold))
    if run.accelerator.is_main_process:
        write_table(out, _columns(run.folds.classes), [_new_row(run, item) for item in results])
    return results


def _is_override(text: str) -> bool:
    """Only where data lie and how they are read may differ from the run."""
    key, equals, _ = text.partition("=")
    if not equals or Path(text).exists():
        return False
    if not key.startswith(("data.", "system.")):
        raise ConfigError(
            f"{key} cannot be changed for a prediction",
            why="the models were trained with the run's own setting",
            remedy="only data. and system. settings may differ",
        )
    return True


def _columns(classes: Sequence[str]) -> list[str]:
    start = ["case_id", "patient_id", "fold", "label", "prediction"]
    return [*start, *(f"p_{name}" for name in classes), "seen_in_training"]


def _new_row(run: Run, item: Predicted) -> dict[str, object]:
    return {**_row(item, run.folds.classes), "seen_in_training": str(item.seen).lower()}


def _trained_folds(run: Run) -> list[int]:
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


def _predictions(
    run: Run, cases: list[Case], trained: list[int], out_of_fold: bool
) -> Iterator[Predicted]:
    seen_by = _models_that_saw(run.folds)
    bar = run.display.bar("predicting", len(trained))
    by_fold: dict[int, NDArray[np.float64]] = {}
    for number in trained:
        by_fold[number] = _fold_probabilities(run, number, cases)
        bar.advance()
    for place, case in enumerate(cases):
        saw = seen_by.get(run.contents[case.case_id], set()) & set(trained)
        used = [number for number in trained if not (out_of_fold and number in saw)]
        if not used:
            raise DataError(
                f"no trained model of this run has not seen case {case.case_id}",
                remedy="leave out --out-of-fold, or train the remaining folds",
            )
        mean = np.mean([by_fold[number][place] for number in used], axis=0)
        single = used[0] if out_of_fold and saw and len(used) == 1 else None
        yield Predicted(case, mean, single, bool(saw))


def _models_that_saw(folds: Folds) -> dict[str, set[int]]:
    """For each volume of the run, by content, the folds that trained on it or chose by it."""
    seen: dict[str, set[int]] = {}
    for number, fold in enumerate(folds.folds):
        for case_id in (*fold.train, *fold.validation):
            content = folds.cases[case_id].content
            if content is not None:
                seen.setdefault(content, set()).add(number)
    return seen


def _input_cases(inputs: Sequence[Path], data: DataConfig, rooted: bool) -> list[Case]:
    """Cases of all inputs; a manifest is read under the run's rules about paths."""
    cases: list[Case] = []
    for path in inputs:
        if path.suffix.lower() in (".csv", ".tsv"):
            change = {"source": "manifest", "manifest": str(path)}
            root = {} if rooted else {"root": None}
            manifest = data.model_copy(update={**change, **root})
            cases += read_manifest(manifest, labels_required=False).cases
        else:
            cases += [Case(name, name, file) for name, file in _named(_volume_files(path), path)]
    ids = [case.case_id for case in cases]
    repeated = sorted({name for name in ids if ids.count(name) > 1})
    if repeated:
        raise DataError(
            f"several inputs have the name {', '.join(repeated[:5])}",
            remedy="predict them apart, or name them in a manifest with a case_id column",
        )
    return cases


def _named(files: Sequence[Path], folder: Path) -> list[tuple[str, Path]]:
    """Ids from file names; with their folders where names repeat, as in `sub-01/T1.nii.gz`."""
    names = [_stem(file) for file in files]
    if len(set(names)) < len(names):
        parents = [file.parent.relative_to(folder.absolute()).parts for file in files]
        names = ["_".join([*p, name]) for p, name in zip(parents, names, strict=True)]
    return list(zip(names, files, strict=True))


def _volume_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path.absolute()]
    if not path.exists():
        raise DataError("an input is missing", where=str(path), remedy="check its path")
    files = sorted(file for file in path.rglob("*") if file.name.lower().endswith(_SUFFIXES))
    if not files:
        raise DataError(
            "there is no volume in this folder",
            where=str(path),
            why=f"no file ends in {' or '.join(_SUFFIXES)}",
        )
    return [file.absolute() for file in files]


def _stem(file: Path) -> str:
    return file.name.removesuffix(".gz").removesuffix(".nii")
