"""What a search is about: its space, its folds, and all that decides the figure of a trial."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from .config import is_path
from .data.splits import Folds
from .errors import ConfigError
from .run import deciding_settings
from .storage import file_sha256
from .tune_config import Parameters, overlapping
from .tune_plan import TuningPlan
from .tune_record import Fold, Subject


def subject_of(plan: TuningPlan, folds: Folds, start: str | None, out: Path) -> Subject:
    """What is searched on these folds.

    Args:
        plan: The tuning file.
        folds: Of all usable cases.
        start: SHA-256 of the weights that the base starts from; None for random ones.
        out: Where results go; paths in settings are relative to it.

    Raises:
        ConfigError: A fold does not exist, or its validation part cannot judge.
        StorageError: A file of weights cannot be read.
    """
    tune, config = plan.plan, plan.base
    numbers = range(len(folds.folds)) if tune.folds == "all" else tune.folds
    _check_folds(plan, folds, list(numbers))
    settings = dict(_flat(deciding_settings(config, out)))
    # What is searched is no setting of all trials.
    kept = {
        key: value
        for key, value in settings.items()
        if not any(overlapping(key, searched) for searched in tune.space)
    }
    return Subject(
        name=plan.name,
        monitor=config.train.monitor,
        keep=config.train.keep,
        seed=tune.seed,
        startup=tune.startup,
        sampler=tune.sampler,
        pruner=tune.pruner,
        spared=tune.spared,
        space=tune.space,
        settings={**kept, "start": start, **_contents(plan)},
        scheme=folds.scheme,
        folds_sha256=folds.sha256,
        folds=tuple(_sizes(folds, number) for number in numbers),
        fold_count=len(folds.folds),
        untouched=tuple(_untouched(folds, list(numbers))),
    )


def _check_folds(plan: TuningPlan, folds: Folds, numbers: list[int]) -> None:
    count = len(folds.folds)
    missing = [number for number in numbers if number >= count]
    if missing:
        raise ConfigError(
            f"there is no fold {missing[0]}",
            where=f"{plan.name}, folds",
            why=f"folds count from 0 to {count - 1}",
        )
    if plan.base.train.monitor != "auroc":
        return
    for number in numbers:
        found = {folds.cases[case_id].label for case_id in folds.folds[number].validation}
        lacking = [name for name in folds.classes if name not in found]
        if lacking:
            raise ConfigError(
                f"the validation part of fold {number} has no AUROC",
                where=f"{plan.name}, folds",
                why=f"it has no case of class {', '.join(lacking)}",
                remedy="raise cv.validation, choose other folds, or set train.monitor=loss",
            )


def _sizes(folds: Folds, number: int) -> Fold:
    fold = folds.folds[number]
    patients = {folds.cases[case_id].patient_id for case_id in fold.validation}
    return Fold(
        fold=number,
        train=len(fold.train),
        validation=len(fold.validation),
        patients=len(patients),
    )


def _untouched(folds: Folds, numbers: list[int]) -> Iterator[int]:
    """The folds of which no test patient is among those that teach or judge a trial."""
    used = [folds.folds[number] for number in numbers]
    known = {
        folds.cases[case_id].patient_id
        for fold in used
        for case_id in (*fold.train, *fold.validation)
    }
    for number, fold in enumerate(folds.folds):
        if known.isdisjoint(folds.cases[case_id].patient_id for case_id in fold.test):
            yield number


def _flat(tree: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _contents(plan: TuningPlan) -> Parameters:
    """What is in the files among the choices."""
    found: Parameters = {}
    for key, dimension in plan.plan.space.items():
        section, _, name = key.partition(".")
        for choice in dimension.choices or ():
            if is_path(section, name, choice):
                path = plan.folder / cast("str", choice)
                found[f"{key}={json.dumps(choice)}"] = file_sha256(path) if path.is_file() else None
    return found
