"""The rules by which patients are looked for in names, those that ids state first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .name_prefix import COVERED, Ids, prefix_ids
from .name_tokens import (
    Parts,
    archive_id,
    bids_subject,
    core,
    id_key,
    is_technical,
    looks_like_id,
    numbered_case,
    person,
)
from .person_folders import person_folders, without_counts

_Find = Callable[[Sequence[Parts], int, list[str]], Ids | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to find patients.

    Attributes:
        name: What is taken for the patient, in words.
        find: Takes the files' parts, the least number of patients and a list for doubts; gives an
            id for each file, or None where the rule does not fit.
        stated: The names say that these are persons, however few they are.
        exact: Ids that differ in leading zeros are different.
        whole: A rule by which a whole name may be the id.
    """

    name: str
    find: _Find
    stated: bool = False
    exact: bool = False
    whole: bool = False


def _bids(files: Sequence[Parts], _least: int, _doubts: list[str]) -> Ids | None:
    return [bids_subject(parts) for parts in files]


def _archive(files: Sequence[Parts], _least: int, _doubts: list[str]) -> Ids | None:
    return [archive_id(parts) for parts in files]


def _of_folders(find: Callable[[str], str | None]) -> Callable[..., Ids | None]:
    def rule(files: Sequence[Parts], _least: int, _doubts: list[str]) -> Ids | None:
        ids = [next(filter(None, map(find, parts[:-1])), None) for parts in files]
        return ids if len(set(ids)) > 1 else None  # one folder around all tells nothing apart

    return rule


def _of_names(find: Callable[[str], str | None]) -> Callable[..., Ids | None]:
    def rule(files: Sequence[Parts], _least: int, _doubts: list[str]) -> Ids | None:
        return [find(parts[-1]) for parts in files]

    return rule


def _folder_ids(files: Sequence[Parts], least: int, doubts: list[str]) -> Ids | None:
    """The topmost level of folders whose names look like ids."""
    for level in range(max(map(len, files), default=1) - 1):
        names = [parts[level] if len(parts) > level + 1 else "" for parts in files]
        distinct = {name for name in names if name}
        alike = sum(map(looks_like_id, distinct))
        if len(distinct) < 2 or alike < COVERED * len(distinct):
            continue
        ids = prefix_ids(names, least, doubts)
        return ids or [name or None for name in names]
    return None


def _folder_or_name(files: Sequence[Parts], least: int, doubts: list[str]) -> Ids | None:
    """Folders with ids, unless the names in them tell that the patients go across the folders."""
    folders = _folder_ids(files, least, doubts)
    if folders is None or None in folders:
        return folders
    names = prefix_ids([parts[-1] for parts in files], least, [])
    if names is None or None in names:
        return folders
    inside, across = _groups(folders, names), _groups(names, folders)
    if all(len(group) == 1 for group in across.values()):
        return folders  # every name stays in its folder
    if all(len(group) == 1 for group in inside.values()):
        return names  # every folder is of one patient, who has several
    # Patients have letters rather than visits do; most have several scans; and they are many.
    by_name = (_lettered(names), _repeated(across), len(across)) > (
        *(_lettered(folders), _repeated(inside), len(inside)),
    )
    doubts.append(
        "folders and file names could both be patients; "
        f"the {'names' if by_name else 'folders'} were taken"
    )
    return names if by_name else folders


def _repeated(groups: Mapping[str, set[str]]) -> float:
    """The share of groups with several members."""
    return sum(len(group) > 1 for group in groups.values()) / len(groups)


def _lettered(ids: Ids) -> bool:
    return all(name is not None and any(map(str.isalpha, name)) for name in ids)


def _groups(keys: Ids, values: Ids) -> dict[str, set[str]]:
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for key, value in zip(keys, values, strict=True):
        groups[id_key(key or "")].add(id_key(value or ""))
    return groups


def _name_start(files: Sequence[Parts], least: int, doubts: list[str]) -> Ids | None:
    return prefix_ids([parts[-1] for parts in files], least, doubts)


def _counting_folder(files: Sequence[Parts], _least: int, doubts: list[str]) -> Ids | None:
    """`anna/scan1`: nothing in the file names could be an id, so the folders are the persons."""
    found = person_folders(files)
    if found is None:
        return None
    examples = ", ".join(sorted(set(found))[:3])
    doubts.append(
        f"the file names only count, so the folders ({examples}) were taken for patients; if they "
        "are classes, write them in the column label, and correct the column patient_id"
    )
    return [*found]


def _any_folder(files: Sequence[Parts], least: int, _doubts: list[str]) -> Ids | None:
    """The topmost level with several folders that do not count sites or visits."""
    for level in range(max(map(len, files), default=1) - 1):
        names = [parts[level] if len(parts) > level + 1 else None for parts in files]
        distinct = {name for name in names if name is not None}
        if len(distinct) >= least and not any(
            is_technical(name) or not core(name) for name in distinct
        ):
            persons = iter(without_counts([name for name in names if name is not None]))
            return [None if name is None else next(persons) for name in names]
    return None


def _counted_name(files: Sequence[Parts], least: int, doubts: list[str]) -> Ids | None:
    """`image_001_T1`: what counts scans elsewhere is all that there is."""
    return prefix_ids([parts[-1] for parts in files], least, doubts, counters=False)


RULES: tuple[Rule, ...] = (
    Rule("sub-XXX in the names (BIDS)", _bids, stated=True, exact=True, whole=True),
    Rule("an archive's patient id (TCGA, CPTAC, ADNI)", _archive, stated=True, whole=True),
    Rule("patient, subject, ... and a number in the folder's name", _of_folders(person), True),
    Rule("patient, subject, ... and a number in the file name", _of_names(person), True),
    Rule("case and a number in the folder's name", _of_folders(numbered_case), True),
    Rule("case and a number in the file name", _of_names(numbered_case), True),
    Rule("one folder a patient, by its name", _folder_or_name),
    Rule("one folder a patient, as the names in it only count", _counting_folder),
    Rule("the start of the file name", _name_start),
    Rule("one folder a patient", _any_folder),
    Rule("the start of the file name, with its number", _counted_name),
)
