"""Tables of the rungs of a ladder, in Markdown: each seed for itself, all together, and pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .evaluation.comparison_results import ComparisonEvaluation, Standing
from .evaluation.intervals import Estimate
from .evaluation.seed_figures import SeedFigures


@dataclass(frozen=True, slots=True)
class Difference:
    """AUROC of a rung minus that of the reference, of all seeds together.

    Attributes:
        value: The difference.
        low: Lower end of its 95 % interval over patients; None where there is none.
        high: Upper end.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class RungFigures:
    """A rung.

    Attributes:
        standing: All its seeds together, as the comparison has them.
        seeds: Each for itself.
        difference: To the reference; None of the reference itself, or where undefined.
    """

    standing: Standing
    seeds: SeedFigures
    difference: Difference | None


def difference(found: ComparisonEvaluation, place: int, reference: int) -> Difference | None:
    """What a rung's AUROC is above that of the reference, with its interval."""
    for pair in found.pairs:
        auroc = pair.auroc
        if auroc.estimate is None or {pair.first, pair.second} != {place, reference}:
            continue
        if pair.first == place:
            return Difference(auroc.estimate, auroc.low, auroc.high)
        low = None if auroc.high is None else -auroc.high
        return Difference(-auroc.estimate, low, None if auroc.low is None else -auroc.low)
    return None


def rung_rows(rungs: Sequence[RungFigures], reference: str) -> list[str]:
    """The head of the table, and a row for each rung.

    Args:
        rungs: In the order of the ladder.
        reference: Title of the rung that all others are held against.
    """
    return [
        "| method | AUROC, mean of seeds | accuracy, mean of seeds | AUROC, seeds together "
        f"| accuracy, seeds together | AUROC above {reference} |",
        "|---|---|---|---|---|---|",
        *map(_row, rungs),
    ]


def _row(rung: RungFigures) -> str:
    seeds, figures = rung.seeds, rung.standing.figures
    cells = (
        rung.standing.title,
        _mean(seeds.mean_auroc, seeds.auroc_deviation),
        _mean(seeds.mean_accuracy, seeds.accuracy_deviation),
        _with_interval(figures["auroc"]),
        _with_interval(figures["accuracy"]),
        _signed(rung.difference),
    )
    return f"| {' | '.join(cells)} |"


def _mean(value: float, deviation: float | None) -> str:
    return f"{value:.3f}" if deviation is None else f"{value:.3f} ± {deviation:.3f}"


def _with_interval(figure: Estimate) -> str:
    if figure.estimate is None:
        return "undefined"
    if figure.low is None or figure.high is None:
        return f"{figure.estimate:.3f}"
    return f"{figure.estimate:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _signed(item: Difference | None) -> str:
    if item is None:
        return ""
    if item.low is None or item.high is None:
        return f"{item.value:+.3f}"
    return f"{item.value:+.3f} ({item.low:+.3f} to {item.high:+.3f})"
