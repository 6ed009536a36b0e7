"""Baselines without a network, on the folds of the networks: how much is told by very little.

`majority` knows the classes' shares only; `header` knows the header and the site, and `metadata`
the lowest and highest grey value too, so that a result above chance is a shortcut; `histogram`
knows the grey values that a network sees, but not their places; `shape` knows widths, form and grey
values of what stands out; `clinical` knows the clinical variables of `data.covariates` and no
image.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from .baseline_tables import BaselineKind, folds_of, kinds_of, lesson_of, table_of
from .data.covariate_table import judged
from .data.covariates_file import covariate_record
from .data.fingerprint import FileFacts
from .data.metadata_table import metadata_words
from .evaluation.audit_permutation import shuffled_p
from .evaluation.baselines import (
    FREQUENCIES,
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

#: `header` is asked for by an audit alone, with a table of its own.
AnswerKind = BaselineKind | Literal["header"]

#: What the metadata baselines read.
HEADER = "spacing, size, orientation, tilt, voxel type, file format and site"

#: What is tried, the simplest first. A shortcut need not be linear: a scanner's spacing may lie
#: between those of two others.
_LEARNERS: dict[AnswerKind, tuple[Learner, ...]] = {
    "header": ("logistic_regression", "random_forest"),
    "metadata": ("logistic_regression", "random_forest"),
    "histogram": ("logistic_regression",),
    "shape": ("logistic_regression", "extra_trees"),
    "clinical": ("logistic_regression", "random_forest"),
}
_NOTES: dict[AnswerKind, tuple[str, ...]] = {
    "majority": ("shares of the classes",),
    "header": (METADATA, HEADER),
    "metadata": (METADATA, f"{HEADER}; lowest and highest grey value"),
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


def run_baseline(
    kind: BaselineKind,
    run: Run,
    title: str,
    fingerprints: Path,
) -> None:
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
    cases = run.select(tuple(sorted(run.folds.cases)))
    answer_by(kind, run, title, table_of(kind, run, fingerprints, cases))


def answer_by(kind: AnswerKind, run: Run, title: str, table: CodedTable | None) -> None:
    """The same by a table that was read already.

    Args:
        kind: Which one.
        run: As for `run_baseline`.
        title: As the comparison shows it.
        table: A row for each case of the folds, in the order of their ids.

    Raises:
        ConfigError: The run's folder holds a run, or a competitor that is no baseline.
        StorageError: A file cannot be written.
    """
    check_place(run.folder.path, "baseline")
    case_ids = sorted(run.folds.cases)
    lesson = lesson_of(run, case_ids)
    bar = run.display.bar(title, len(run.folds.folds))
    folds, answers = folds_of(run, case_ids), []
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


def metadata_digest(run: Run, files: Mapping[str, FileFacts] | None = None) -> str:
    """SHA-256 of what the metadata tell that neither labels nor voxels decide.

    Site, voxel type and file format of a case may change while its voxels and geometry stay the
    same; answers to other metadata are other answers.

    Args:
        run: Cases and folds.
        files: How each case's file was written, by case id; where it is not given, it is read.

    Raises:
        VolumeError: A file cannot be read.
    """
    case_ids = sorted(run.folds.cases)
    words = metadata_words(run.select(tuple(case_ids)), files)
    told = zip(case_ids, *words.values(), strict=True)
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


def metadata_chance(
    kind: Literal["header", "metadata"], run: Run, table: CodedTable
) -> float | None:
    """P-value of metadata: how often they tell shuffled labels as well, by `shuffled_p`.

    Args:
        kind: What is read.
        run: As for `run_baseline`.
        table: As for `answer_by`.
    """
    case_ids = sorted(run.folds.cases)
    own = derived_seed(run.config.seed, "shuffled", kind)
    return shuffled_p(table, lesson_of(run, case_ids), folds_of(run, case_ids), own)


def disguised_covariates(run: Run) -> tuple[str, ...]:
    """What the configuration's covariates tell of the label without an image, a sentence each.

    Raises:
        DataError: A column has no known cell.
    """
    if not run.config.data.covariates:
        return ()
    case_ids = sorted(run.folds.cases)
    cases = run.select(tuple(case_ids))
    return judged(cases, kinds_of(run), lesson_of(run, case_ids), run.config.seed).warnings()


def _answer(
    kind: AnswerKind, table: CodedTable | None, lesson: Lesson, fold: TableFold, seed: int
) -> TableAnswer:
    if table is None:
        return frequencies(lesson, fold)
    own = derived_seed(seed, "baseline", kind, fold.number)
    return table_answer(table, lesson, fold, _LEARNERS[kind], own, at_shares=kind in _AT_SHARES)


def _read(
    kind: AnswerKind, run: Run, lesson: Lesson, folds: Sequence[TableFold]
) -> tuple[str, ...]:
    """What a clinical baseline reads, and whether that is the label in disguise."""
    if kind != "clinical":
        return ()
    rows = np.unique(np.concatenate([fold.training for fold in folds]))
    case_ids = sorted(run.folds.cases)
    cases = run.select(tuple(case_ids[row] for row in rows))
    taught = Lesson(lesson.labels[rows], lesson.patients[rows], lesson.classes)
    found = judged(cases, kinds_of(run), taught, run.config.seed).warnings()
    for warning in found:
        run.display.line(f"warning: {warning}")
    names = f"reads {', '.join(run.config.data.covariates)}"
    return (names, DISGUISED) if found else (names,)


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
