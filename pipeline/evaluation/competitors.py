"""Competitors: whatever answered the cases of a set of folds, as two files of a folder.

`predictions.csv` holds the answers, out of fold, one row a case, in the columns of a run's own;
`competitor.json` says whose they are. A training run needs no `competitor.json`: its `config.yaml`
and `folds.json` say the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from ..config import is_volume_network
from ..errors import ConfigError, StorageError
from ..storage import make_folder, read_table, remove, write_json, write_table
from ..typed_files import damaged, read_typed
from .answers import Answer, is_most_probable, scored_answers
from .cases import ScoredCases

Kind = Literal["network", "probe", "baseline", "ensemble"]
Start = Literal["random", "pretrained", "file", "trained"]
Initial = Literal["random", "pretrained", "file"]

CARD = "competitor.json"
PREDICTIONS = "predictions.csv"
#: The note of a competitor that looks at no voxel; if it can tell the label, that is a shortcut.
METADATA = "metadata"
#: The note of a competitor that reads clinical variables alone: it looks at no voxel either.
CLINICAL = "clinical"
#: The note of an ensemble of which a part, and not all of it, is a 3D network: it says neither
#: that 3D is needed nor that it is not.
MIXED = "3D in part"
#: The note of a competitor whose clinical variables tell the label as if they were made of it.
DISGUISED = "label in disguise"

#: Files that mark a folder as that of a run or of a ladder.
_RUN_FILES = ("config.yaml", "folds.json", "ladder.json")
_REMEDY = "restore the file, or make it again with the command that wrote this folder"
_COLUMNS = ("case_id", "patient_id", "fold", "label", "prediction")


class Card(BaseModel):
    """The content of `competitor.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    title: str = Field(min_length=1)
    """As in tables and sentences."""
    kind: Kind
    network: str | None = None
    """Its name, where there is one."""
    start: Start | None = None
    """Where its weights or features come from: `trained` on these folds' training parts,
    `pretrained` elsewhere, of a `file`, or `random`: never trained at all."""
    initial: Initial | None = None
    """Where the weights of a network that was trained then came from; None where not known."""
    untrained_parts: tuple[str, ...] = ()
    """What stayed as it was drawn at random while the rest was trained, a sentence each."""
    folds: str | None = None
    """SHA-256 of the folds, for the record: what counts is the fold of every case."""
    notes: tuple[str, ...] = ()
    """Shown beside the title; `metadata` and `clinical` mark one that looks at no voxel, and
    `label in disguise` one whose clinical variables tell the label."""

    @property
    def is_volume_network(self) -> bool:
        """Whether a 3D network was trained to give the answers."""
        return self.kind == "network" and self.looks_at_volumes

    @property
    def looks_at_volumes(self) -> bool:
        """Whether the answers rest on a 3D network, trained for them or not."""
        return is_volume_network(self.network)

    @property
    def needs_no_volume(self) -> bool:
        """Whether no 3D network had a part in the answers."""
        if self.kind in ("baseline", "ensemble"):
            return not (self.looks_at_volumes or MIXED in self.notes)
        return self.network is not None and not self.looks_at_volumes

    @property
    def is_untrained(self) -> bool:
        """Whether the features are those of a network as it was drawn."""
        return self.start == "random"

    @property
    def rests_on_a_file(self) -> bool:
        """Whether weights of a file, of which nobody knows what they have seen, took part."""
        return "file" in (self.start, self.initial)

    @property
    def is_metadata(self) -> bool:
        """Whether it knows what surrounds the voxels, and no voxel."""
        return METADATA in self.notes

    @property
    def is_clinical(self) -> bool:
        """Whether it reads clinical variables alone, and no voxel."""
        return CLINICAL in self.notes

    @property
    def is_disguised(self) -> bool:
        """Whether clinical variables that it reads are the label in disguise."""
        return DISGUISED in self.notes


@dataclass(frozen=True, eq=False)
class Competitor:
    """Who answered, and what.

    Attributes:
        card: Who.
        case_ids: (N,) ids, sorted.
        scored: The answers, in that order.
        contents: Content hash by case id, as far as they are known.
    """

    card: Card
    case_ids: tuple[str, ...]
    scored: ScoredCases
    contents: Mapping[str, str] = field(default_factory=dict)


def is_competitor(folder: Path) -> bool:
    """Whether a folder holds a finished competitor."""
    return (folder / CARD).is_file()


def check_place(folder: Path, kind: Kind) -> None:
    """Refuses to put a competitor into a folder whose answers are somebody else's.

    Args:
        folder: Where it shall go; may be missing.
        kind: What it is; one of the same kind may be replaced.

    Raises:
        ConfigError: The folder holds a run, a ladder, or a competitor of another kind.
        StorageError: There is a card that cannot be read.
    """
    held = [name for name in _RUN_FILES if (folder / name).is_file()]
    other = _read_card(folder / CARD).kind if is_competitor(folder) else kind
    if held or other != kind:
        raise ConfigError(
            f"the answers of a {kind} cannot be written into {folder.name}",
            where=str(folder),
            why=f"it holds {held[0]}, and {PREDICTIONS} would be replaced"
            if held
            else f"it holds those of a {other}",
            remedy="choose another folder with --out",
        )


def write_competitor(
    folder: Path, card: Card, case_ids: Sequence[str], scored: ScoredCases
) -> None:
    """Writes both files; `competitor.json` last, so that it marks a complete competitor.

    Args:
        folder: Made where it is missing.
        card: Who answered.
        case_ids: (N,) different ids, in any order.
        scored: The answers in the same order.

    Raises:
        ValueError: There are not as many ids as answers, or an id comes twice.
        StorageError: A file cannot be written.
    """
    if len(case_ids) != len(scored) or len(set(case_ids)) != len(case_ids):
        raise ValueError(f"{len(set(case_ids))} different case ids for {len(scored)} answers")
    make_folder(folder)
    remove(folder / CARD)
    names = [f"p_{name}" for name in scored.classes]
    predicted = scored.predicted
    rows = [
        {
            "case_id": case_ids[place],
            "patient_id": str(scored.patients[place]),
            "fold": int(scored.folds[place]),
            "label": scored.classes[scored.labels[place]],
            "prediction": scored.classes[predicted[place]],
            **dict(zip(names, scored.probabilities[place].tolist(), strict=True)),
        }
        for place in sorted(range(len(case_ids)), key=lambda place: case_ids[place])
    ]
    write_table(folder / PREDICTIONS, [*_COLUMNS, *names], rows)
    write_json(folder / CARD, cast("dict[str, JsonValue]", card.model_dump(mode="json")))


def read_competitor(folder: Path) -> Competitor:
    """Reads what `write_competitor` wrote.

    Raises:
        StorageError: A file is missing or damaged; says which, and what is wrong in it.
    """
    card = _read_card(folder / CARD)
    path = folder / PREDICTIONS
    table = _read_rows(path)
    classes = tuple(name.removeprefix("p_") for name in table[0] if name.startswith("p_"))
    if len(classes) < 2:
        raise _damaged(path, "it has fewer than two columns of probabilities, p_<class>")
    rows: dict[str, Answer] = {}
    for cells in table:
        if cells["case_id"] in rows:
            raise _damaged(path, f"case {cells['case_id']!r} stands in it twice")
        rows[cells["case_id"]] = _row(path, cells, classes)
    try:
        case_ids, scored = scored_answers(rows, classes)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    return Competitor(card, case_ids, scored)


def _read_card(path: Path) -> Card:
    return read_typed(path, TypeAdapter(Card), _REMEDY)


def _read_rows(path: Path) -> list[dict[str, str]]:
    try:
        rows = read_table(path)
    except IndexError as error:
        raise _damaged(path, "it is empty") from error
    if not rows:
        raise _damaged(path, "it has no case")
    lacking = [name for name in _COLUMNS if name not in rows[0]]
    if lacking:
        raise _damaged(path, f"column {lacking[0]!r} is missing")
    return rows


def _row(path: Path, cells: Mapping[str, str], classes: Sequence[str]) -> Answer:
    about = f"case {cells['case_id']!r}"
    if not cells["fold"].isdecimal():
        raise _damaged(path, f"the fold of {about} is no number from 0: {cells['fold']!r}")
    if cells["label"] not in classes:
        raise _damaged(path, f"{about} is labelled {cells['label']!r}, which is no class of it")
    scores = {name: _probability(path, about, cells[f"p_{name}"]) for name in classes}
    if not is_most_probable(cells["prediction"], scores):
        raise _damaged(path, f"the prediction of {about} is not its most probable class")
    return Answer(
        cells["patient_id"],
        int(cells["fold"]),
        list(classes).index(cells["label"]),
        tuple(scores.values()),
    )


def _probability(path: Path, about: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1.0:
        raise _damaged(path, f"{about} has a probability that is none: {text!r}")
    return value


def _damaged(path: Path, why: str) -> StorageError:
    return damaged(path, why, _REMEDY)
