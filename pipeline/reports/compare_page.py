"""The page of `volclass report RUN RUN ...`: who is best, and better than whom beyond chance."""

from __future__ import annotations

from dataclasses import dataclass, replace

from markupsafe import Markup

from ..evaluation.comparison_results import TESTS, ComparisonEvaluation, Pair, Standing
from ..evaluation.intervals import Estimate
from .compare_plot import Line, Look, forest_plot
from .compare_words import (
    basis,
    chip,
    kind_of,
    limits,
    lost,
    marks,
    protocol,
    sentence,
    tags,
    warnings,
)
from .page import template_environment
from .wording import MISSING, interval, number

_JUDGED = {"open": "not told apart", "better": "worse", "undefined": "cannot be compared"}
#: How strongly a cell of the matrix is coloured.
_SHARES = {"better": 0.6, "open": 0.0, "undefined": 0.0}

Pairing = tuple[str, str]


@dataclass(frozen=True)
class Row:
    """One competitor, as text; `marks` are what nobody may overlook."""

    rank: int
    title: str
    kind: str
    tags: tuple[str, ...]
    marks: tuple[str, ...]
    auroc: Pairing
    accuracy: Pairing
    brier: str
    ece: str
    difference: Pairing
    p: str
    judged: str


@dataclass(frozen=True)
class Cell:
    """AUROC of the row minus that of the column, as text, its p, and how it is coloured."""

    difference: str
    p: str
    tone: str
    share: float


@dataclass(frozen=True)
class PairRow:
    """Two competitors and everything that was computed of them, as text."""

    names: Pairing
    auroc: Pairing
    p: str
    p_holm: str
    accuracy: Pairing
    accuracy_p: str
    tests: tuple[str, ...]


def render_comparison_page(found: ComparisonEvaluation) -> str:
    """The page as HTML: one file, no script, nothing from outside; names are escaped.

    Args:
        found: The figures.
    """
    return template_environment().get_template("compare.html").render(
        found=found,
        best=found.standings[0],
        leaders=" and ".join(item.title for item in found.equal_best),
        chip=chip(found),
        sentence=sentence(found),
        lost=lost(found),
        warnings=warnings(found),
        basis=basis(found),
        rows=[_row(found, place) for place in range(len(found.standings))],
        areas=area_drawing(found),
        differences=difference_drawing(found),
        matrix=matrix(found),
        pairs=[_pair_row(found, pair) for pair in found.pairs],
        limits=limits(found),
        protocol=protocol(found),
    )  # fmt: skip


def area_drawing(found: ComparisonEvaluation) -> Markup:
    """AUROC of all, and the same in words."""
    told = "; ".join(f"{item.title} {_told(item.auroc)}" for item in found.standings)
    lines = [Line(item.title, item.auroc, _look(item)) for item in found.standings]
    alt = f"AUROC with 95 % intervals; chance is 0.5. {told}"
    return forest_plot(lines, "areas", alt, label="AUROC", reference=0.5, bounded=True)


def difference_drawing(found: ComparisonEvaluation) -> Markup:
    """AUROC of each against the best, and the same in words."""
    lines = []
    for place, item in enumerate(found.standings):
        pair = found.against_best(place)
        value = turned(pair.auroc) if pair else Estimate(0.0, None, None, "the best itself")
        lines.append(Line(item.title, value, _look(item)))
    told = "; ".join(f"{line.name} {_told(line.value)}" for line in lines[1:])
    alt = f"AUROC minus that of the best, with paired 95 % intervals. {told}"
    label = "AUROC minus that of the best"
    return forest_plot(lines, "differences", alt, label=label, reference=0.0, bounded=False)


def matrix(found: ComparisonEvaluation) -> list[list[Cell]]:
    """Every competitor against every other, in the order of the ranking."""
    count = len(found.standings)
    table = [[Cell("", "", "", 0.0)] * count for _ in range(count)]
    for pair in found.pairs:
        share = _SHARES[pair.judgement]
        p = p_text(pair.p_holm)
        table[pair.first][pair.second] = Cell(_signed(pair.auroc)[0], p, "hit", share)
        table[pair.second][pair.first] = Cell(_signed(turned(pair.auroc))[0], p, "miss", share)
    return table


def turned(value: Estimate) -> Estimate:
    """The difference the other way round."""
    ends = [None if end is None else 0.0 - end for end in (value.estimate, value.high, value.low)]
    return replace(value, estimate=ends[0], low=ends[1], high=ends[2])


def p_text(value: float | None) -> str:
    """A p-value with three digits, or a dash."""
    if value is None:
        return MISSING
    return "<\u00a00.001" if value < 0.001 else number(value)


def _row(found: ComparisonEvaluation, place: int) -> Row:
    item, pair = found.standings[place], found.against_best(place)
    figures = item.figures
    return Row(
        rank=place + 1,
        title=item.title,
        kind=kind_of(item.card),
        tags=tuple(tags(item.card)),
        marks=marks(item),
        auroc=_pairing(item.auroc),
        accuracy=_pairing(figures["accuracy"]),
        brier=number(figures["brier"].estimate),
        ece=number(figures["ece"].estimate),
        difference=_signed(turned(pair.auroc)) if pair else ("", ""),
        p=p_text(pair.p_holm) if pair else "",
        judged=_judged(pair) if pair else "best",
    )


def _judged(pair: Pair) -> str:
    return "equal" if pair.is_tie else _JUDGED[pair.judgement]


def _pair_row(found: ComparisonEvaluation, pair: Pair) -> PairRow:
    return PairRow(
        names=(found.standings[pair.first].title, found.standings[pair.second].title),
        auroc=_signed(pair.auroc),
        p=p_text(pair.p),
        p_holm=p_text(pair.p_holm),
        accuracy=_signed(pair.accuracy),
        accuracy_p=p_text(pair.accuracy_p),
        tests=tuple(p_text(pair.tests[name].value) for name in TESTS),
    )


def _look(item: Standing) -> Look:
    if item.card.kind != "network":
        return "other"
    return "volume" if item.card.is_volume_network else "slices"


def _pairing(value: Estimate) -> Pairing:
    return number(value.estimate), interval(value) if value.low is not None else "no interval"


def _signed(value: Estimate) -> Pairing:
    if value.estimate is None:
        return MISSING, ""
    if value.low is None or value.high is None:
        return f"{value.estimate:+.3f}", "no interval"
    return f"{value.estimate:+.3f}", f"{value.low:+.3f} to {value.high:+.3f}"


def _told(value: Estimate) -> str:
    return " ".join(_pairing(value)) if value.estimate is not None else "not defined"
