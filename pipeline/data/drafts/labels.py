"""Which files are of one class, guessed from the folders that they lie in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .name_tokens import Parts, core, is_technical, looks_like_id, named_as_classes, words
from .person_folders import hold_persons

_MOST_CLASSES = 20
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What the uppermost folders of the files say, in the order of the files.

    Attributes:
        labels: The class of each file, or None where folders name no classes.
        splits: `train`, `val` or `test` of each file, or None.
        rest: Each file's parts without the folders of split and class.
        notes: What was found, in words.
        warnings: What is doubtful.
    """

    labels: tuple[str, ...] | None
    splits: tuple[str, ...] | None
    rest: tuple[Parts, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def guess_layout(files: Sequence[Parts]) -> Layout:
    """Looks for `train/`, `val/`, `test/`, and for folders that are classes, as in ImageFolder."""
    splits = _splits(files)
    rest = tuple(parts[1:] for parts in files) if splits else tuple(files)
    notes = [f"split: the folders {_counted(splits)}"] if splits else []
    if not _are_classes(rest):
        return Layout(None, splits, rest, tuple(notes))
    labels, warnings = spelled([parts[0] for parts in rest])
    return Layout(labels, splits, tuple(parts[1:] for parts in rest), tuple(notes), warnings)


def _splits(files: Sequence[Parts]) -> tuple[str, ...] | None:
    found = [_SPLITS.get(parts[0].casefold(), "") if len(parts) > 1 else "" for parts in files]
    return tuple(found) if all(found) and {"train", "test"} <= set(found) else None


def _are_classes(files: Sequence[Parts]) -> bool:
    """Few folders with several files each, whose names are neither ids nor technical."""
    if any(len(parts) < 2 for parts in files):
        return False
    counts = Counter(parts[0].casefold() for parts in files)
    names = {parts[0] for parts in files}
    if not 2 <= len(counts) <= _MOST_CLASSES or min(counts.values()) < 2:
        return False
    if sum(map(looks_like_id, names)) >= len(names) / 2 or any(map(is_technical, names)):
        return False
    return not hold_persons(files) and not _hold_the_same_kinds(files)


def _hold_the_same_kinds(files: Sequence[Parts]) -> bool:
    """`A/T1`, `B/T1`: files are told apart by their kind alone, which no class tells apart."""
    if named_as_classes({parts[0] for parts in files}):
        return False
    inside: defaultdict[str, set[Parts]] = defaultdict(set)
    for parts in files:
        inside[parts[0].casefold()].add(parts[1:])
    same = len({frozenset(group) for group in inside.values()}) == 1
    return same and not any(core(part) for parts in files for part in parts[1:])


def spelled(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The commonest spelling of each label, and what was respelled, to print."""
    counts = Counter(names)
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    usual: dict[str, str] = {}
    for name in ranked:
        usual.setdefault(name.strip().casefold(), name.strip())
    changed = sorted(name for name in counts if usual[name.strip().casefold()] != name)
    warnings = [
        f"the label {name!r} was written {usual[name.strip().casefold()]!r}" for name in changed
    ]
    return tuple(usual[name.strip().casefold()] for name in names), tuple(warnings)


def _counted(values: Sequence[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(Counter(values).items()))


def could_be_labels(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The columns of a table that hold few values, each of them several times."""
    return [name for name, values in columns.items() if few_values(values)]


def few_values(values: Sequence[str]) -> bool:
    """Whether values could be classes: 2 to 20 of them, each at least twice."""
    counts = Counter(value for value in values if value)
    return 2 <= len(counts) <= _MOST_CLASSES and min(counts.values()) >= 2


def words_like_labels(stems: Sequence[str], patients: Sequence[str]) -> list[dict[str, int]]:
    """Words of the file names that take few values, each of them in several patients.

    Args:
        stems: File names without their endings.
        patients: The patient of each file.

    Returns:
        One mapping for each place in the names: value -> number of files.
    """
    split = [[word for word, *_ in words(stem)] for stem in stems]
    shortest = min(map(len, split), default=0)
    found: list[dict[str, int]] = []
    seen: set[tuple[int, ...]] = set()
    for place in (*range(shortest), *range(-1, -shortest - 1, -1)):
        values = [names[place] for names in split]
        owners: defaultdict[str, set[str]] = defaultdict(set)
        for value, patient in zip(values, patients, strict=True):
            owners[value].add(patient)
        order = {value: number for number, value in enumerate(dict.fromkeys(values))}
        division = tuple(order[value] for value in values)
        usable = few_values(values) and all(len(group) > 1 for group in owners.values())
        if usable and division not in seen:
            seen.add(division)
            found.append(dict(sorted(Counter(values).items())))
    return found
