"""The folds of a plan: as a run of it makes them, so that a fold's plan sees no case of its test.

A run makes its folds without the volumes that it leaves out, so these must be known before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .config import Config
from .data.cases import Case
from .data.splits import Folds, make_folds
from .data.volumes import Refusal, check_refusals
from .errors import ConfigError
from .planning.choices import Choice
from .planning.request import Request
from .planning.training import Counts, folds_for, is_complete, shares, straddle


@dataclass(frozen=True, slots=True)
class Division:
    """How cases are divided, as a run of the plan divides them.

    Attributes:
        split: What was chosen of it.
        folds: The folds.
        cases: Those that are looked at.
        counts: How many of them teach a network.
    """

    split: tuple[Choice, ...]
    folds: Folds
    cases: list[Case]
    counts: Counts


def divide(cases: Sequence[Case], request: Request, fold: int | None) -> Division:
    """Folds of these cases, and the part that a plan looks at.

    Raises:
        ConfigError: There is no such fold.
        DataError: The cases cannot be split.
    """
    split = _cross_validation(cases, request.config(), request.asked)
    config = request.config(split)
    folds = make_folds(cases, config.cv, config.seed)
    return Division(split, folds, *_looked_at(cases, folds, config, fold))


def usable_cases(
    cases: Sequence[Case], refused: Sequence[Refusal], allowed: int, fold: int | None
) -> Sequence[Case]:
    """The cases that a run has, which makes its folds without those that it leaves out.

    Where more are refused than it leaves out, nobody knows which will be mended: a plan for all
    cases does not depend on it, one for a fold would look at other folds' test cases.

    Raises:
        DataError: No case is left, or a fold cannot be known.
    """
    if len(refused) == len(cases):
        check_refusals(refused, 0)
    if fold is not None:
        check_refusals(refused, allowed)
    if len(refused) > allowed:
        return cases
    names = {item.case_id for item in refused}
    return [case for case in cases if case.case_id not in names]


def _cross_validation(
    cases: Sequence[Case], config: Config, asked: Collection[str]
) -> tuple[Choice, ...]:
    """Folds: the manifest's own split where it is whole, else as many as every class allows."""
    patients, labels = [case.patient_id for case in cases], [case.label or "" for case in cases]
    splits = [case.split or "" for case in cases]
    choices = []
    if "cv.scheme" not in asked and all(splits) and config.cv.scheme == "kfold":
        if not straddle(patients, splits) and is_complete(splits, labels):
            reason = "the manifest's column split says train, val or test of every case"
            choices.append(Choice("cv.scheme", "official", reason))
    if "cv.folds" in asked:
        return (*choices, Choice("cv.folds", config.cv.folds, "as you asked", asked=True))
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for patient, label in zip(patients, labels, strict=True):
        holders[label].add(patient)
    counts = {label: len(group) for label, group in holders.items()}
    rarest = min(counts.values())
    folds = max(folds_for(counts, config.cv.folds), 2)
    reason = f"every class needs as many patients, and the rarest has {rarest}"
    return (*choices, Choice("cv.folds", folds, reason))


def _looked_at(
    cases: Sequence[Case], folds: Folds, config: Config, fold: int | None
) -> tuple[list[Case], Counts]:
    """The cases that are looked at, and how many of them teach a network."""
    if fold is None and folds.scheme == "kfold":
        patients = len({case.patient_id for case in cases})
        counts = shares(patients, len(cases), len(folds.folds), config.cv.validation)
        return list(cases), counts
    if not 0 <= (fold or 0) < len(folds.folds):
        raise ConfigError(
            f"there is no fold {fold}",
            where="--fold",
            why=f"folds count from 0 to {len(folds.folds) - 1}",
        )
    chosen = folds.folds[fold or 0]
    taught = [case for case in cases if case.case_id in set(chosen.train)]
    patients = len({case.patient_id for case in taught})
    counts = Counts(patients, len(taught), len(chosen.validation))
    return list(cases) if fold is None else taught, counts
