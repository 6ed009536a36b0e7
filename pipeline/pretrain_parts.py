"""Who teaches a pretrained network and who judges it: by fold, or all cases by patient."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from .config import CvConfig
from .data.cases import Case
from .data.folds_file import check_folds, read_folds
from .data.splits import CaseRecord, Fold, Folds, carve_validation, make_folds
from .errors import DataError
from .run import Member, Run

#: The class of every case where labels play no part.
_NO_LABEL = "unlabelled"


def folds_of(run: Run, cases: Sequence[Case]) -> Folds:
    """The folds that `train` would have, or all cases as one; those that are there are obeyed.

    Raises:
        DataError: The cases cannot be split so, or are not those of the folds that are there.
    """
    config, path = run.config, run.folder.folds
    earlier = read_folds(path) if path.is_file() else None
    if config.pretrain.scope == "fold":
        if earlier is None:
            return make_folds(cases, config.cv, config.seed)
        check_folds(earlier, cases)
        return earlier
    made = _folds_of_all(cases, config.cv, config.seed)
    if earlier is not None and earlier.sha256 != made.sha256:
        raise DataError(
            "the cases are not those that this pretraining began with",
            where=path.name,
            why="the manifest has other cases or patients, or the folds are of labelled cases",
            remedy="restore the manifest, or choose another folder with --out",
        )
    return made


def _folds_of_all(cases: Sequence[Case], cv: CvConfig, seed: int) -> Folds:
    """One part that teaches and one that judges, by patient; labels play no part."""
    records = {
        case.case_id: CaseRecord(case.patient_id, _NO_LABEL, case.site)
        for case in sorted(cases, key=lambda case: case.case_id)
    }
    if len(records) != len(cases):
        raise DataError("E_DUP_CASE: two cases have one case_id", remedy="rename one of them")
    fold = _halves(records, cv.validation, lambda k: random.Random(f"{seed} pretraining {k}"))
    return Folds("kfold", seed, (_NO_LABEL,), records, (fold,))


def _halves(
    records: dict[str, CaseRecord], share: float, generator: Callable[[int], random.Random]
) -> Fold:
    unlabelled = {name: replace(record, label=_NO_LABEL) for name, record in records.items()}
    held = carve_validation(unlabelled, unlabelled, share, generator)
    if not held:
        raise DataError(
            "E_FEW_PATIENTS: pretraining needs two patients",
            why="one part teaches, and another one says when to stop",
            remedy="add patients, or name them in the column patient_id",
        )
    validation = tuple(name for name in sorted(records) if records[name].patient_id in held)
    train = tuple(name for name in sorted(records) if records[name].patient_id not in held)
    return Fold(train, validation, ())


def parts_of_member(run: Run, member: Member) -> Fold:
    """Who teaches a network, and who judges it; what a fold tests has no part in either.

    Raises:
        DataError: There is one patient only.
    """
    if member.fold is not None:
        return run.folds.folds[member.fold]
    if run.config.pretrain.scope == "all":
        return run.folds.folds[0]
    seed = run.config.seed
    share = run.config.cv.validation
    records = dict(run.folds.cases)
    return _halves(records, share, lambda k: random.Random(f"{seed} pretraining {k}"))
