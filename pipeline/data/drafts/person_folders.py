"""Folders that are one person each, because the names in them only count or name kinds of scan."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from .name_prefix import MANY
from .name_tokens import Parts, core, is_technical, named_as_classes

_STUDY = re.compile(r"(?:study|exam)[-_ ]?\d+", re.IGNORECASE)
_REPEATED = re.compile(r"(.*[^\W\d_])[-_ .]+\d{1,2}")


def hold_persons(files: Sequence[Parts]) -> bool:
    """Whether each uppermost folder is a person: `anna/T1`, `anna/scan1`, `anna/20200101`.

    The names in such folders hold no word that could be an id. Bare numbers that recur under every
    folder are no ids either, unless many files stand in few folders: those are rather classes.
    """
    if any(len(parts) < 2 for parts in files):
        return False
    folders = {parts[0] for parts in files}
    studies = all(map(_STUDY.fullmatch, folders))
    if len(folders) < 2 or named_as_classes(folders):
        return False
    if not studies and any(is_technical(name) or not core(name) for name in folders):
        return False
    inside: defaultdict[str, set[str]] = defaultdict(set)
    for parts in files:
        inside[parts[0].casefold()].update(word for part in parts[1:] for word, *_ in core(part))
    found = set[str]().union(*inside.values())
    if not found:
        return True
    recurring = set.intersection(*inside.values())
    if not recurring or not all(map(str.isdecimal, found)):
        return False
    return studies or len(files) / len(inside) < MANY or len(found) <= len(inside)


def person_folders(files: Sequence[Parts]) -> list[str] | None:
    """The person of each file: the folder of the topmost level that has several, if it is one."""
    rest = list(files)
    while rest and all(len(parts) > 1 for parts in rest):
        folders = {parts[0] for parts in rest}
        if hold_persons(rest):
            return without_counts([parts[0] for parts in rest])
        if len(folders) > 1 and not named_as_classes(folders):
            return None  # persons may be here, and what lies deeper would split them
        rest = [parts[1:] for parts in rest]
    return None


def without_counts(names: Sequence[str]) -> list[str]:
    """`anna_1`, `anna_2` are both `anna`; but `HC_1`, `HC_2` are two persons of a class."""
    stems = [match[1] if (match := _REPEATED.fullmatch(name)) else name for name in names]
    distinct = {stem.casefold() for stem in stems}
    return stems if len(distinct) > 1 and not named_as_classes(distinct) else list(names)
