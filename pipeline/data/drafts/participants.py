"""What a BIDS data set's `participants.tsv` says about its patients.

Source: the Brain Imaging Data Structure, https://bids-specification.readthedocs.io.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import DataError
from ..manifest_columns import Table, read_table
from .labels import could_be_labels, few_values
from .name_tokens import id_key

_FILE = "participants.tsv"
_ABOVE = 2  # folders above the given one that are searched, too
_LABELS = (
    *("label", "class", "group", "diagnosis", "dx", "dx_group", "diagnosis_group", "condition"),
    *("disease", "target", "outcome", "status", "pathology", "phenotype", "cohort", "case_control"),
)
_SITES = ("site", "center", "centre", "scanner", "institution", "hospital", "site_id")
_COVARIATES = ("age", "sex", "gender")
_EXAMPLES = 3
_UNKNOWN = ("", "n/a", "na", "nan", "none", "unknown", "?")


@dataclass(frozen=True, slots=True)
class Participants:
    """A table of participants, by the patients that were recognised.

    Attributes:
        name: Where it was found, relative to the given folder.
        values: Column of the manifest (label, site, age, ...) -> patient -> text.
        taken: Column of the manifest -> column of the table.
        candidates: Columns that could be the label, if none was taken.
        warnings: What is doubtful.
    """

    name: str
    values: dict[str, dict[str, str]]
    taken: dict[str, str]
    candidates: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def find_participants(folder: Path, patients: Sequence[str]) -> Participants | None:
    """Reads the table of the folder, or of up to two folders above it.

    Args:
        folder: The folder that is searched for volumes.
        patients: The patients that were recognised there.
    """
    here = folder.resolve()
    places = [here, *list(here.parents)[:_ABOVE]]
    path = next((place / _FILE for place in places if (place / _FILE).is_file()), None)
    if path is None:
        return None
    name = "../" * places.index(path.parent) + _FILE
    try:
        table = read_table(path)
    except DataError as error:
        return Participants(name, {}, {}, (), (f"{name} cannot be used: {error.what}",))
    return _understood(name, table, [*dict.fromkeys(patients)])


def _bare(participant: str) -> str:
    """An id as it is compared: `sub-01` and `01` are the same, `sub-1` is not."""
    return participant.strip().removeprefix("sub-").casefold()


def _understood(name: str, table: Table, patients: Sequence[str]) -> Participants:
    columns = {column.casefold(): number for number, column in enumerate(table.header)}
    if "participant_id" not in columns:
        return Participants(name, {}, {}, (), (f"{name} has no column participant_id",))
    rows = [cells for _, cells in table.rows if len(cells) == len(table.header)]
    ids = [cells[columns["participant_id"]].strip() for cells in rows]
    places, alike = _places(ids, patients)
    warnings = [f"{name}: {text}" for text in alike]
    if not places:
        warnings.append(
            f"{name} is not used: none of its ids ({_listed(ids)}) is the id of a patient who was "
            f"recognised in the names ({_listed(patients)})"
        )
        return Participants(name, {}, {}, (), tuple(warnings))
    found = {
        title: _column({who: [rows[row][number] for row in where] for who, where in places.items()})
        for title, number in columns.items()
        if title != "participant_id"
    }
    chosen = _chosen(found)
    titles = {title: table.header[number] for title, number in columns.items()}
    warnings += _differences(name, found, chosen, titles)
    candidates = could_be_labels(
        {title: [*column.texts.values()] for title, column in found.items() if not column.differing}
    )
    return Participants(
        name,
        {ours: found[theirs].texts for ours, theirs in chosen.items()},
        {ours: titles[theirs] for ours, theirs in chosen.items()},
        () if "label" in chosen else tuple(titles[each] for each in candidates),
        tuple(warnings),
    )


def _places(ids: Sequence[str], patients: Sequence[str]) -> tuple[dict[str, list[int]], list[str]]:
    """The rows of each patient who has some, and what is doubtful about them.

    An id may be spelled otherwise in the names (`sub-1`, `sub-01`), unless both spellings exist.
    """
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(ids):
        rows[_bare(each)].append(number)
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    for each in rows:
        spellings[id_key(each)].add(each)
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for patient in patients:
        owners[id_key(_bare(patient))].add(_bare(patient))
    found: dict[str, list[int]] = {}
    alike: list[str] = []
    for patient in patients:
        bare = _bare(patient)
        near = spellings[id_key(bare)]
        alone = len(near) < 2 and len(owners[id_key(bare)]) < 2
        if not alone:
            alike.append(patient)
        if where := rows.get(next(iter(near), "") if alone else bare):
            found[patient] = where
    if not alike:
        return found, []
    return found, [
        f"ids are there that differ from {_listed(alike)} in leading zeros or signs alone; they "
        "were not taken for the same, so only the row with the very id counts"
    ]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column: the known text of each patient, and those whose rows differ, who have none."""

    texts: dict[str, str]
    differing: tuple[str, ...]


def _column(cells: Mapping[str, Sequence[str]]) -> _Column:
    texts: dict[str, str] = {}
    differing: list[str] = []
    for patient, several in cells.items():
        known = [text.strip() for text in several if text.strip().casefold() not in _UNKNOWN]
        if len({text.casefold() for text in known}) > 1:
            differing.append(patient)
        elif known:
            texts[patient] = known[0]
    return _Column(texts, tuple(differing))


def _chosen(found: Mapping[str, _Column]) -> dict[str, str]:
    """Column of the manifest -> column of the table that it is taken from."""

    def first(titles: Sequence[str], usable: Callable[[_Column], bool]) -> str | None:
        return next((each for each in titles if each in found and usable(found[each])), None)

    label = first(_LABELS, lambda each: not each.differing and few_values([*each.texts.values()]))
    chosen = {"label": label, "site": first(_SITES, lambda each: bool(each.texts))}
    chosen |= {each: first((each,), lambda column: bool(column.texts)) for each in _COVARIATES}
    return {ours: theirs for ours, theirs in chosen.items() if theirs is not None}


def _differences(
    name: str, found: Mapping[str, _Column], chosen: Mapping[str, str], titles: Mapping[str, str]
) -> list[str]:
    """What to say of the columns in which a patient's rows differ: no row is the right one."""
    texts: list[str] = []
    for title, column in found.items():
        lost = title in (*_SITES, *_COVARIATES) and not column.texts
        if column.differing and (lost or title in (*_LABELS, *chosen.values())):
            what = "no label was taken from it" if title in _LABELS else "they get no value"
            texts.append(
                f"the rows of {name} for {_listed(column.differing)} differ in the column "
                f"{titles[title]!r}; {what}"
            )
    return texts


def _listed(names: Sequence[str]) -> str:
    several = list(dict.fromkeys(names))
    more = len(several) - _EXAMPLES
    return ", ".join(several[:_EXAMPLES]) + (f" and {more} more" if more > 0 else "")
