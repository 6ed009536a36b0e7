"""The mean probability of several competitors on the same cases and folds, as one more of them.

Equal weights: nothing is learnt, so nothing can be learnt from the test parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .compare import read_entry
from .evaluation.cases import ScoredCases
from .evaluation.competitors import (
    DISGUISED,
    MIXED,
    Card,
    Competitor,
    check_place,
    write_competitor,
)
from .evaluation.same_cases import aligned
from .evaluation.seed_figures import scored_by_seed, together
from .storage import make_folder, read_table, write_table

SEEDS = "seeds.csv"


def run_ensemble(folder: Path, parts: Sequence[Path], title: str) -> None:
    """Averages what finished competitors answered, and leaves a competitor.

    Where several of them have answers by seed, equal seeds are averaged with each other too, into
    `seeds.csv`; one without seeds counts in all of them.

    Args:
        folder: Where it is left.
        parts: Folders of the competitors, two or more.
        title: As the comparison shows it.

    Raises:
        ConfigError: A folder holds no competitor, or `folder` somebody else's answers.
        DataError: Cases, folds, labels or patients differ.
        StorageError: A file is damaged or cannot be written.
    """
    check_place(folder, "ensemble")
    read = {part.name: read_entry(part).answers for part in parts}
    same = dict(zip(read, aligned(read), strict=True))
    first = next(iter(same.values()))
    card = _card(title, {name: item.card for name, item in same.items()})
    make_folder(folder)
    _write_seeds(folder / SEEDS, parts, [*same.values()])
    mean = together([item.scored for item in same.values()])
    write_competitor(folder, card, first.case_ids, mean)


def _card(title: str, parts: Mapping[str, Card]) -> Card:
    """What the ensemble is: in doubt as soon as a part is, and 3D only where all of it is."""
    cards = [*parts.values()]
    volumes = [card.network for card in cards if card.looks_at_volumes]
    whole = len(volumes) == len(cards)
    inherited = {note for card in cards for note in card.notes} & {DISGUISED, MIXED}
    if volumes and not whole:
        inherited.add(MIXED)
    return Card(
        title=title,
        kind="ensemble",
        network=volumes[0] if whole else None,
        initial="file" if any(card.rests_on_a_file for card in cards) else None,
        untrained_parts=tuple(
            f"{name}: {text}" for name, card in parts.items() for text in _untrained(card)
        ),
        folds=cards[0].folds,
        notes=(f"mean of {', '.join(parts)}", *sorted(inherited)),
    )


def _untrained(card: Card) -> tuple[str, ...]:
    return (*card.untrained_parts, *(("random features",) if card.is_untrained else ()))


def answers_by_seed(folder: Path, answers: Competitor) -> dict[int, ScoredCases]:
    """What a competitor answered by seed, in the order of its case ids; one seed where it has one.

    Args:
        folder: Of the competitor.
        answers: What it answered in all.

    Raises:
        StorageError: A file is damaged.
    """
    files = sorted([*folder.glob(f"fold_*/{SEEDS}"), *folder.glob(SEEDS)])
    rows = [row for file in files for row in read_table(file)]
    if not rows:
        return {0: answers.scored}
    found = scored_by_seed(rows, answers.scored.classes)
    # A fold that was trained with one network only has no such file.
    whole = all(len(item) == len(answers.scored) for item in found.values())
    return found if whole else {0: answers.scored}


def _write_seeds(path: Path, parts: Sequence[Path], same: Sequence[Competitor]) -> None:
    seeds = [answers_by_seed(part, item) for part, item in zip(parts, same, strict=True)]
    count = max(map(len, seeds))
    if count == 1:
        return
    rows: list[dict[str, object]] = []
    for seed in range(count):
        mean = together([item.get(seed, item[0]) for item in seeds])
        for place, case_id in enumerate(same[0].case_ids):
            rows.append(
                {
                    "seed": seed,
                    "case_id": case_id,
                    "patient_id": str(mean.patients[place]),
                    "fold": int(mean.folds[place]),
                    "label": mean.classes[mean.labels[place]],
                    **{
                        f"p_{name}": float(value)
                        for name, value in zip(mean.classes, mean.probabilities[place], strict=True)
                    },
                }
            )
    write_table(path, list(rows[0]), rows)
