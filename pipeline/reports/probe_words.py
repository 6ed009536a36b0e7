"""What probes found, in plain English: the verdict, what it cannot tell, and how it was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..evaluation.intervals import Estimate
from ..evaluation.probe_results import FIGURES, ProbeEvaluation, StageResult
from ..evaluation.probes import INNER_FOLDS, KINDS, LOGISTIC, NEIGHBOURS
from .wording import counted, interval, number

PROBE_NAMES = {LOGISTIC: "logistic regression", NEIGHBOURS: "nearest neighbours"}


@dataclass(frozen=True)
class Verdict:
    """The result in words.

    Attributes:
        kind: good, open or bad.
        chip: In a few words.
        sentence: Where the signal is, and whether stages differ from the last.
        best: The stage of the highest AUROC; None where none is defined.
    """

    kind: str
    chip: str
    sentence: str
    best: StageResult | None


def stage_title(item: StageResult) -> str:
    """`Stage 3`, or `All stages`."""
    return "All stages" if item.stage is None else f"Stage {item.stage}"


def figure_text(item: StageResult) -> str:
    """AUROC of both probes in one line."""
    logistic, neighbours = (_with_interval(item.probes[kind].auroc, 3) for kind in KINDS)
    return f"{logistic}; nearest neighbours {neighbours}"


def _with_interval(value: Estimate, digits: int = 2) -> str:
    if value.estimate is None:
        return "not defined"
    span = f"{interval(value, digits)}" if value.low is not None else "no interval"
    return f"{number(value.estimate, digits)} ({span})"


def strongest(found: ProbeEvaluation, kind: str) -> StageResult | None:
    """The single stage of highest AUROC, the earliest of equal ones; None where none is defined."""
    known = [(item.probes[kind].auroc.estimate, item) for item in found.depths]
    defined = [(value, item) for value, item in known if value is not None]
    return max(defined, key=lambda pair: pair[0])[1] if defined else None


def verdict(found: ProbeEvaluation) -> Verdict:
    """The result by logistic regression, which is the main probe."""
    best = strongest(found, LOGISTIC)
    if best is None:
        lacking = "The AUROC cannot be computed, because no test fold has a case of every class."
        return Verdict("open", "No AUROC", lacking, None)
    value = best.probes[LOGISTIC].auroc
    title, figure = stage_title(best).lower(), _with_interval(value)
    against = _against_last(found, best)
    if value.low is None:
        told = f"The AUROC is highest at {title} ({number(value.estimate, 2)}, no interval)"
        return Verdict("open", f"No interval: {value.reason}.", told + against, best)
    if value.low > 0.5:
        told = f"The AUROC is highest at {title}: {figure}"
        looks = len(found.depths)
        widened = best.probes[LOGISTIC].widened_low
        if widened is None or widened <= 0.5:
            chip = (
                f"Not settled: the highest of {looks} stages is above 0.5 by its own interval only."
            )
            return Verdict("open", chip, told + against, best)
        above = f"the interval of {title}, widened for {counted(looks, 'look')}, lies above 0.5."
        return Verdict("good", f"Signal found: {above}", told + against, best)
    if value.high is not None and value.high < 0.5:
        told = f"Every stage ranks below chance; the highest AUROC is {figure} at {title}."
        return Verdict("bad", "Worse than chance: check the labels.", told, best)
    others = [item for item in found.depths if (item.probes[LOGISTIC].auroc.low or 0.0) > 0.5]
    if others:
        told = (
            f"The highest AUROC is that of {title}, {figure}, which cannot be told from chance; "
            f"{_stages(others)} can be."
        )
        return Verdict("open", "Signal found, but not where the AUROC is highest.", told, best)
    told = (
        f"No stage is shown to carry signal: the highest AUROC, {figure} at {title}, cannot be "
        "told from chance"
    )
    return Verdict("open", "Not shown to be better than chance.", told + against, best)


def _against_last(found: ProbeEvaluation, best: StageResult) -> str:
    """Whether stages differ from the last, as the end of a sentence."""
    pairs = [(item, item.probes[LOGISTIC].difference) for item in found.depths]
    known = [(item, d) for item, d in pairs if d is not None]
    if not known:
        return "."
    better = [item for item, d in known if d.low is not None and d.low > 0]
    worse = [item for item, d in known if d.high is not None and d.high < 0]
    undecided = all(d.low is None for _, d in known)
    if undecided:
        return "; the stages cannot be compared, since no difference has an interval."
    if not better and not worse:
        return "; no stage differs from the last beyond chance."
    parts = [
        f"{'it' if items == [best] else _stages(items)} "
        f"{'rank' if len(items) > 1 else 'ranks'} {how}"
        for items, how in ((better, "better"), (worse, "worse"))
        if items
    ]
    return f"; {' and '.join(parts)} than the last stage."


def _stages(items: Sequence[StageResult]) -> str:
    names = [item.name for item in items]
    if len(names) == 1:
        return f"stage {names[0]}"
    return f"stages {', '.join(names[:-1])} and {names[-1]}"


def second_opinion(found: ProbeEvaluation) -> str:
    """What the other probe and all stages together say."""
    best, together = strongest(found, NEIGHBOURS), found.stages[-1].probes[LOGISTIC].auroc
    if best is None:
        return ""
    figure = _with_interval(best.probes[NEIGHBOURS].auroc)
    return (
        f"Nearest neighbours do best at stage {best.name}: {figure}. "
        f"All stages together, by logistic regression: {_with_interval(together)}."
    )


def caution(found: ProbeEvaluation) -> str:
    """Why the best of several figures is too good."""
    stages, looks = len(found.depths), len(found.depths) * len(KINDS)
    if stages < 2:
        return ""
    return (
        f"The highest of {stages} figures is partly luck, so choosing a stage by it flatters that "
        f"stage. Every figure and each of the {looks} comparisons with the last stage has a 95 % "
        "interval of its own, not widened for looking so often: by chance alone about one in "
        "twenty leaves out 0.5, or zero, where nothing is to be found. The verdict at the top "
        f"widens its interval for {counted(stages, 'stage')} (Bonferroni)."
    )


_UNTRAINED = " Random features: a part of the network that made them has random weights."


def basis(found: ProbeEvaluation) -> str:
    """What the figures were measured on."""
    amounts = (
        f"{counted(found.cases, 'test case')} of {counted(found.patients, 'patient')}, "
        f"{counted(len(found.classes), 'class')}"
    )
    if found.scheme == "official":
        return f"Measured once, on the test part of the official split: {amounts}."
    made = ", made by the probe" if found.scheme == "probe" else " of the run"
    if found.origin.weights.keys() == {"network"} and found.scheme != "probe":
        made = " of the file"
    start = _UNTRAINED if found.origin.start == "random" else ""
    return f"Measured on {amounts}, {counted(len(found.folds), 'fold')}{made}.{start}"


def limits(found: ProbeEvaluation) -> list[str]:
    """The limits of this evidence, the gravest first."""
    sentences = []
    if found.trained_on and found.origin.start == "pretraining":
        sentences.append(
            "What fresh training cases would give: the network was pretrained, without labels, on "
            "cases that the probes learn from, and on none that they are tested on."
        )
    elif found.trained_on:
        networks = "each fold's network was" if found.own_models else "the network was"
        sentences.append(
            f"What fresh training cases would give: {networks} trained on the cases that its "
            "probes learn from, so their features may be fitted to their labels, which those of "
            "test cases are not. A late stage suffers most from that, and its figures "
            "can be too low; none is too high for this reason."
        )
    elif found.origin.start == "file":
        sentences.append(
            "Whether the network has seen these cases: its weights come from a file, and if that "
            "was trained on any of them, every figure here is too high."
        )
    else:
        sentences.append(
            "What training would make of these stages: the network that made the features was "
            "trained on none of these cases."
        )
    return [
        *sentences,
        "What a stage holds in its layout: the probes see the mean, the maximum and the standard "
        "deviation of each channel, and not where in the volume something is.",
        "What a stage is worth by itself in another network: wide stages give more "
        "features than narrow ones, and each stage was trained to feed the next.",
        "Signal of a kind that neither a linear boundary nor near neighbours can find.",
        f"Small differences: with {counted(found.patients, 'patient')} a difference whose "
        "interval includes zero is not shown to be zero.",
        "How much training again would change: the intervals cover the choice of test patients "
        "only, and all cases come from one collection.",
        "Whether it is safe to act on. This is research software: not for clinical use.",
    ]


def protocol(found: ProbeEvaluation) -> list[tuple[str, str]]:
    """How it was done, as rows of a table."""
    rows = [
        ("Features", "mean, maximum and standard deviation of each channel of a stage"),
        ("Training rows", _training_rows(found)),
        ("Scaling", "to mean 0 and standard deviation 1, by the training rows of the fold"),
        (
            "Logistic regression",
            "L2 penalty, classes weighted evenly; C from 0.0001 to 100 in steps of ten",
        ),
        (
            "Nearest neighbours",
            "Euclidean distance, neighbours weighted by 1 / distance, not by class; k from 1 to "
            "75, at most half of the inner training rows",
        ),
        (
            "Choice of C and k",
            f"AUROC on {INNER_FOLDS} inner folds of the training rows, by patient (2 or none "
            "where a class has too few patients); of equal ones the stronger penalty or larger k",
        ),
    ]
    last = found.depths[-1].probes[LOGISTIC]
    titles = ("AUROC", "Accuracy", "Balanced accuracy")
    methods = [last.values[name].method for name in FIGURES]
    rows += zip(titles, methods, strict=True)
    compared = found.stages[-1].probes[LOGISTIC].difference
    return [*rows, ("Against the last stage", compared.method)] if compared else rows


def _training_rows(found: ProbeEvaluation) -> str:
    if found.own_models:
        return (
            "for each fold the features that the fold's own network gives of its training part; "
            "features of two networks never meet"
        )
    return "all cases outside the tested fold; one network made all features"
