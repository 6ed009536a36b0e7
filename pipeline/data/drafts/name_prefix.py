"""Ids at the start of names: how many words are the patient's, the rest being the scan's."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence

from .name_tokens import core, id_key, named_as_classes

COVERED = 0.8  # of the files must follow a rule
MANY = 8.0  # scans a patient, on average, from which few patients are rather no patients
_LONGEST = 4  # words of an id
#: What may be an id with a visit or side glued to it: P01S1, P01M12, P01pre, 9000099L.
_STEM = re.compile(r"([^\W\d_]*\d+)([^\W\d_]+\d*)?")

Ids = list[str | None]
_Core = list[tuple[str, int, int]]


def too_few(count: int, files: int, least: int) -> bool:
    """Whether so few groups are rather classes, sites or projects than patients."""
    return count < 2 or (count < least and files / count >= MANY)


def prefix_ids(
    names: Sequence[str], least: int, doubts: list[str], counters: bool = True
) -> Ids | None:
    """Ids at the start of names: the fewest words that tell patients apart.

    They may be too few to be patients: a finer grouping is for the user to choose, not to guess.

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
        cores, merged = _to_stems(cores, length - 1)
        ids = _cut(names, cores, length)
        count = _count(ids)
        if count < 2:
            continue
        best = ids
        if any(map(str.isdigit, "".join(filter(None, ids)))):
            doubts += merged
            return ids
        numbers = _next_numbers(cores, length)
        if numbers is not None:
            return _word_or_number(names, cores, length, numbers, least, doubts)
        if count >= least:
            return ids
        doubts.append(_not_taken(ids))
    return best


def _count(ids: Ids) -> int:
    return len({id_key(name) for name in ids if name is not None})


def _to_stems(cores: Sequence[_Core], place: int) -> tuple[list[_Core], list[str]]:
    """Cuts `P01S1` and `P01S2` to `P01`, where such words stand and a stem has several endings.

    Returns:
        The words up to the stems, and what was merged, to print.
    """
    here = [words[place][0] for words in cores if len(words) > place]
    found = {word: match for word in here if (match := _STEM.fullmatch(word))}
    endings: defaultdict[str, set[str]] = defaultdict(set)
    for word, match in found.items():
        endings[id_key(match[1])].add(word)
    several = [sorted(group) for group in endings.values() if len({*map(id_key, group)}) > 1]
    # Where few words look so, as among random hexadecimal names, the endings mean nothing.
    if not several or sum(word in found for word in here) < COVERED * len(here):
        return [*cores], []
    cut: list[_Core] = []
    for words in cores:
        if len(words) > place and (match := found.get(words[place][0])) and match[2]:
            start = words[place][1]
            words = [*words[:place], (match[1], start, start + len(match[1]))]
        cut.append(words)
    example = several[0]
    return cut, [
        f"names such as {', '.join(example[:3])} were taken for one patient, "
        f"{found[example[0]][1]}: correct the column patient_id if they are several"
    ]


def _cut(names: Sequence[str], cores: Sequence[_Core], length: int) -> Ids:
    """The names from the first to the `length`-th word of the core, without dates in between."""
    return [
        _joined(name, words[:length]) if words else None
        for name, words in zip(names, cores, strict=True)
    ]


def _joined(name: str, words: _Core) -> str:
    """The words with the signs between them; where a date stands between them, it is dropped."""
    text = words[0][0]
    for (_, _, end), (word, start, _) in itertools.pairwise(words):
        gap = name[end:start]
        text += (gap if not any(map(str.isalnum, gap)) else "_") + word
    return text


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
    """`AD_001`, `smith_01`, `Pitt_0050002`: is the word the patient, the number, or both?

    The word, if there are enough of them for patients: should they be sites, merging costs power,
    while numbers would split a person whose scans they count.
    """
    ids = _cut(names, cores, length)
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for name, number in zip(ids, numbers, strict=True):
        if name is not None and number is not None:
            owners[number].add(id_key(name))
    count = _count(ids)
    shared = sum(len(group) > 1 for group in owners.values())
    if count >= least:
        if len(names) / count >= MANY or shared < 0.3 * len(owners):
            doubts.append(
                f"the names start with {count} words ({_examples(ids)}), which were taken for the "
                "patients; if these are sites or groups, put word and number in the patient_id"
            )
        return ids
    if shared < 0.3 * len(owners):
        # Numbers that no two words share number the patients; so few words are sites or classes.
        doubts.append(_not_taken(ids))
        return _cut(names, cores, length + 1)
    if len(owners) <= count or not named_as_classes({*filter(None, ids)}):
        return ids  # three surnames, say: numbers behind them would split the persons
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
