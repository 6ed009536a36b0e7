"""Folds by patient and stratified by class; nothing depends on the order of the cases."""

from __future__ import annotations

import difflib
import hashlib
import json
import random
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from ..config import CvConfig
from ..errors import DataError
from .cases import Case

Scheme = Literal["kfold", "official"]
Patients = Mapping[str, Counter[str]]  # patient -> number of cases of each class

_SKLEARN_ATTEMPTS = 10
_DEALT_ATTEMPTS = 200
_CARVE_ATTEMPTS = 20
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """What the folds know of a case; `content` is the hash of its voxels, once they were read."""

    patient_id: str
    label: str
    site: str | None = None
    content: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Fold:
    """Sorted case ids of the three parts; no patient is in two of them."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Folds:
    """All folds of a run.

    Attributes:
        scheme: How they were made.
        seed: What they were made with.
        classes: Sorted; the place of a class is its index in the network.
        cases: By case id.
        folds: In order.
    """

    scheme: Scheme
    seed: int
    classes: tuple[str, ...]
    cases: Mapping[str, CaseRecord]
    folds: tuple[Fold, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 of everything but the contents, as canonical JSON."""
        return folds_sha256(folds_document(self))


def folds_document(folds: Folds) -> dict[str, JsonValue]:
    """The folds as JSON values, without contents and without checksum."""
    cases: dict[str, JsonValue] = {}
    for case_id, record in sorted(folds.cases.items()):
        entry: dict[str, JsonValue] = {"patient_id": record.patient_id, "label": record.label}
        cases[case_id] = entry if record.site is None else {**entry, "site": record.site}
    return {
        "format": 1,
        "scheme": folds.scheme,
        "seed": folds.seed,
        "classes": list(folds.classes),
        "cases": cases,
        "folds": [
            {"train": [*fold.train], "validation": [*fold.validation], "test": [*fold.test]}
            for fold in folds.folds
        ],
    }


def folds_sha256(document: Mapping[str, JsonValue]) -> str:
    """SHA-256 of JSON values: keys sorted, no blanks, ASCII."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def make_folds(cases: Sequence[Case], cv: CvConfig, seed: int) -> Folds:
    """Makes the folds of `cv.scheme`: the same for the same cases, options and seed.

    `kfold` is scikit-learn's StratifiedGroupKFold by patient (each case is tested once);
    `official` takes the cases' own split. The validation part is carved out of the training
    patients where the split names none.

    Raises:
        DataError: The cases cannot be split so; says what is possible.
    """
    cases = sorted(cases, key=lambda case: case.case_id)
    records = {case.case_id: CaseRecord(case.patient_id, _label(case), case.site) for case in cases}
    if len(records) != len(cases):
        raise DataError("E_DUP_CASE: two cases have one case_id", remedy="rename one of them")
    classes = class_order(record.label for record in records.values())
    if len(classes) < 2:
        raise DataError(
            "E_ONE_CLASS: there is nothing to tell apart",
            why=f"the classes are {', '.join(classes) or 'none'}",
            remedy="add cases of another class",
        )
    if cv.scheme == "official":
        folds: tuple[Fold, ...] = (_official(cases, records, cv.validation, seed),)
    else:
        folds = _kfold(records, cv, seed)
    return Folds(cv.scheme, seed, classes, records, folds)


def class_order(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes in the order that a run keeps: by number if all are whole numbers, else by text.

    Grades then stand in their order, so that neighbours are neighbours in a confusion matrix.
    """
    classes = set(labels)
    if all(label.lstrip("-").isdecimal() for label in classes):
        return tuple(sorted(classes, key=lambda label: (int(label), label)))
    return tuple(sorted(classes))


def _label(case: Case) -> str:
    if case.label is None:
        raise DataError(
            f"E_EMPTY: case {case.case_id} has no label", remedy="complete the label column"
        )
    return case.label


def patients_of(records: Mapping[str, CaseRecord], case_ids: Iterable[str]) -> Patients:
    """Cases of each class by patient, in order of patient id."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for case_id in case_ids:
        counts[records[case_id].patient_id][records[case_id].label] += 1
    return dict(sorted(counts.items()))


def _kfold(records: Mapping[str, CaseRecord], cv: CvConfig, seed: int) -> tuple[Fold, ...]:
    patients = patients_of(records, records)
    holders = Counter(label for counts in patients.values() for label in counts)
    rarest = min(sorted(holders), key=lambda label: holders[label])
    if holders[rarest] < cv.folds:
        most = holders[rarest]
        raise DataError(
            f"E_FEW_PATIENTS: {cv.folds} folds need {cv.folds} patients of every class",
            where=f"class {rarest}",
            why=f"it has {most} patient{'s' if most != 1 else ''}",
            remedy=_few_patients(rarest, most, [name for name in holders if name != rarest]),
        )
    for attempt in range(_SKLEARN_ATTEMPTS + _DEALT_ATTEMPTS):
        assign = _stratified_groups if attempt < _SKLEARN_ATTEMPTS else _dealt
        fold_of = assign(records, patients, cv.folds, _random(seed, "folds", attempt))
        folds = [
            _carved(records, fold_of, number, cv.validation, seed) for number in range(cv.folds)
        ]
        if all(_complete(records, fold) for fold in folds):
            return tuple(folds)
    raise DataError(
        f"E_FOLDS: no {cv.folds} folds have every class in training and test",
        why="patients with several labels, or very few patients, leave no such division; "
        "a validation part is needed too",
        remedy=f"set cv.folds={cv.folds - 1}" if cv.folds > 2 else "add patients",
    )


def _few_patients(label: str, most: int, others: Sequence[str]) -> str:
    near = difflib.get_close_matches(label, others, 1, cutoff=0.8)
    digits = str.maketrans("", "", "0123456789")
    typing = [name for name in near if name.translate(digits) != label.translate(digits)]
    first = f"did you mean {typing[0]}? If not, " if typing else ""
    if most < 2:
        return f"{first}add patients of this class, or leave it out"
    return f"{first}set cv.folds={most}, the most that is possible"


def _random(seed: int, *purpose: str | int) -> random.Random:
    """A generator of its own for each purpose; the same on every platform."""
    return random.Random(" ".join(str(part) for part in (seed, *purpose)))


def _stratified_groups(
    records: Mapping[str, CaseRecord], patients: Patients, folds: int, generator: random.Random
) -> dict[str, int]:
    """Patient -> fold, by scikit-learn."""
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    labels = [record.label for record in records.values()]
    groups = [record.patient_id for record in records.values()]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=generator.getrandbits(32))
    fold_of: dict[str, int] = {}
    with warnings.catch_warnings():
        # It warns of small classes by number of cases; patients were counted above.
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, test) in enumerate(splitter.split(labels, labels, groups)):
            fold_of.update({groups[place]: number for place in test})
    return fold_of


def _dealt(
    records: Mapping[str, CaseRecord], patients: Patients, folds: int, generator: random.Random
) -> dict[str, int]:
    """Patient -> fold, like cards: the rarest class first, each to the fold with fewest of it.

    For rare classes, where StratifiedGroupKFold leaves folds without a class: with one label a
    patient every class reaches every fold.
    """
    holders = Counter(label for counts in patients.values() for label in counts)
    order = generator.sample(list(patients), len(patients))
    fold_of: dict[str, int] = {}
    having: defaultdict[str, list[int]] = defaultdict(lambda: [0] * folds)
    sizes = [0] * folds
    for rare in sorted(holders, key=lambda label: (holders[label], label)):
        for patient in order:
            if patient in fold_of or rare not in patients[patient]:
                continue
            number = min(range(folds), key=lambda k: (having[rare][k], sizes[k], k))
            fold_of[patient] = number
            sizes[number] += patients[patient].total()
            for label in patients[patient]:
                having[label][number] += 1
    return fold_of


def _carved(
    records: Mapping[str, CaseRecord],
    fold_of: Mapping[str, int],
    number: int,
    fraction: float,
    seed: int,
) -> Fold:
    test = [key for key, record in records.items() if fold_of[record.patient_id] == number]
    rest = [key for key, record in records.items() if fold_of[record.patient_id] != number]
    held = carve_validation(records, rest, fraction, lambda k: _random(seed, "val", number, k))
    return _fold(records, rest, held, test)


def _fold(
    records: Mapping[str, CaseRecord],
    rest: Iterable[str],
    held: Collection[str],
    test: Iterable[str],
) -> Fold:
    parts: tuple[list[str], list[str]] = ([], [])
    for case_id in rest:
        parts[records[case_id].patient_id in held].append(case_id)
    return Fold(tuple(sorted(parts[0])), tuple(sorted(parts[1])), tuple(sorted(test)))


def carve_validation(
    records: Mapping[str, CaseRecord],
    case_ids: Iterable[str],
    fraction: float,
    generator: Callable[[int], random.Random],
) -> set[str]:
    """Patients for validation: about `fraction` of each class, and at least one where it can be.

    Every class keeps a patient for training. The best of some random draws is taken, by the share
    of the cases of each class.

    Args:
        records: All cases.
        case_ids: The cases to choose from.
        fraction: Wanted share of the patients.
        generator: Randomness of the n-th draw.
    """
    patients = patients_of(records, case_ids)
    totals: Counter[str] = sum(patients.values(), Counter())

    def misfit(held: set[str]) -> tuple[int, float]:
        inside: Counter[str] = sum((patients[patient] for patient in held), Counter())
        shares = [inside[label] / total for label, total in totals.items()]
        return shares.count(0.0), sum(abs(share - fraction) for share in shares)

    draws = [_draw(patients, fraction, generator(number)) for number in range(_CARVE_ATTEMPTS)]
    return min(draws, key=misfit)


def _draw(patients: Patients, fraction: float, generator: random.Random) -> set[str]:
    remaining = Counter(label for counts in patients.values() for label in counts)
    wanted = {label: max(1, round(fraction * count)) for label, count in remaining.items()}
    order = generator.sample(list(patients), len(patients))
    held: set[str] = set()
    for label in sorted(remaining, key=lambda name: (remaining[name], name)):
        for patient in order:
            if wanted[label] <= 0:
                break
            its = patients[patient]
            if patient in held or label not in its or any(remaining[name] < 2 for name in its):
                continue
            held.add(patient)
            for name in its:
                remaining[name] -= 1
                wanted[name] -= 1
    return held


def _complete(records: Mapping[str, CaseRecord], fold: Fold) -> bool:
    """Every class is trained and tested, and there is something to validate on."""
    classes = {record.label for record in records.values()}
    parts = (fold.train, fold.test)
    return bool(fold.validation) and all(
        {records[case_id].label for case_id in part} == classes for part in parts
    )


def _official(
    cases: Sequence[Case], records: Mapping[str, CaseRecord], fraction: float, seed: int
) -> Fold:
    without = [case.case_id for case in cases if case.split is None]
    if without:
        raise DataError(
            "E_SPLIT: cv.scheme=official needs a split for every case",
            why=f"{len(without)} have none that is understood: {_listed(without)}",
            remedy="write train, val or test into the column split, or set cv.scheme=kfold",
        )
    parts = {
        name: [case.case_id for case in cases if case.split == name]
        for name in ("train", "val", "test")
    }
    _refuse_straddling(cases)
    if parts["val"]:
        held = {records[case_id].patient_id for case_id in parts["val"]}
    else:
        held = carve_validation(
            records, parts["train"], fraction, lambda k: _random(seed, "val", 0, k)
        )
    fold = _fold(records, parts["train"] + parts["val"], held, parts["test"])
    if not _complete(records, fold):
        have = {
            name: sorted({records[key].label for key in ids}) for name, ids in parts.items() if ids
        }
        raise DataError(
            "E_SPLIT: the official split lacks a class, or leaves nothing to validate on",
            why="; ".join(f"{name} has {', '.join(labels)}" for name, labels in have.items()),
            remedy="every class must be in train and in test; or set cv.scheme=kfold",
        )
    return fold


def _refuse_straddling(cases: Sequence[Case]) -> None:
    by_patient: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for case in cases:
        by_patient[case.patient_id].setdefault(case.split or "", case.case_id)
    problems = [
        f"{patient} ({', '.join(f'{split}: {case_id}' for split, case_id in parts.items())})"
        for patient, parts in sorted(by_patient.items())
        if len(parts) > 1
    ]
    if problems:
        raise DataError(
            "E_STRADDLE: patients are in more than one part of the official split",
            why=f"{len(problems)}: {_listed(problems)}",
            remedy="put all cases of a patient into one part",
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
