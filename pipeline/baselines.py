"""Baselines without a network, on the folds of the networks: how much is told by very little.

`majority` knows the classes' shares only; `metadata` knows the header and the range of the grey
values, so that a result above chance is a shortcut; `histogram` knows the grey values that a
network sees, but not their places; `shape` knows widths, form and grey values of what stands out;
`clinical` knows the clinical variables of `data.covariates` and no image.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, FiniteFloat, TypeAdapter

from .data.cases import Case
from .data.covariate_table import CovariateTable, judged
from .data.covariates import Kinds, covariate_kinds, describe_kinds
from .data.covariates_file import covariate_record
from .data.fingerprint import Extent, extent, file_facts, grey_values, remembered
from .data.shape import SHAPE_NAMES, shape_key, shape_values
from .data.transforms import preprocessing_key
from .errors import ConfigError
from .evaluation.baselines import (
    FREQUENCIES,
    CaseTable,
    CodedTable,
    Learner,
    Lesson,
    TableAnswer,
    TableFold,
    frequencies,
    table_answer,
)
from .evaluation.cases import scored_cases
from .evaluation.competitors import (
    CLINICAL,
    DISGUISED,
    METADATA,
    Card,
    check_place,
    write_competitor,
)
from .run import Run
from .seeds import derived_seed
from .storage import sha256

BaselineKind = Literal["majority", "metadata", "histogram", "shape", "clinical"]

#: What is tried, the simplest first. A shortcut need not be linear: a scanner's spacing may lie
#: between those of two others.
_LEARNERS: dict[BaselineKind, tuple[Learner, ...]] = {
    "metadata": ("logistic_regression", "random_forest"),
    "histogram": ("logistic_regression",),
    "shape": ("logistic_regression", "extra_trees"),
    "clinical": ("logistic_regression", "random_forest"),
}
_NOTES: dict[BaselineKind, tuple[str, ...]] = {
    "majority": ("shares of the classes",),
    "metadata": (METADATA, "spacing, size, grey range, voxel type, file format and site"),
    "histogram": ("grey values without their places",),
    "shape": (
        "local thickness, form and grey values of the voxels above the volume's mean",
        "probabilities at the classes' shares",
    ),
    "clinical": (CLINICAL, "probabilities at the classes' shares"),
}
#: Kinds whose answers are held against those of networks by accuracy too: where a class is rare,
#: evenly weighted classes would make them look worse than they are.
_AT_SHARES: tuple[BaselineKind, ...] = ("shape", "clinical")
_EXTENTS: TypeAdapter[dict[str, Extent]] = TypeAdapter(dict[str, Extent])
_GREYS: TypeAdapter[dict[str, tuple[float, ...]]] = TypeAdapter(dict[str, tuple[float, ...]])
_Shape = Annotated[
    tuple[FiniteFloat, ...], Field(min_length=len(SHAPE_NAMES), max_length=len(SHAPE_NAMES))
]
_SHAPES: TypeAdapter[dict[str, tuple[float, ...]]] = TypeAdapter(dict[str, _Shape])


def run_baseline(kind: BaselineKind, run: Run, title: str, fingerprints: Path) -> None:
    """Answers every test case of a run's folds, and leaves a competitor in the run's folder.

    Each fold learns from its training and validation part together, for nothing is chosen on the
    validation part; what has to be chosen is, on inner folds of both.

    Args:
        kind: Which one.
        run: Cases, contents, folds, store and folder; nothing is trained in it.
        title: As the comparison shows it.
        fingerprints: Folder that keeps what was read of each volume, by content.

    Raises:
        ConfigError: The run's folder holds a run, or a competitor that is no baseline; or
            `clinical` has no covariates.
        DataError: A volume changed since it was read first, or is refused.
        StorageError: A file is damaged or cannot be written.
    """
    check_place(run.folder.path, "baseline")
    case_ids = sorted(run.folds.cases)
    lesson = _lesson(run, case_ids)
    table = _table(kind, run, fingerprints, run.select(tuple(case_ids)))
    bar = run.display.bar(title, len(run.folds.folds))
    folds, answers = _folds(run, case_ids), []
    for fold in folds:
        answers.append(_answer(kind, table, lesson, fold, run.config.seed))
        bar.advance()
    rows = np.concatenate([fold.test for fold in folds])
    scored = scored_cases(
        lesson.labels[rows],
        np.concatenate([answer.probabilities for answer in answers]),
        lesson.patients[rows],
        np.repeat([fold.number for fold in folds], [len(fold.test) for fold in folds]),
        run.folds.classes,
    )
    card = Card(
        title=title,
        kind="baseline",
        folds=run.folds.sha256,
        notes=(*_NOTES[kind], *_read(kind, run, lesson, folds), *_taken(answers)),
    )
    write_competitor(run.folder.path, card, [case_ids[row] for row in rows], scored)


def metadata_digest(run: Run) -> str:
    """SHA-256 of what the metadata tell that neither labels nor voxels decide.

    Site, voxel type and file format of a case may change while its voxels and geometry stay the
    same; answers to other metadata are other answers.

    Args:
        run: Cases and folds.

    Raises:
        VolumeError: A file cannot be read.
    """
    case_ids = sorted(run.folds.cases)
    told = zip(case_ids, *_words(run.select(tuple(case_ids))).values(), strict=True)
    return sha256(json.dumps(list(told)).encode())


def clinical_digest(run: Run) -> str:
    """SHA-256 of the clinical variables of all cases; answers to other values are other answers.

    Args:
        run: Cases and folds, and the names of the variables.

    Raises:
        DataError: A column has no known cell.
    """
    cases = run.select(tuple(sorted(run.folds.cases)))
    return covariate_record(cases, run.config.data.covariates).sha256


def _answer(
    kind: BaselineKind, table: CodedTable | None, lesson: Lesson, fold: TableFold, seed: int
) -> TableAnswer:
    if table is None:
        return frequencies(lesson, fold)
    own = derived_seed(seed, "baseline", kind, fold.number)
    return table_answer(table, lesson, fold, _LEARNERS[kind], own, at_shares=kind in _AT_SHARES)


def _read(
    kind: BaselineKind, run: Run, lesson: Lesson, folds: Sequence[TableFold]
) -> tuple[str, ...]:
    """What a clinical baseline reads, and whether that is the label in disguise."""
    if kind != "clinical":
        return ()
    rows = np.unique(np.concatenate([fold.training for fold in folds]))
    case_ids = sorted(run.folds.cases)
    cases = run.select(tuple(case_ids[row] for row in rows))
    taught = Lesson(lesson.labels[rows], lesson.patients[rows], lesson.classes)
    found = judged(cases, _kinds(run), taught, run.config.seed).warnings()
    for warning in found:
        run.display.line(f"warning: {warning}")
    names = f"reads {', '.join(run.config.data.covariates)}"
    return (names, DISGUISED) if found else (names,)


def _kinds(run: Run) -> Kinds:
    cases = run.select(tuple(sorted(run.folds.cases)))
    return covariate_kinds(cases, run.config.data.covariates)


def _taken(answers: Sequence[TableAnswer]) -> tuple[str, ...]:
    """In words, how many folds took which learner."""
    counts = Counter(answer.learner for answer in answers)
    if FREQUENCIES in counts:
        return ()
    folds = len(answers)
    return tuple(
        f"{learner.replace('_', ' ')} in {count} of {folds} folds"
        for learner, count in sorted(counts.items())
    )


def _lesson(run: Run, case_ids: Sequence[str]) -> Lesson:
    records = [run.folds.cases[case_id] for case_id in case_ids]
    places = {name: place for place, name in enumerate(run.folds.classes)}
    return Lesson(
        np.array([places[record.label] for record in records], dtype=np.int64),
        np.array([record.patient_id for record in records], dtype=np.str_),
        len(run.folds.classes),
    )


def _folds(run: Run, case_ids: Sequence[str]) -> list[TableFold]:
    places = {case_id: place for place, case_id in enumerate(case_ids)}

    def rows(part: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array(sorted(places[case_id] for case_id in part), dtype=np.int64)

    return [
        TableFold(number, rows((*fold.train, *fold.validation)), rows(fold.test))
        for number, fold in enumerate(run.folds.folds)
    ]


def _table(
    kind: BaselineKind, run: Run, fingerprints: Path, cases: Sequence[Case]
) -> CodedTable | None:
    match kind:
        case "majority":
            return None
        case "metadata":
            return _metadata(run, fingerprints, cases)
        case "histogram":
            return _histogram(run, fingerprints, cases)
        case "shape":
            return _shape(run, fingerprints, cases)
        case "clinical":
            return _clinical(run, cases)


def _clinical(run: Run, cases: Sequence[Case]) -> CovariateTable:
    if not run.config.data.covariates:
        raise ConfigError(
            "there are no clinical variables to learn from",
            where="data.covariates",
            why="it is empty",
            remedy="name the manifest's columns, e.g. data.covariates=[age,sex]",
        )
    for line in describe_kinds(cases, _kinds(run)):
        run.display.line(line)
    return CovariateTable(cases, _kinds(run))


def _metadata(run: Run, fingerprints: Path, cases: Sequence[Case]) -> CaseTable:
    bar = run.display.bar("reading headers and ranges", len(cases))
    path = fingerprints / "metadata.json"
    found = remembered(path, _EXTENTS, cases, run.contents, extent, bar.advance)
    numbers = [[*item.spacing, *item.shape, item.lowest, item.highest] for item in found]
    words = _words(cases)
    categories = {name: np.array(column, dtype=np.str_) for name, column in words.items()}
    return CaseTable(np.array(numbers, dtype=np.float64), categories)


def _words(cases: Sequence[Case]) -> dict[str, list[str]]:
    """What the metadata say in words, in the order of the cases."""
    facts = [file_facts(case.image) for case in cases]
    return {
        "voxel_type": [fact.voxel_type for fact in facts],
        "file_format": [fact.file_format for fact in facts],
        "site": [case.site or "" for case in cases],
    }


def _histogram(run: Run, fingerprints: Path, cases: Sequence[Case]) -> CaseTable:
    bar = run.display.bar("counting grey values", len(cases))
    key = sha256(preprocessing_key(run.config.preprocess).encode())[:16]
    path = fingerprints / f"histogram-{key}.json"
    make = partial(_grey_values, run)
    found = remembered(path, _GREYS, cases, run.contents, make, bar.advance)
    return CaseTable(np.array(found, dtype=np.float64), {})


def _grey_values(run: Run, case: Case, content: str) -> tuple[float, ...]:
    return grey_values(run.store.fetch_known(case, content).image.numpy())


def _shape(run: Run, fingerprints: Path, cases: Sequence[Case]) -> CaseTable:
    bar = run.display.bar("measuring shapes", len(cases))
    key = sha256((preprocessing_key(run.config.preprocess) + shape_key()).encode())[:16]
    path = fingerprints / f"shape-{key}.json"
    make = partial(_shape_values, run)
    found = remembered(path, _SHAPES, cases, run.contents, make, bar.advance)
    return CaseTable(np.array(found, dtype=np.float64), {})


def _shape_values(run: Run, case: Case, content: str) -> tuple[float, ...]:
    volume = run.store.fetch_known(case, content)
    return shape_values(volume.image.numpy()[0], volume.spacing)
