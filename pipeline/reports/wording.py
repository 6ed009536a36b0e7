"""Numbers and sentences as a reader meets them."""

from __future__ import annotations

from ..evaluation.intervals import Estimate
from ..evaluation.results import Evaluation

MISSING = "\N{EN DASH}"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with fixed digits, or a dash."""
    return MISSING if value is None else f"{value:.{digits}f}"


def percent(value: float) -> str:
    """A share as whole percent; the blank before the sign breaks no line."""
    return f"{100 * value:.0f}\u00a0%"


def interval(value: Estimate, digits: int = 3) -> str:
    """The two ends of an interval, or a dash."""
    if value.low is None or value.high is None:
        return MISSING
    return f"{number(value.low, digits)} to {number(value.high, digits)}"


def counted(count: int, noun: str) -> str:
    """A count with its noun: 1 case, 2 cases, 3 classes."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def verdict(auroc: Estimate) -> tuple[str, str]:
    """Whether the run shows skill: a kind (good, open, bad) and a short sentence."""
    if auroc.estimate is None:
        return "open", f"No AUROC: {auroc.reason}."
    if auroc.low is None or auroc.high is None:
        return "open", f"No interval: {auroc.reason}."
    if auroc.low > 0.5:
        return "good", "Better than chance: the whole interval lies above 0.5."
    if auroc.high < 0.5:
        return "bad", "Worse than chance: check the labels and how cases were matched to them."
    return "open", "Not shown to be better than chance: the interval includes 0.5."


def headline(result: Evaluation) -> str:
    """What the headline AUROC means, in plain English."""
    auroc = result.metrics["auroc"]
    if auroc.estimate is None:
        return "The AUROC cannot be computed, because no test fold has a case of every class."
    if len(result.classes) == 2:
        first, second = result.classes
        task = (
            f"Given one case labelled “{second}” and one labelled “{first}”, the model gives the "
            f"“{second}” case the higher probability of “{second}”"
        )
    else:
        task = (
            "Given one case of a class and one of any other, the model gives the first the higher "
            "probability of that class"
        )
    span = ""
    if auroc.low is not None and auroc.high is not None:
        span = f" (95 % interval {percent(auroc.low)} to {percent(auroc.high)})"
    often = f"in {percent(auroc.estimate)} of pairs{span}"
    ending = ", averaged over the classes" if len(result.classes) > 2 else ""
    return f"{task} {often}{ending}. Guessing would be right in 50 %: chance is 0.5."


def basis(result: Evaluation, scheme: str, patients_assumed: bool) -> str:
    """What the figures were measured on."""
    if patients_assumed:
        return (
            f"Measured on {counted(result.cases, 'case')}, {counted(len(result.classes), 'class')}"
            "; which cases share a patient is not known."
        )
    amounts = f"{counted(result.cases, 'case')} of {counted(result.patients, 'patient')}"
    classes = counted(len(result.classes), "class")
    if scheme == "official":
        return f"Measured once on the official test set: {amounts}, {classes}."
    return (
        f"Measured on {amounts}, {classes}, {counted(len(result.folds), 'test fold')}: every case "
        "was scored by a model trained without any scan of its patient."
    )
