"""What a BIDS data set's `participants.tsv` says about its patients.

Source: the Brain Imaging Data Structure, https://bids-specification.readthedocs.io.
"""

from __future__ import annotations

from collections.abc import Sequence
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
_UNKNOWN = ("", "n/a", "na", "nan", "none", "unknown", "?")


@dataclass(frozen=True, slots=True)
class Participants:
    """A table of participants, by the key of their id.

    Attributes:
        name: Where it was found, relative to the given folder.
        values: Column of the manifest (label, site, age, ...) -> key of the id -> text.
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
    return _understood(name, table, {id_key(_bare(patient)) for patient in patients})


def _bare(participant: str) -> str:
    return participant.strip().removeprefix("sub-")


def participant_key(patient: str) -> str:
    """The key of a patient in `Participants.values`: `sub-01` and `01` are the same."""
    return id_key(_bare(patient))


def _understood(name: str, table: Table, patients: set[str]) -> Participants:
    columns = {column.casefold(): number for number, column in enumerate(table.header)}
    if "participant_id" not in columns:
        return Participants(name, {}, {}, (), (f"{name} has no column participant_id",))
    rows = [cells for _, cells in table.rows if len(cells) == len(table.header)]
    keyed = [(participant_key(cells[columns["participant_id"]]), cells) for cells in rows]
    known = [(key, cells) for key, cells in keyed if key in patients]
    if not known:
        why = f"{name} is of other participants: none of its ids is in the file names"
        return Participants(name, {}, {}, (), (why,))

    def column(title: str) -> dict[str, str]:
        texts = {key: cells[columns[title]].strip() for key, cells in known}
        return {key: text for key, text in texts.items() if text.casefold() not in _UNKNOWN}

    contents = {title: column(title) for title in columns if title != "participant_id"}
    label = next(
        (each for each in _LABELS if few_values(list(contents.get(each, {}).values()))), None
    )
    chosen = {"label": label, "site": next((each for each in _SITES if contents.get(each)), None)}
    chosen |= {each: each for each in _COVARIATES if contents.get(each)}
    candidates = could_be_labels({each: list(texts.values()) for each, texts in contents.items()})
    return Participants(
        name,
        {ours: contents[theirs] for ours, theirs in chosen.items() if theirs},
        {ours: table.header[columns[theirs]] for ours, theirs in chosen.items() if theirs},
        tuple(table.header[columns[each]] for each in candidates if label is None),
    )
