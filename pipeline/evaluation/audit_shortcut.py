"""What metadata tell of the label, as an audit judges it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from .audit_record import Area, Shortcut
from .comparison_results import LEVEL, Standing
from .competitors import METADATA, Competitor
from .paired_tests import perfect_by_chance
from .results import evaluate


@dataclass(frozen=True, eq=False)
class Judged:
    """A baseline that reads metadata.

    Attributes:
        answers: Its answers, out of fold.
        p: How often the same metadata tell shuffled labels as well; None where nothing is ranked.
    """

    answers: Competitor
    p: float | None


def judged_shortcut(
    whole: Judged, header: Judged, key: str, *, resamples: int, seed: int
) -> Shortcut:
    """Judges the answers of the metadata baselines: with the range of grey values, and without.

    Either tells the label where its interval lies above 0.5 and its permutation test rejects
    chance, at half the level each, for there are two looks. The interval alone is too short where
    patients are few, since folds learn from each other's cases.

    Args:
        whole: The baseline that reads the lowest and highest grey value too.
        header: The one that does not.
        key: Of all that decides them.
        resamples: Bootstrap resamplings of the interval.
        seed: Of the resamplings.
    """
    areas, tells = [], False
    for found in (whole, header):
        scored, card = found.answers.scored, found.answers.card
        auroc = evaluate(scored, resamples=resamples, seed=seed).metrics["auroc"]
        standing = Standing(card.title, card, {"auroc": auroc}, perfect_by_chance(scored))
        areas.append(Area(**asdict(auroc)))
        tells |= standing.tells_by_metadata and found.p is not None and found.p < LEVEL / 2
    return Shortcut(
        key=key,
        auroc=areas[0],
        p=whole.p,
        header=areas[1],
        header_p=header.p,
        folds=len(np.unique(whole.answers.scored.folds)),
        tells=tells,
        notes=tuple(note for note in whole.answers.card.notes if note != METADATA),
    )
