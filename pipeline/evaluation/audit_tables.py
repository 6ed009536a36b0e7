"""Classes by groups of cases: what a network could read in place of what it should."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from .audit_record import AuditedVolume, GroupRow, GroupTable, Straddler, Telling

#: Rows of a table; the rest goes together.
MOST_ROWS = 12

_NONE = "not stated"
#: A group of fewer patients often holds one class alone.
_PATIENTS = 3
#: So seldom would chance give a larger group patients of one class alone.
_CHANCE = 0.01
#: Hounsfield units that only air and lung have.
_AIR = -500
#: Degrees; less is rounding of the header.
_STRAIGHT = 0.5
_GROUPS: dict[str, Callable[[AuditedVolume], str]] = {
    "site": lambda item: item.site or _NONE,
    "split": lambda item: item.split or _NONE,
    "spacing": lambda item: " x ".join(f"{step:.2g}" for step in item.spacing) + " mm",
    "size": lambda item: " x ".join(str(length) for length in item.shape),
    "orientation": lambda item: item.orientation,
    "voxel type": lambda item: item.voxel_type,
    "file format": lambda item: item.file_format,
    "tilt": lambda item: "along the patient's axes" if item.tilt < _STRAIGHT else "tilted",
    "grey scale": lambda item: _scale(item),
}


def group_tables(
    volumes: Sequence[AuditedVolume], classes: Sequence[str]
) -> tuple[GroupTable, ...]:
    """A table for every way to group that has several groups here.

    Args:
        volumes: Cases with their labels.
        classes: In the order of the columns.
    """
    names = [name for name in _GROUPS if 1 < groups_by(name, volumes) <= _most(volumes)]
    return tuple(_table(name, _GROUPS[name], volumes, classes) for name in names)


def telling_groups(volumes: Sequence[AuditedVolume], classes: Sequence[str]) -> tuple[Telling, ...]:
    """Groups whose cases all have one class, where that is no accident.

    Of groups that split the classes, all or none, three patients each are enough. Any other group
    is named where so many patients of one class would come together by chance in 1 % or less.

    Args:
        volumes: Cases with their labels.
        classes: All of them.
    """
    patients = {(item.patient_id, item.label) for item in volumes}
    shares = {
        label: sum(own == label for _, own in patients) / max(len(patients), 1) for label in classes
    }
    found = (_telling(name, volumes, shares) for name in _GROUPS)
    return tuple(item for item in found if item.groups)


def _telling(name: str, volumes: Sequence[AuditedVolume], shares: dict[str, float]) -> Telling:
    members: defaultdict[str, list[AuditedVolume]] = defaultdict(list)
    for item in volumes:
        members[_GROUPS[name](item)].append(item)
    pure, mixed = [], False
    for key, own in sorted(members.items()):
        labels, who = {item.label for item in own}, len({item.patient_id for item in own})
        if who >= _PATIENTS and len(labels) == 1:
            pure.append((key, labels.pop(), who))
        mixed |= who >= _PATIENTS and len(labels) > 1
    splits = not mixed and len({label for _, label, _ in pure}) > 1
    rare = [item for item in pure if shares[item[1]] ** item[2] <= _CHANCE]
    return Telling(name=name, groups=tuple(pure if splits else rare))


def differing(volumes: Sequence[AuditedVolume]) -> tuple[str, ...]:
    """What differs in so many volumes that a table of it would say nothing."""
    return tuple(name for name in _GROUPS if groups_by(name, volumes) > _most(volumes))


def common(volumes: Sequence[AuditedVolume]) -> dict[str, str]:
    """What is the same in all volumes, by name; what no manifest states is left out."""
    alike = [name for name in _GROUPS if groups_by(name, volumes) == 1]
    found = {name: _GROUPS[name](volumes[0]) for name in alike}
    return {name: value for name, value in found.items() if value != _NONE}


def groups_by(name: str, volumes: Sequence[AuditedVolume]) -> int:
    """Number of groups of some kind."""
    return len({_GROUPS[name](item) for item in volumes})


def _most(volumes: Sequence[AuditedVolume]) -> int:
    return max(4, len(volumes) // 2)


def _scale(item: AuditedVolume) -> str:
    """The order of magnitude of the grey values; that of CT in Hounsfield units by its air."""
    if item.lowest <= _AIR:
        return f"from {_AIR} or below, as CT"
    width = item.highest - item.lowest
    power = math.floor(math.log10(width))
    return f"a range of {10.0**power:,g} to {10.0 ** (power + 1):,g}"


def _table(
    name: str,
    group: Callable[[AuditedVolume], str],
    volumes: Sequence[AuditedVolume],
    classes: Sequence[str],
) -> GroupTable:
    members: defaultdict[str, list[AuditedVolume]] = defaultdict(list)
    for item in volumes:
        members[group(item)].append(item)
    ranked = sorted(members, key=lambda key: (-len(members[key]), key))
    most = len(ranked) if len(ranked) <= MOST_ROWS else MOST_ROWS - 1
    rows = [_row(key, members[key], classes) for key in ranked[:most]]
    rest = [item for key in ranked[most:] for item in members[key]]
    if rest:
        rows.append(_row(f"{len(ranked) - most} others", rest, classes))
    return GroupTable(name=name, rows=tuple(rows))


def _row(name: str, members: Sequence[AuditedVolume], classes: Sequence[str]) -> GroupRow:
    counts = Counter(item.label for item in members)
    return GroupRow(
        group=name,
        cases=len(members),
        patients=len({item.patient_id for item in members}),
        counts=tuple(counts[label] for label in classes),
    )


def find_straddlers(parts: Sequence[tuple[str, str, str | None]]) -> tuple[Straddler, ...]:
    """Patients in several parts of the split.

    Args:
        parts: Case id, patient and part of every case; a part may be None.
    """
    found: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for case_id, patient, part in parts:
        if part is not None:
            found[patient][part].append(case_id)
    return tuple(
        Straddler(patient_id=who, parts={part: tuple(ids) for part, ids in sorted(own.items())})
        for who, own in sorted(found.items())
        if len(own) > 1
    )


def mixed_patients(labels: Sequence[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """The labels of each patient who has several, given (patient, label) of every case."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for patient, label in labels:
        found[patient].add(label)
    return {who: tuple(sorted(own)) for who, own in sorted(found.items()) if len(own) > 1}


def scans_a_patient(patients: Sequence[str]) -> dict[int, int]:
    """Number of scans -> number of patients with so many, given the patient of every case."""
    return dict(sorted(Counter(Counter(patients).values()).items()))
