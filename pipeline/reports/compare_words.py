"""What a comparison found, in plain English: the verdict, its limits, and how it was computed."""

from __future__ import annotations

from collections.abc import Sequence

from ..evaluation.comparison_results import LEVEL, ComparisonEvaluation, Pair, Standing
from ..evaluation.competitors import CLINICAL, DISGUISED, METADATA, Card
from .wording import counted, interval, number

_STARTS = {
    "random": "untrained: random features",
    "pretrained": "pretrained features",
    "file": "features of a file's network",
}


#: Notes that are shown as marks.
_MARKED = (METADATA, CLINICAL, DISGUISED)


def kind_of(card: Card) -> str:
    """What a competitor is, in a word or two."""
    if card.kind != "network" or card.network is None:
        return card.kind
    return "3D network" if card.is_volume_network else "2D slices"


def tags(card: Card) -> list[str]:
    """What else to know of a competitor, beside its title; `marks` are shown apart."""
    start = _STARTS.get(card.start or "") if not card.is_untrained else None
    named = [name for name in (card.network, start) if name]
    return [*named, *(note for note in card.notes if note not in _MARKED)]


def marks(item: Standing) -> tuple[str, ...]:
    """What nobody may overlook of a competitor."""
    found = ["random features"] if item.card.is_untrained else []
    found += ["random parts"] if item.card.untrained_parts and not found else []
    found += ["no voxels"] if item.card.is_metadata or item.card.is_clinical else []
    found += [DISGUISED] if item.card.is_disguised else []
    return tuple(found + (["shortcut"] if item.tells_by_metadata else []))


def line_of(place: int, item: Standing) -> str:
    """A competitor for the console: rank, title, kind, AUROC and accuracy."""
    start = _STARTS.get(item.card.start or "")
    what = f"{kind_of(item.card)}, {start}" if start else kind_of(item.card)
    auroc, accuracy = item.auroc, item.figures["accuracy"]
    area = f"AUROC {number(auroc.estimate)}" if auroc.estimate is not None else "no AUROC"
    span = f" ({interval(auroc)})" if auroc.low is not None else ""
    return f"{place + 1}. {item.title} ({what}): {area}{span}, accuracy {number(accuracy.estimate)}"


def _spoken(item: Standing) -> str:
    """The AUROC for use within brackets."""
    span = interval(item.auroc, 2) if item.auroc.low is not None else "no interval"
    return f"AUROC {number(item.auroc.estimate, 2)}, {span}"


def sentence(found: ComparisonEvaluation) -> str:
    """Which is best, which it is not significantly better than, and which it is better than."""
    best = found.standings[0]
    if best.auroc.estimate is None:
        return "None is best: no AUROC is defined, because no test fold has a case of every class."
    by_judgement: dict[str, list[str]] = {"open": [], "better": [], "undefined": []}
    for place, item in enumerate(found.standings):
        if (pair := found.against_best(place)) and not pair.is_tie:
            by_judgement[pair.judgement].append(item.title)
    beginnings = {
        "open": "it is not significantly better than",
        "better": "it is better than",
        "undefined": "it cannot be compared with",
    }
    parts = [
        f"{beginnings[key]} {', '.join(names)}" for key, names in by_judgement.items() if names
    ]
    ties = [item.title for item in found.equal_best]
    if len(ties) == 1:
        return "; ".join([f"{best.title} is best ({_spoken(best)})", *parts]) + "."
    parts = [f"{best.title} {part.removeprefix('it ')}" for part in parts]
    return "; ".join([f"{_joined(ties)} are equal and best ({_spoken(best)})", *parts]) + "."


def _joined(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def lost(found: ComparisonEvaluation) -> str:
    """Says that 3D lost, where slices or a baseline rank above everything 3D; else nothing.

    A tie is no defeat. A probe of 3D features that ranks above them is 3D, too, and has not lost.
    """
    trained = [n for n, item in enumerate(found.standings) if item.card.is_volume_network]
    others = [n for n, item in enumerate(found.standings) if _needs_no_volume(item)]
    if not trained or not others or others[0] > trained[0]:
        return ""
    winner, loser = found.standings[others[0]], found.standings[trained[0]]
    if winner.auroc.estimate is None or _is_reached_by_volumes(found, others[0]):
        return ""
    pair = _pair(found, others[0], trained[0])
    beyond = {
        "better": "The difference is significant.",
        "open": "The difference is not significant: 3D has not been shown to be worse, but it has "
        "not earned its cost.",
        "undefined": "Whether the difference is chance cannot be computed.",
    }[pair.judgement]
    return (
        f"3D lost: {winner.title} ({kind_of(winner.card)}, {_spoken(winner)}) ranks above "
        f"every trained 3D network, the best of which is {loser.title} ({_spoken(loser)}). {beyond}"
    )


def _is_reached_by_volumes(found: ComparisonEvaluation, place: int) -> bool:
    """Whether something that looks at volumes ranks above a place, or equals it."""
    return any(
        item.card.looks_at_volumes and (other < place or _pair(found, place, other).is_tie)
        for other, item in enumerate(found.standings)
    )


def _pair(found: ComparisonEvaluation, first: int, second: int) -> Pair:
    return next(pair for pair in found.pairs if (pair.first, pair.second) == (first, second))


def _needs_no_volume(item: Standing) -> bool:
    return item.card.needs_no_volume


def warnings(found: ComparisonEvaluation) -> tuple[str, ...]:
    """What puts results in doubt, one sentence a reason."""
    shortcuts = tuple(
        f"Shortcut: the label can be told from metadata alone, without looking at voxels "
        f"({item.title}: {_spoken(item)}). Scanner, site or spacing may be confounded "
        "with the label, and a network can read them from the voxels too. All results are in "
        "doubt."
        for item in found.standings
        if item.tells_by_metadata
    )
    return (*shortcuts, *_disguises(found))


def _disguises(found: ComparisonEvaluation) -> tuple[str, ...]:
    told = [f"{item.title}: {_spoken(item)}" for item in found.standings if item.card.is_disguised]
    if not told:
        return ()
    return (
        "Label in disguise: clinical variables tell the label without any image, as if they had "
        "been made of it. What reads them means nothing, and cannot be compared with what does "
        f"not ({'; '.join(told)}).",
    )


def chip(found: ComparisonEvaluation) -> tuple[str, str]:
    """The verdict as a kind (good, open, bad) and a few words."""
    if any(item.tells_by_metadata for item in found.standings):
        return "bad", "All results are in doubt: the label can be told from metadata."
    if warnings(found):
        return "bad", "Clinical variables are the label in disguise: what reads them is in doubt."
    if found.standings[0].auroc.estimate is None:
        return "open", "No AUROC is defined."
    others = len(found.standings) - 1
    behind = sum(pair.judgement == "better" for pair in found.pairs[:others])
    if behind == others:
        return "good", "A clear winner: better than all others beyond chance."
    if not behind:
        return "open", "No winner: the best is not told apart from any other."
    return "open", f"A shared lead: the best is told apart from {behind} of {others} others only."


def basis(found: ComparisonEvaluation) -> str:
    """What was compared on what."""
    folds = "one test set" if found.folds == 1 else f"the same {found.folds} test folds"
    return (
        f"All {len(found.standings)} answered the same {counted(found.cases, 'case')} of "
        f"{counted(found.patients, 'patient')}, {counted(len(found.classes), 'class')}, on {folds}."
    )


def limits(found: ComparisonEvaluation) -> list[str]:
    """The limits of this evidence, the gravest first."""
    rest = []
    started = [item.title for item in found.standings if item.card.rests_on_a_file]
    if started:
        rest.append(
            "Whether weights from a file have seen these cases: if so, what they took part in is "
            f"too good ({', '.join(started)})."
        )
    rest += [
        f"What {item.title} could reach: {' '.join(item.card.untrained_parts)}"
        for item in found.standings
        if item.card.untrained_parts
    ]
    return [
        "That two are equally good: a difference that is not significant is not shown to be zero. "
        f"With {counted(found.patients, 'patient')} only large differences can be shown.",
        "What the best of several will reach on new cases: the highest of "
        f"{len(found.standings)} figures is partly luck, so its AUROC flatters it.",
        "How much training again would change: the intervals cover the choice of test patients "
        "only, not other seeds, nor settings that were tuned for one and not for another.",
        *rest,
        "Whether the ranking holds elsewhere: all cases come from one collection.",
        "Whether it is safe to act on. This is research software: not for clinical use.",
    ]


def protocol(found: ComparisonEvaluation) -> list[tuple[str, str]]:
    """How it was computed and what is assumed, as rows of a table."""
    several = "" if len(found.classes) == 2 else ", mean of each class against the rest"
    shown = "shown where it applies" if found.single_cases else "not shown here"
    return [
        ("Same cases", "every case has the same patient, label and fold in all; refused otherwise"),
        ("AUROC", f"mean over the test folds{several}; accuracy, Brier and ECE pool all cases"),
        (
            "Differences",
            f"paired: {found.resamples} resamplings of whole patients within their folds, the "
            "same for all; 95 % percentile intervals. Assumed: patients are independent",
        ),
        (
            "p, which decides",
            "two-sided, from the same resamplings of the AUROC: twice the smaller share on one "
            "side of zero; never below what a sign test of so many patients can give",
        ),
        (
            "Many pairs",
            f"p is adjusted for all {counted(len(found.pairs), 'pair')} (Holm 1979), because which "
            f"one is best is known only after the fact. Significant: adjusted p below {LEVEL:g}. "
            "Intervals are not widened",
        ),
        (
            "DeLong",
            "placement values of the cases (DeLong et al. 1988; Sun & Xu 2014), mean over folds. "
            f"Assumed: one case a patient and two classes; {shown}",
        ),
        (
            "McNemar",
            "exact binomial test of the cases that only one of two gets right, at the most "
            f"probable class. Assumed: one case a patient; with two classes; {shown}",
        ),
        (
            "Resampled t",
            "corrected for overlapping training parts (Nadeau & Bengio 2003): variance times 1/k "
            "+ test/training cases, k - 1 degrees of freedom. Assumed: differences of folds are "
            "roughly normal; few folds give little power",
        ),
    ]
