"""Whether competitors answered the same cases, on the same folds; if not, they are refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import DataError
from .competitors import Competitor

_SHOWN = 5
_SAME_FOLDS = (
    "make both with the same cases, cv settings and seed; or put the folds.json of one into the "
    "new folder of the other before training, which obeys it"
)

_ONE_NAME = (
    "give each case one name in a column case_id of both manifests, and make both runs again"
)

#: Patient, label and fold of a case.
_Facts = tuple[str, str, int]


def aligned(competitors: Mapping[str, Competitor]) -> tuple[Competitor, ...]:
    """The competitors with equal cases and columns in equal order.

    What counts is the fold, the label and the patient of every case, not a checksum: a probe or a
    baseline on the folds of a run fits that run. Voxels may differ, for scans may be prepared in
    several ways; but a volume that both have must have one name.

    Args:
        competitors: By the name of the folder, for the message.

    Raises:
        DataError: Classes, cases, labels, patients or folds differ, or the names of volumes; names
            both folders and what differs.
    """
    names = list(competitors)
    reference = competitors[names[0]]
    for name in names[1:]:
        _check_pair(names[0], reference, name, competitors[name])
    _check_names(competitors)
    return tuple(_in_columns(item, reference.scored.classes) for item in competitors.values())


def _check_pair(name: str, first: Competitor, other: str, second: Competitor) -> None:
    classes = first.scored.classes, second.scored.classes
    if set(classes[0]) != set(classes[1]):
        told = [
            f"those of {of} are {', '.join(c)}"
            for of, c in zip((name, other), classes, strict=True)
        ]
        raise _refusal(name, other, "classes", "; ".join(told), _SAME_FOLDS)
    known, found = _facts(first), _facts(second)
    only = [f"only in {name}: {case_id}" for case_id in sorted(known.keys() - found.keys())]
    only += [f"only in {other}: {case_id}" for case_id in sorted(found.keys() - known.keys())]
    if only:
        raise _refusal(name, other, "cases", _listed(only), "compare runs over the same cases")
    for place, what in enumerate(("patients", "labels", "folds")):
        differing = list(_differences(name, known, other, found, place))
        if differing:
            raise _refusal(name, other, what, _listed(differing), _SAME_FOLDS)


def _facts(item: Competitor) -> dict[str, _Facts]:
    cases = item.scored
    rows = zip(item.case_ids, cases.patients, cases.labels, cases.folds, strict=True)
    return {
        case_id: (str(patient), cases.classes[label], int(fold))
        for case_id, patient, label, fold in rows
    }


def _differences(
    name: str, known: Mapping[str, _Facts], other: str, found: Mapping[str, _Facts], place: int
) -> Iterator[str]:
    for case_id, facts in sorted(known.items()):
        if facts[place] != found[case_id][place]:
            yield f"{case_id} has {facts[place]} in {name} and {found[case_id][place]} in {other}"


def _check_names(competitors: Mapping[str, Competitor]) -> None:
    """A volume has one name in all: numbers of equal file names move when rows come or go."""
    known: dict[str, tuple[str, set[str]]] = {}
    for name, item in competitors.items():
        called: defaultdict[str, set[str]] = defaultdict(set)
        for case_id, content in item.contents.items():
            called[content].add(case_id)
        other = [(*known.setdefault(content, (name, ids)), ids) for content, ids in called.items()]
        moved = [(first, ids, now) for first, ids, now in other if ids.isdisjoint(now)]
        if moved:
            told = [f"{min(ids)} in {first} is {min(now)} in {name}" for first, ids, now in moved]
            raise _refusal(moved[0][0], name, "volumes", _listed(sorted(told)), _ONE_NAME)


def _listed(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return f"{len(problems)} differ: {'; '.join(problems[:_SHOWN])}{more}"


def _refusal(name: str, other: str, what: str, why: str, remedy: str) -> DataError:
    return DataError(
        f"{name} and {other} cannot be compared: their {what} differ", why=why, remedy=remedy
    )


def _in_columns(item: Competitor, classes: tuple[str, ...]) -> Competitor:
    cases = item.scored
    if cases.classes == classes:
        return item
    order = [cases.classes.index(name) for name in classes]
    back = [classes.index(name) for name in cases.classes]
    labels = np.asarray(back, dtype=np.int64)[cases.labels]
    scored = replace(
        cases, labels=labels, probabilities=cases.probabilities[:, order], classes=classes
    )
    return replace(item, scored=scored)
