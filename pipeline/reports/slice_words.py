"""What is said of the slices of a run: what is seen, and how to read what is drawn."""

from __future__ import annotations

import numpy as np

from ..evaluation.cases import FloatArray
from .run_files import RunFiles
from .slices import SliceTable
from .wording import counted, percent

#: A mean weight of less than this many even shares stands out from nothing.
STANDS_OUT = 1.25
_AVERAGED = {
    "mean": "the pool takes the mean over slices",
    "gru": "the pool takes the mean over the states of its recurrent units",
    "transformer": "the pool takes the mean over the states of its transformer",
}
_WEIGHT = "Weight: the share of a slice in the answer; the weights of a case sum to 1."
_WON = "Weight: the share of the features that a slice wins by having their largest value."


def class_prior(run: RunFiles) -> FloatArray:
    """What a network would answer that knows nothing of a case, shape (K,), with the sum 1.

    The shares of the classes in the run, or equal chances where training balances the classes.
    """
    count = len(run.plan.classes)
    if _is_balanced(run):
        return np.full(count, 1.0 / count)
    labels = [entry.label for entry in run.plan.cases.values()]
    shares = np.asarray([labels.count(name) for name in run.plan.classes], dtype=np.float64)
    result: FloatArray = shares / shares.sum()
    return result


def seen_words(run: RunFiles, table: SliceTable) -> str:
    """What is seen over all cases, in a sentence; it makes nothing of weights near even."""
    count = table.weights.shape[1]
    if count == 1:
        return "The network reads one slice of each case, so there is no other to compare it with."
    if table.equal:
        reason = _AVERAGED.get(run.config.get("model.slices.pool", ""), "the pool takes all alike")
        return (
            f"Every slice has the same weight, because {reason}: the weights say nothing, and "
            "shown is only what each slice says alone."
        )
    mean = table.weights.mean(axis=0)
    top, even = int(mean.argmax()), 1.0 / count
    axis, index = table.place(top)
    times = float(mean[top]) * count
    within = float(table.weights.max(axis=1).mean()) * count
    cases = counted(len(table.weights), "case")
    if times >= STANDS_OUT:
        return (
            f"{opened(axis.name)} slice {index} of {axis.length} weighs most: on average over "
            f"{cases} {share_words(float(mean[top]))} of the weight, {times:.1f} times an even "
            f"share of {share_words(even)}."
        )
    changing = (
        f" In a single case the heaviest slice has on average {within:.1f} even shares, but not "
        "at the same place from case to case."
        if within >= 2 * STANDS_OUT - 1
        else ""
    )
    return (
        f"No slice stands out: on average over {cases} the weights are close to even, and the "
        f"heaviest, {axis.name} slice {index} of {axis.length}, has {times:.2f} times an even "
        f"share of {share_words(even)}.{changing}"
    )


def reading_words(run: RunFiles, *, equal: bool) -> tuple[str, ...]:
    """How to read the curves, one sentence or two each.

    Args:
        run: The run.
        equal: Whether every slice weighs the same, so that no weights are drawn.
    """
    won = run.config.get("model.slices.pool") == "max"
    weight = (
        ()
        if equal
        else (
            f"{_WON if won else _WEIGHT} Dashed: an even share. A slice that lies high here is "
            "heard.",
        )
    )
    summed = ", half the sum over the classes" if len(run.plan.classes) > 2 else ""
    return (
        *weight,
        f"|p - prior|: how far the slice's own probabilities are from the prior{summed}. The "
        f"prior: {_prior_words(run)}. At 0 the slice says nothing; far away it says much, "
        "which need not be right.",
        "Lines are means over all cases, each answered by the network that had not seen it; bands "
        "hold the middle half of the cases. Slices count from 0 in the volume as the network saw "
        "it.",
    )


def share_words(value: float) -> str:
    """A share as percent, small ones with a decimal."""
    return percent(value) if value >= 0.0995 else f"{100 * value:.1f}\u00a0%"


def opened(text: str) -> str:
    """A text as it begins a sentence."""
    return text[0].upper() + text[1:]


def _is_balanced(run: RunFiles) -> bool:
    return "balanced" in (run.config.get("train.class_weights"), run.config.get("train.sampler"))


def _prior_words(run: RunFiles) -> str:
    return (
        "equal chances of all classes, as training balanced them"
        if _is_balanced(run)
        else "the shares of the classes in this run"
    )
