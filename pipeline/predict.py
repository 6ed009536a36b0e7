"""Predictions: of a fold's test cases while training, and of any volume by the fold ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .build import build_dataset, build_views
from .config_file import load_config
from .data.cases import Case
from .data.covariates import check_covariates, describe_unknown
from .data.dataset import evaluation_batches
from .data.volume import voxels_of
from .data.volume_inputs import input_cases
from .errors import ConfigError, DataError
from .inputs import (
    is_override,
    models_that_saw,
    open_run,
    trained_encoder,
    trained_folds,
    trained_network,
    with_volumes,
)
from .progress import Display
from .reports.pictures import picture_name, three_planes
from .run import Run, training_identity
from .slice_answers import SliceAnswers
from .storage import check_writable, make_folder, write_bytes, write_table
from .training.checkpoint import CheckpointFolder
from .training.inference import check_finite, predict_logits, softmax
from .training.views import View

_FREE = ("data.", "system.", "augment.test_time")


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
    said = SliceAnswers(run, cases)
    answers = _answers(run, number, cases, build_views(run.config), said)
    if not run.accelerator.is_main_process:
        return
    make_folder(run.folder.pictures)
    for case in cases:
        volume = run.store.fetch_known(case, run.contents[case.case_id])
        picture = three_planes(volume.image.numpy(), volume.spacing)
        write_bytes(run.folder.pictures / picture_name(case.case_id), picture)
    rows = [
        _row(Predicted(case, row, number), run.folds.classes)
        for case, row in zip(cases, answers.mean(axis=0), strict=True)
    ]
    if len(answers) > 1:
        single = _seed_rows(run, number, cases, answers)
        write_table(run.folder.fold_seeds(number), list(single[0]), single)
    if slices := said.rows(number):
        write_table(run.folder.fold_slices(number), list(slices[0]), slices)
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


def _seed_rows(
    run: Run, number: int, cases: Sequence[Case], answers: NDArray[np.float64]
) -> list[dict[str, object]]:
    """What each network of a fold answers alone."""
    return [
        {
            "seed": replica,
            **_row(Predicted(case, row, number), run.folds.classes),
        }
        for replica, answer in enumerate(answers)
        for case, row in zip(cases, answer, strict=True)
    ]


def _answers(
    run: Run,
    fold: int | None,
    cases: Sequence[Case],
    views: Sequence[View],
    said: SliceAnswers | None = None,
) -> NDArray[np.float64]:
    """(networks, cases, K): of the networks of a fold, or of those of all cases.

    What a 2D network says of each slice goes into `said`.
    """
    config, classes = run.config, run.folds.classes
    # Labels play no part in a prediction; a new manifest may even have others.
    unlabelled = [replace(case, label=None) for case in cases]
    encoder = trained_encoder(run, fold)
    dataset = build_dataset(config, unlabelled, run.contents, classes, run.store, encoder=encoder)
    members = run.members(fold)
    size, several = config.train.batch_size, len(members) > 1
    batches = evaluation_batches(dataset, size, *run.loads, stay=several)
    answers = []
    for member in members:
        network = trained_network(run, member)
        logits = predict_logits(network, batches, run.accelerator, len(cases), views)
        check_finite(logits, [case.case_id for case in cases])
        answers.append(softmax(logits))
        if said is not None:
            said.add(network, encoder)
    return np.stack(answers)


def predict(
    folder: Path,
    inputs: Sequence[str],
    out: Path,
    display: Display,
    *,
    out_of_fold: bool = False,
    refit: bool = False,
) -> list[Predicted]:
    """Predicts volumes with the ensemble of a run's fold models.

    Args:
        folder: The run.
        inputs: Volumes, folders of volumes, or manifests (`.csv`, `.tsv`); and overrides such as
            `data.max_quarantine=3`, which leaves out up to three unreadable volumes.
        out: CSV to write.
        display: Where progress is shown.
        out_of_fold: Predict each case of the run only by models that did not see it.
        refit: Use the network that was trained on all cases (`cv.refit`) in place of the ensemble.

    Raises:
        ConfigError: No run, no trained fold in it, no refit, or an override that has no place here.
        DataError: An input is missing or refused, or lacks the covariates that the run reads.
        StorageError: The output cannot be written.
    """
    check_writable(out.parent)
    overrides = [text for text in inputs if is_override(text, _FREE)]
    # The views are the prediction's own; all else must be as the checkpoints were made.
    opened = open_run(folder, display, [t for t in overrides if not t.startswith("augment.")])
    views = build_views(load_config(str(opened.folder.config), overrides))
    trained: list[int | None] = [None] if refit else [*trained_folds(opened)]
    if refit:
        _check_refit(opened, out_of_fold)
    paths = [Path(text) for text in inputs if text not in overrides]
    rooted = any(text.startswith("data.root=") for text in overrides)
    cases = input_cases(paths, opened.config.data, rooted, display)
    if opened.covariates is not None:
        check_covariates(cases, opened.covariates.kinds)
        encoders = [found for fold in trained if (found := trained_encoder(opened, fold))]
        for line in describe_unknown(cases, encoders):
            display.line(line)
    run = with_volumes(opened, cases)
    results = list(_predictions(run, trained, views, out_of_fold))
    if run.accelerator.is_main_process:
        write_table(out, _columns(run.folds.classes), [_new_row(run, item) for item in results])
    return results


def _check_refit(run: Run, out_of_fold: bool) -> None:
    if out_of_fold:
        raise ConfigError(
            "--refit and --out-of-fold exclude each other",
            why="the refitted network was trained on all cases of the run",
            remedy="leave out one of them",
        )
    identity = training_identity(run)
    missing = [
        member.name
        for member in run.members(None)
        # Of a network of all cases only the last epoch's weights are kept.
        if not CheckpointFolder(run.folder.checkpoints(member), identity).has_best()
    ]
    if missing:
        raise ConfigError(
            "the run has no network of all cases",
            where=str(run.folder.path),
            why=f"not trained: {', '.join(missing)}",
            remedy="train it: the train command with --resume cv.refit=true",
        )


def _columns(classes: Sequence[str]) -> list[str]:
    start = ["case_id", "patient_id", "fold", "label", "prediction"]
    return [*start, *(f"p_{name}" for name in classes), "seen_in_training"]


def _new_row(run: Run, item: Predicted) -> dict[str, object]:
    return {**_row(item, run.folds.classes), "seen_in_training": str(item.seen).lower()}


def _predictions(
    run: Run, trained: list[int | None], views: Sequence[View], out_of_fold: bool
) -> Iterator[Predicted]:
    cases = list(run.cases.values())
    seen_by = models_that_saw(run.folds)
    bar = run.display.bar("predicting", len(trained))
    by_fold: dict[int | None, NDArray[np.float64]] = {}
    for number in trained:
        by_fold[number] = _answers(run, number, cases, views).mean(axis=0)
        bar.advance()
    for place, case in enumerate(cases):
        saw = seen_by.get(voxels_of(run.contents[case.case_id]), set()) & set(trained)
        used = [number for number in trained if not (out_of_fold and number in saw)]
        if not used:
            raise DataError(
                f"no trained model of this run has not seen case {case.case_id}",
                remedy="leave out --out-of-fold, or train the remaining folds",
            )
        mean = np.mean([by_fold[number][place] for number in used], axis=0)
        single = used[0] if out_of_fold and saw and len(used) == 1 else None
        yield Predicted(case, mean, single, bool(saw))
