"""Which files are of one patient, guessed from their names.

Splitting one patient in two would leak between training and test, merging two only costs some
power: so of the groupings that are possible the coarser is taken. Where it leaves next to nothing
and no name states that these are persons, patients are assumed, and not written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .name_prefix import COVERED, Ids, too_few
from .name_tokens import Parts, id_key, looks_like_id
from .patient_rules import RULES, Rule


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
    for rule in RULES:
        doubts: list[str] = []
        ids = rule.find(files, least, doubts)
        if ids is None or sum(name is not None for name in ids) < COVERED * len(files):
            continue
        count = len({id_key(name) for name in ids if name is not None})
        if not (rule.stated or _look_like_ids(ids)) and too_few(count, len(files), least):
            # A later rule could only guess a finer grouping, by which a patient may be split.
            refused.append(_refusal(rule, count))
            break
        merged = _merged(files, ids, doubts, rule.exact)
        if not rule.whole and _whole_names(files, merged):
            refused += doubts
            break
        doubts += _doubts(files, merged, least)
        return Patients(merged, rule.name, False, tuple(doubts))
    own = tuple("_".join(parts) for parts in files)
    doubt = (
        "every file counts as a patient of its own; if a patient has several scans, the result "
        "will be too good: add a column patient_id to the manifest"
    )
    return Patients(own, "no pattern in the names", True, (*refused, doubt))


def _look_like_ids(ids: Ids) -> bool:
    """`P01`, `STS_001`: few of these are patients all the same, as their names say so."""
    return all(looks_like_id(name) for name in {*ids} if name is not None)


def _refusal(rule: Rule, count: int) -> str:
    return (
        f"{rule.name} would give {_patients(count)} only, so it was not taken, and one patient may "
        "have become several"
    )


def _patients(count: int) -> str:
    return f"{count} patient{'' if count == 1 else 's'}"


def _whole_names(files: Sequence[Parts], ids: Sequence[str]) -> bool:
    """Each file has an id of its own that is all of its name: so nothing was recognised."""
    alone = len(set(ids)) == len(ids)
    return alone and all(
        id_key(name) == id_key(parts[-1]) for name, parts in zip(ids, files, strict=True)
    )


def _merged(files: Sequence[Parts], ids: Ids, doubts: list[str], exact: bool) -> tuple[str, ...]:
    """One spelling an id; files without one become patients of their own."""
    spelling: dict[str, str] = {}
    result: list[str] = []
    alone: list[str] = []
    for parts, name in zip(files, ids, strict=True):
        if name is None:
            name = "_".join(parts)
            alone.append(name)
        key = "" if exact else id_key(name)
        result.append(spelling.setdefault(key or name.casefold(), name))
    if alone:
        doubts.append(
            f"{len(alone)} files do not follow the pattern and count as patients of their own: "
            f"{', '.join(alone[:3])}"
        )
    doubts += _alike(result) if exact else ()
    return tuple(result)


def _alike(ids: Sequence[str]) -> list[str]:
    """What to say of ids such as `sub-1` and `sub-01`, which a standard takes for two persons."""
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    for name in ids:
        spellings[id_key(name)].add(name)
    alike = [" and ".join(sorted(group)) for group in spellings.values() if len(group) > 1]
    if not alike:
        return []
    return [
        f"ids that differ in leading zeros or signs alone count as different patients: "
        f"{', '.join(alike[:3])}; if they are one, correct the column patient_id"
    ]


def _doubts(files: Sequence[Parts], ids: Sequence[str], least: int) -> list[str]:
    scans = Counter(ids)
    doubts: list[str] = []
    if len(scans) < least:
        examples = ", ".join(sorted(scans)[:3])
        doubts.append(
            f"only {_patients(len(scans))} ({examples}): too few to train and test on; if these "
            "are sites or projects, correct the column patient_id"
        )
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
