"""Which files are of one patient, guessed from their names.

Splitting one patient in two would leak between training and test, merging two only costs some
power: so of the groupings that are possible the coarser is taken, unless it leaves next to nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .name_prefix import COVERED, Ids, prefix_ids, too_few
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


@dataclass(frozen=True, slots=True)
class Patients:
    """The patients of files, in the order of the files.

    Attributes:
        ids: One a file.
        rule: What was taken for the patient, in words.
        assumed: Nothing was recognised: each file counts as a patient of its own.
        warnings: What is doubtful.
    """

    ids: tuple[str, ...]
    rule: str
    assumed: bool = False
    warnings: tuple[str, ...] = ()


def guess_patients(files: Sequence[Parts], classes: int | None = None) -> Patients:
    """Guesses the patients.

    Args:
        files: Parts of each file's path; folders that name a class or a split are left out.
        classes: Number of classes, where it is known.
    """
    least = 2 * max(classes or 2, 2)
    refused: list[str] = []
    for rule, find in _RULES:
        doubts: list[str] = []
        ids = find(files, least, doubts)
        if ids is None or sum(name is not None for name in ids) < COVERED * len(files):
            continue
        count = len({id_key(name) for name in ids if name is not None})
        if too_few(count, len(files), least):
            refused.append(f"{rule} would give {_patients(count)} only, so it was not taken")
            continue
        merged = _merged(files, ids, doubts)
        if rule not in _STATED and _whole_names(files, merged):
            refused += doubts
            break
        doubts += _doubts(files, merged, least)
        return Patients(merged, rule, False, (*refused, *doubts))
    own = tuple("_".join(parts) for parts in files)
    doubt = (
        "every file counts as a patient of its own; if a patient has several scans, the result "
        "will be too good: add a column patient_id to the manifest"
    )
    return Patients(own, "no pattern in the names", True, (*refused, doubt))


def _patients(count: int) -> str:
    return f"{count} patient{'' if count == 1 else 's'}"


def _whole_names(files: Sequence[Parts], ids: Sequence[str]) -> bool:
    """Each file has an id of its own that is all of its name: so nothing was recognised."""
    alone = len(set(ids)) == len(ids)
    return alone and all(
        id_key(name) == id_key(parts[-1]) for name, parts in zip(ids, files, strict=True)
    )


def _merged(files: Sequence[Parts], ids: Ids, doubts: list[str]) -> tuple[str, ...]:
    """One spelling an id; files without one become patients of their own."""
    spelling: dict[str, str] = {}
    result: list[str] = []
    alone: list[str] = []
    for parts, name in zip(files, ids, strict=True):
        if name is None:
            name = "_".join(parts)
            alone.append(name)
        result.append(spelling.setdefault(id_key(name) or name.casefold(), name))
    if alone:
        doubts.append(
            f"{len(alone)} files do not follow the pattern and count as patients of their own: "
            f"{', '.join(alone[:3])}"
        )
    return tuple(result)


def _doubts(files: Sequence[Parts], ids: Sequence[str], least: int) -> list[str]:
    scans = Counter(ids)
    doubts: list[str] = []
    if len(scans) < least:
        doubts.append(f"only {_patients(len(scans))}: too few to train and test on")
    if len(scans) == len(ids):
        doubts.append(
            "every patient has one scan; if two files are of one patient, the result will be too "
            "good: correct the column patient_id"
        )
    tops = {(name, parts[0]) for name, parts in zip(ids, files, strict=True) if len(parts) > 1}
    over = [name for name, count in Counter(name for name, _ in tops).items() if count > 1]
    if any(name.isdecimal() for name in over):
        doubts.append(
            f"{_patients(len(over))} have files in several folders, under bare numbers; if the "
            "numbers start anew in each folder, put its name in front of the patient_id"
        )
    return doubts


def _bids(files: Sequence[Parts], _least: int, _doubts: list[str]) -> Ids | None:
    return [bids_subject(parts) for parts in files]


def _archive(files: Sequence[Parts], _least: int, _doubts: list[str]) -> Ids | None:
    return [archive_id(parts) for parts in files]


def _of_folders(find: Callable[[str], str | None]) -> Callable[..., Ids | None]:
    def rule(files: Sequence[Parts], _least: int, _doubts: list[str]) -> Ids | None:
        return [next(filter(None, map(find, parts[:-1])), None) for parts in files]

    return rule


def _of_names(find: Callable[[str], str | None]) -> Callable[..., Ids | None]:
    def rule(files: Sequence[Parts], _least: int, _doubts: list[str]) -> Ids | None:
        return [find(parts[-1]) for parts in files]

    return rule


def _folder_ids(files: Sequence[Parts], least: int) -> Ids | None:
    """The topmost level of folders whose names look like ids."""
    for level in range(max(map(len, files), default=1) - 1):
        names = [parts[level] if len(parts) > level + 1 else "" for parts in files]
        distinct = {name for name in names if name}
        alike = sum(map(looks_like_id, distinct))
        if len(distinct) < 2 or alike < COVERED * len(distinct):
            continue
        ids = prefix_ids(names, least, [])
        return ids or [name or None for name in names]
    return None


def _folder_or_name(files: Sequence[Parts], least: int, doubts: list[str]) -> Ids | None:
    """Folders with ids, unless the names in them tell that the patients go across the folders."""
    folders = _folder_ids(files, least)
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
    lettered = _lettered(names), _lettered(folders)
    by_name = lettered[0] > lettered[1] or (
        lettered[0] == lettered[1] and len(across) > len(inside)
    )
    doubts.append(
        "folders and file names could both be patients; "
        f"the {'names' if by_name else 'folders'} were taken"
    )
    return names if by_name else folders


def _lettered(ids: Ids) -> bool:
    return all(name is not None and any(map(str.isalpha, name)) for name in ids)


def _groups(keys: Ids, values: Ids) -> dict[str, set[str]]:
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for key, value in zip(keys, values, strict=True):
        groups[id_key(key or "")].add(id_key(value or ""))
    return groups


def _name_start(files: Sequence[Parts], least: int, doubts: list[str]) -> Ids | None:
    return prefix_ids([parts[-1] for parts in files], least, doubts)


def _any_folder(files: Sequence[Parts], least: int, _doubts: list[str]) -> Ids | None:
    """The topmost level with several folders that do not count sites or visits."""
    for level in range(max(map(len, files), default=1) - 1):
        names = [parts[level] if len(parts) > level + 1 else None for parts in files]
        distinct = {name for name in names if name is not None}
        if len(distinct) >= least and not any(
            is_technical(name) or not core(name) for name in distinct
        ):
            return names
    return None


def _counted_name(files: Sequence[Parts], least: int, doubts: list[str]) -> Ids | None:
    """`image_001_T1`: what counts scans elsewhere is all that there is."""
    return prefix_ids([parts[-1] for parts in files], least, doubts, counters=False)


_STATED = ("sub-XXX in the names (BIDS)", "an archive's patient id (TCGA, CPTAC, ADNI)")
_Rule = Callable[[Sequence[Parts], int, list[str]], Ids | None]
_RULES: tuple[tuple[str, _Rule], ...] = (
    (_STATED[0], _bids),
    (_STATED[1], _archive),
    ("patient, subject, ... and a number in the folder's name", _of_folders(person)),
    ("patient, subject, ... and a number in the file name", _of_names(person)),
    ("case and a number in the folder's name", _of_folders(numbered_case)),
    ("case and a number in the file name", _of_names(numbered_case)),
    ("one folder a patient, by its name", _folder_or_name),
    ("the start of the file name", _name_start),
    ("one folder a patient", _any_folder),
    ("the start of the file name, with its number", _counted_name),
)
