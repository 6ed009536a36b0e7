"""What the baselines of a run learn from: tables, labels and folds of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, FiniteFloat, TypeAdapter

from .data.cases import Case
from .data.covariate_table import CovariateTable
from .data.covariates import Kinds, covariate_kinds, describe_kinds
from .data.fingerprint import grey_values, remembered
from .data.formats.rules import reading_by, rules_of
from .data.metadata_table import metadata_table
from .data.shape import SHAPE_NAMES, shape_key, shape_values
from .data.surroundings import SURROUNDINGS, SURROUNDINGS_NAME, surroundings
from .data.transforms import preprocessing_key
from .errors import ConfigError
from .evaluation.baselines import CaseTable, CodedTable, Lesson, TableFold
from .run import Run
from .storage import sha256

BaselineKind = Literal["majority", "metadata", "histogram", "shape", "clinical"]

_GREYS: TypeAdapter[dict[str, tuple[float, ...]]] = TypeAdapter(dict[str, tuple[float, ...]])
_Shape = Annotated[
    tuple[FiniteFloat, ...], Field(min_length=len(SHAPE_NAMES), max_length=len(SHAPE_NAMES))
]
_SHAPES: TypeAdapter[dict[str, tuple[float, ...]]] = TypeAdapter(dict[str, _Shape])


def kinds_of(run: Run) -> Kinds:
    """Name and kind of each covariate of the configuration.

    Raises:
        DataError: A column has no known cell.
    """
    cases = run.select(tuple(sorted(run.folds.cases)))
    return covariate_kinds(cases, run.config.data.covariates)


def lesson_of(run: Run, case_ids: Sequence[str]) -> Lesson:
    """Labels and patients of some cases, as the folds have them."""
    records = [run.folds.cases[case_id] for case_id in case_ids]
    places = {name: place for place, name in enumerate(run.folds.classes)}
    return Lesson(
        np.array([places[record.label] for record in records], dtype=np.int64),
        np.array([record.patient_id for record in records], dtype=np.str_),
        len(run.folds.classes),
    )


def folds_of(run: Run, case_ids: Sequence[str]) -> list[TableFold]:
    """The folds as places in `case_ids`; training and validation part teach together."""
    places = {case_id: place for place, case_id in enumerate(case_ids)}

    def rows(part: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array(sorted(places[case_id] for case_id in part), dtype=np.int64)

    return [
        TableFold(number, rows((*fold.train, *fold.validation)), rows(fold.test))
        for number, fold in enumerate(run.folds.folds)
    ]


def table_of(
    kind: BaselineKind,
    run: Run,
    fingerprints: Path,
    cases: Sequence[Case],
) -> CodedTable | None:
    """What a baseline reads of some cases; None where it reads nothing.

    Args:
        kind: Which one.
        run: Contents, store and configuration.
        fingerprints: Folder that keeps what was read of each volume, by content.
        cases: The rows.

    Raises:
        ConfigError: `clinical` has no covariates.
        DataError: A volume changed since it was read first, or is refused.
        StorageError: A file is damaged or cannot be written.
    """
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


def _metadata(run: Run, fingerprints: Path, cases: Sequence[Case]) -> CaseTable:
    bar = run.display.bar("reading headers and ranges", len(cases))
    path = fingerprints / SURROUNDINGS_NAME
    with reading_by(rules_of(run.config.data)):
        found = remembered(path, SURROUNDINGS, cases, run.contents, surroundings, bar.advance)
        return metadata_table(cases, found)


def _clinical(run: Run, cases: Sequence[Case]) -> CovariateTable:
    if not run.config.data.covariates:
        raise ConfigError(
            "there are no clinical variables to learn from",
            where="data.covariates",
            why="it is empty",
            remedy="name the manifest's columns, e.g. data.covariates=[age,sex]",
        )
    for line in describe_kinds(cases, kinds_of(run)):
        run.display.line(line)
    return CovariateTable(cases, kinds_of(run))


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
