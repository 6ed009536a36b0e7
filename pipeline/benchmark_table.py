"""The tables of the MedMNIST benchmark, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .evaluation.comparison_results import ComparisonEvaluation, Standing
from .evaluation.intervals import Estimate
from .evaluation.published import PUBLISHED
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


@dataclass(frozen=True, eq=False)
class SetFigures:
    """A set.

    Attributes:
        name: As MedMNIST calls it.
        counts: Cases of the official training, validation and test part.
        rules: What was decided before, in words.
        rungs: In the order of the ladder.
    """

    name: str
    counts: tuple[int, ...]
    rules: Sequence[str]
    rungs: Sequence[RungFigures]


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


def table_lines(sets: Sequence[SetFigures], missing: Sequence[str], size: int) -> list[str]:
    """All tables, with what they mean.

    Args:
        sets: What was run.
        missing: Names of the sets that were not there.
        size: Voxels along each axis.
    """
    absent = f"Not at hand when this was written: {', '.join(missing)}." if missing else ""
    lines = [
        "Written by `make benchmark-medmnist`: official splits, one recipe for all sets",
        "(`configs/benchmarks/medmnist3d.yaml`), checkpoints chosen on the validation part; a test",
        "case meets a network when it has been trained. Mean and deviation over the seeds; beside",
        "them all seeds together (their mean probability), with 95 % intervals over cases, for",
        "MedMNIST publishes no patients; and that AUROC's difference to the reference, PoolFormer",
        "nano. The histogram weighs the classes evenly, all others answer at their shares, so its",
        "accuracy is lower than it could be where a class is rare.",
        *([absent] if absent else []),
        "",
    ]
    for item in sets:
        lines += [*_one(item, with_published=size == 28), ""]
    return lines


def _one(item: SetFigures, *, with_published: bool) -> list[str]:
    parts = " / ".join(map(str, item.counts))
    published = [
        f"| {row.method} (published) | {row.figures[item.name][0]:.3f} "
        f"| {row.figures[item.name][1]:.3f} | | | |"
        for row in PUBLISHED
        if with_published
    ]
    return [
        f"### {item.name}",
        "",
        f"{parts} cases for training, validation and test. {' '.join(item.rules)}",
        "",
        "| method | AUROC, mean of seeds | accuracy, mean of seeds | AUROC, seeds together "
        "| accuracy, seeds together | AUROC above nano |",
        "|---|---|---|---|---|---|",
        *(_row(rung) for rung in item.rungs),
        *published,
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
