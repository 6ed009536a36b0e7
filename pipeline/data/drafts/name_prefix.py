"""Ids at the start of names: how many words are the patient's, the rest being the scan's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from .name_tokens import core, id_key

COVERED = 0.8  # of the files must follow a rule
_MANY = 8.0  # scans a patient, on average, from which few patients are rather no patients
_LONGEST = 4  # words of an id

Ids = list[str | None]
_Core = list[tuple[str, int, int]]


def too_few(count: int, files: int, least: int) -> bool:
    """Whether so few groups are rather classes, sites or projects than patients."""
    return count < 2 or (count < least and files / count >= _MANY)


def prefix_ids(
    names: Sequence[str], least: int, doubts: list[str], counters: bool = True
) -> Ids | None:
    """Ids at the start of names: the fewest words that tell patients apart.

    Args:
        names: Of files without their endings, or of folders.
        least: So few patients at least.
        doubts: Takes what is doubtful about the choice.
        counters: Whether words that count scans are left out.
    """
    cores = [core(name, counters) for name in names]
    if not cores or sum(map(bool, cores)) < COVERED * len(cores):
        return None
    best: Ids | None = None
    for length in range(1, _LONGEST + 1):
        ids = _cut(names, cores, length)
        count = len({id_key(name) for name in ids if name is not None})
        if count < 2:
            continue
        best = ids
        if any(map(str.isdigit, "".join(filter(None, ids)))):
            if not too_few(count, len(names), least):
                return ids
            doubts.append(_not_taken(ids))
            continue
        numbers = _next_numbers(cores, length)
        if numbers is None:
            if count >= least:
                return ids
            continue
        return _word_or_number(names, cores, length, numbers, least, doubts)
    return best


def _cut(names: Sequence[str], cores: Sequence[_Core], length: int) -> Ids:
    """The names from the first to the `length`-th word of the core."""
    return [
        name[words[0][1] : words[min(length, len(words)) - 1][2]] if words else None
        for name, words in zip(names, cores, strict=True)
    ]


def _next_numbers(cores: Sequence[_Core], length: int) -> list[str | None] | None:
    """The word after `length` words, where nearly all names have a number there."""
    numbers = [
        words[length][0] if len(words) > length and words[length][0].isdecimal() else None
        for words in cores
    ]
    covered = sum(number is not None for number in numbers)
    return numbers if covered >= COVERED * len(cores) else None


def _word_or_number(
    names: Sequence[str],
    cores: Sequence[_Core],
    length: int,
    numbers: list[str | None],
    least: int,
    doubts: list[str],
) -> Ids:
    """`AD_001`, `smith_01`, `Pitt_0050002`: is the word the patient, the number, or both?"""
    ids = _cut(names, cores, length)
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for name, number in zip(ids, numbers, strict=True):
        if name is not None and number is not None:
            owners[number].add(id_key(name))
    count = len({id_key(name) for name in ids if name is not None})
    shared = sum(len(group) > 1 for group in owners.values())
    if shared < 0.3 * len(owners):
        # Numbers that no two words share number the patients, or a person's scans: it is the
        # number where the words are few, as those of sites and classes are.
        few = count < least or len(names) / count >= _MANY
        if few:
            doubts.append(_not_taken(ids))
        return _cut(names, cores, length + 1) if few else ids
    if len(owners) <= count:
        return ids
    doubts.append(
        f"the same numbers stand behind {count} words ({_examples(ids)}); they were taken for the "
        "same patients: if they are not, put the word in front of the patient_id"
    )
    return numbers


def _not_taken(ids: Ids) -> str:
    return (
        f"the names start with few different words ({_examples(ids)}), so these were not taken for "
        "patients, and one patient may have become several: correct the column patient_id if so"
    )


def _examples(ids: Ids) -> str:
    return ", ".join(sorted({name for name in ids if name is not None})[:3])
