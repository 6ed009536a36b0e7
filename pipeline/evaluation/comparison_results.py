"""What a comparison of competitors found: who stands where, and every pair; its form as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from pydantic import JsonValue

from .competitors import Card
from .intervals import Estimate
from .paired_tests import PValue

FORMAT = 1
#: A pair is told apart below this adjusted p.
LEVEL = 0.05
#: Figures of the table, in its order.
FIGURES = ("auroc", "accuracy", "brier", "ece")
#: Tests that stand beside the one that decides.
TESTS = ("delong", "mcnemar", "resampled_t")

Judgement = Literal["better", "open", "undefined"]


@dataclass(frozen=True, eq=False)
class Standing:
    """A competitor in the ranking.

    Attributes:
        title: Unique here.
        card: Who it is.
        figures: Those of the table.
        by_chance: How likely answers that know nothing rank these cases perfectly, in 0..1.
    """

    title: str
    card: Card
    figures: Mapping[str, Estimate]
    by_chance: float = 0.0

    @property
    def auroc(self) -> Estimate:
        """Mean over the folds."""
        return self.figures["auroc"]

    @property
    def tells_by_metadata(self) -> bool:
        """Whether it looks at no voxel and yet ranks the cases better than chance.

        A perfect ranking has no interval, and one of a handful of patients is often luck: where
        even perfection would come by chance in 5 % of data sets or more, nothing is told.
        """
        auroc = self.auroc
        above = auroc.estimate == 1.0 if auroc.low is None else auroc.low > 0.5
        return self.card.is_metadata and above and self.by_chance < LEVEL


@dataclass(frozen=True, eq=False)
class Pair:
    """Two competitors by their places in the ranking, counted from 0; `first` ranks higher.

    Attributes:
        first: Place of one.
        second: Place of the other.
        auroc: Its AUROC, mean over folds, minus that of the other.
        accuracy: The same of the accuracy.
        p: Two-sided, of the AUROC, by resampling patients; None where it is not defined.
        p_holm: The same, adjusted for all pairs.
        accuracy_p: Two-sided, of the accuracy, by resampling patients; not adjusted.
        tests: Those of `TESTS`.
    """

    first: int
    second: int
    auroc: Estimate
    accuracy: Estimate
    p: float | None
    p_holm: float | None
    accuracy_p: float | None
    tests: Mapping[str, PValue]

    @property
    def is_tie(self) -> bool:
        """Whether both have the same AUROC."""
        return self.auroc.estimate == 0.0

    @property
    def judgement(self) -> Judgement:
        """Whether the first is shown to be better than the second; it is never shown worse."""
        if self.p_holm is None:
            return "undefined"
        return "better" if self.p_holm < LEVEL else "open"


@dataclass(frozen=True, eq=False)
class ComparisonEvaluation:
    """All that is known of how competitors differ.

    Attributes:
        cases: Number of cases.
        patients: Number of patients.
        classes: In column order.
        folds: Number of test folds.
        resamples: Bootstrap resamplings of the differences, the same for every pair.
        seed: Of the resamplings.
        standings: Highest AUROC first; those without one last; equal ones by title.
        pairs: Every pair, in the order of the ranking.
    """

    cases: int
    patients: int
    classes: tuple[str, ...]
    folds: int
    resamples: int
    seed: int
    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]

    @property
    def equal_best(self) -> tuple[Standing, ...]:
        """Those whose AUROC is the highest; more than one where they are equal to rounding."""
        ties = [
            item
            for place, item in enumerate(self.standings)
            if (pair := self.against_best(place)) is None or pair.is_tie
        ]
        return tuple(ties)

    @property
    def single_cases(self) -> bool:
        """Whether each case is of a patient of its own."""
        return self.cases == self.patients

    def against_best(self, place: int) -> Pair | None:
        """The pair of the first and the one at `place`; None for the first itself."""
        return self.pairs[place - 1] if place else None

    def as_json(self) -> dict[str, JsonValue]:
        """The content of `comparison.json`."""
        return {
            "format": FORMAT,
            "kind": "comparison",
            "cases": self.cases,
            "patients": self.patients,
            "classes": list(self.classes),
            "folds": self.folds,
            "resamples": self.resamples,
            "seed": self.seed,
            "competitors": [
                _standing_json(place, item) for place, item in enumerate(self.standings)
            ],
            "pairs": [_pair_json(item, self.standings) for item in self.pairs],
        }


def _standing_json(place: int, item: Standing) -> dict[str, JsonValue]:
    card = cast("dict[str, JsonValue]", item.card.model_dump(mode="json", exclude={"format"}))
    metrics: dict[str, JsonValue] = {name: value.as_json() for name, value in item.figures.items()}
    return {"rank": place + 1, **card, "title": item.title, "metrics": metrics}


def _pair_json(item: Pair, standings: Sequence[Standing]) -> dict[str, JsonValue]:
    return {
        "first": standings[item.first].title,
        "second": standings[item.second].title,
        "judgement": item.judgement,
        "auroc": {**item.auroc.as_json(), "p": item.p, "p_holm": item.p_holm},
        "accuracy": {**item.accuracy.as_json(), "p": item.accuracy_p},
        "tests": {
            name: {"p": test.value, "reason": test.reason} for name, test in item.tests.items()
        },
    }
