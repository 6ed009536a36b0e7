"""`folds.json`: written once, obeyed from then on, and refused where it does not fit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from .. import storage
from ..errors import DataError
from .cases import Case
from .splits import CaseRecord, Fold, Folds, Scheme, class_order, folds_document, folds_sha256

_SHOWN = 20


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _CaseEntry(_Part):
    patient_id: str
    label: str
    content: str | None = None
    site: str | None = None


class _FoldEntry(_Part):
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


class _Document(_Part):
    format: Literal[1]
    scheme: Scheme
    seed: int = 0
    classes: tuple[str, ...] = ()
    cases: dict[str, _CaseEntry]
    folds: Annotated[tuple[_FoldEntry, ...], Field(min_length=1)]
    sha256: str | None = None


def folds_to_json(folds: Folds, contents: Mapping[str, str] | None = None) -> dict[str, JsonValue]:
    """The whole file; `contents` are hashes of voxels by case id, added to what is known."""
    document = folds_document(folds)
    checksum = folds_sha256(document)
    known = {key: record.content for key, record in folds.cases.items()}
    cases = document["cases"]
    assert isinstance(cases, dict)
    for case_id, entry in cases.items():
        content = (contents or {}).get(case_id, known[case_id])
        if content is not None and isinstance(entry, dict):
            entry["content"] = content
    return {**document, "sha256": checksum}


def write_folds(path: Path, folds: Folds, contents: Mapping[str, str] | None = None) -> None:
    """Writes the file, complete or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    storage.write_json(path, folds_to_json(folds, contents))


def read_folds(path: Path) -> Folds:
    """Reads a file that `write_folds` wrote, or one made by hand without `sha256`.

    Raises:
        StorageError: It is missing or no JSON.
        DataError: It has another form, or was changed since its checksum was taken.
    """
    try:
        document = _Document.model_validate(storage.read_json(path))
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        raise DataError(
            f"E_FOLDS: {path.name} is not a file of folds",
            where=str(path),
            why=_listed(problems),
            remedy="`volclass split` makes a new one",
        ) from error
    folds = _folds(document)
    if document.sha256 is not None and document.sha256 != folds.sha256:
        raise DataError(
            f"E_FOLDS: {path.name} was changed since it was made",
            where=str(path),
            why="its sha256 does not fit its content",
            remedy="`volclass split` makes a new one; for folds made by hand, remove `sha256`",
        )
    return folds


def _folds(document: _Document) -> Folds:
    cases = {
        key: CaseRecord(entry.patient_id, entry.label, entry.site, entry.content)
        for key, entry in document.cases.items()
    }
    found = class_order(record.label for record in cases.values())
    folds = tuple(
        Fold(
            tuple(sorted(entry.train)),
            tuple(sorted(entry.validation)),
            tuple(sorted(entry.test)),
        )
        for entry in document.folds
    )
    return Folds(document.scheme, document.seed, document.classes or found, cases, folds)


def check_folds(folds: Folds, cases: Sequence[Case]) -> None:
    """Makes sure that folds fit the manifest's cases and leak nothing.

    Raises:
        DataError: They do not; every difference is listed.
    """
    problems = [*_differences(folds, cases), *_leaks(folds), *_gaps(folds)]
    if problems:
        raise DataError(
            f"E_FOLDS: the folds cannot be used: {len(problems)} problems",
            where="folds.json",
            why=_listed(problems),
            remedy="correct the manifest, or make new folds with `volclass split`",
        )


def _differences(folds: Folds, cases: Sequence[Case]) -> Iterator[str]:
    known = {case.case_id: case for case in cases}
    for case_id in sorted(known.keys() - folds.cases.keys()):
        yield f"case {case_id} is in the manifest and not in the folds"
    for case_id in sorted(folds.cases.keys() - known.keys()):
        yield f"case {case_id} is in the folds and not in the manifest"
    for case_id in sorted(folds.cases.keys() & known.keys()):
        record, case = folds.cases[case_id], known[case_id]
        if record.label != case.label:
            yield f"case {case_id} is {record.label} in the folds and {case.label} in the manifest"
        if record.patient_id != case.patient_id:
            yield (
                f"case {case_id} is of patient {record.patient_id} in the folds "
                f"and of {case.patient_id} in the manifest"
            )


def _leaks(folds: Folds) -> Iterator[str]:
    """Patients in two parts of a fold, cases named twice."""
    tested = Counter(case_id for fold in folds.folds for case_id in set(fold.test))
    for case_id in sorted(case_id for case_id, count in tested.items() if count > 1):
        yield f"case {case_id} is in the test part of {tested[case_id]} folds"
    for number, fold in enumerate(folds.folds):
        parts = {"train": fold.train, "validation": fold.validation, "test": fold.test}
        where: defaultdict[str, set[str]] = defaultdict(set)
        for name, case_ids in parts.items():
            for case_id, count in sorted(Counter(case_ids).items()):
                if count > 1:
                    yield f"fold {number}: case {case_id} stands in {name} {count} times"
                if case_id in folds.cases:
                    where[folds.cases[case_id].patient_id].add(name)
                else:
                    yield f"fold {number}: case {case_id} of {name} is not among the cases"
        for patient, names in sorted(where.items()):
            if len(names) > 1:
                yield f"fold {number}: patient {patient} is in {' and '.join(sorted(names))}"


def _gaps(folds: Folds) -> Iterator[str]:
    """Classes without training cases, empty parts, cases that no fold tests."""
    found = {record.label for record in folds.cases.values()}
    expected = class_order(found)
    if folds.classes != expected:
        yield f"classes are {', '.join(folds.classes)}; the cases have {', '.join(expected)}"
    for number, fold in enumerate(folds.folds):
        trained = {folds.cases[key].label for key in fold.train if key in folds.cases}
        for label in sorted(found - trained):
            yield f"fold {number}: class {label} has no training case"
        for name, part in (("validation", fold.validation), ("test", fold.test)):
            if not part:
                yield f"fold {number}: {name} is empty"
        if folds.scheme == "kfold":
            named = {*fold.train, *fold.validation, *fold.test}
            for case_id in sorted(folds.cases.keys() - named):
                yield f"fold {number}: case {case_id} is in no part"
    if folds.scheme == "kfold":
        tested = {case_id for fold in folds.folds for case_id in fold.test}
        for case_id in sorted(folds.cases.keys() - tested):
            yield f"case {case_id} is tested in no fold; name the scheme official to allow it"


def _listed(problems: Sequence[str]) -> str:
    shown = list(problems[:_SHOWN])
    if len(problems) > _SHOWN:
        shown.append(f"... and {len(problems) - _SHOWN} more")
    return "".join(f"\n    {problem}" for problem in shown)
