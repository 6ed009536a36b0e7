"""What a report cannot tell: said for this run, from its own numbers."""

from __future__ import annotations

from collections import defaultdict

from ..evaluation.results import Evaluation
from .run_files import RunFiles
from .start import started_from_a_file
from .wording import counted, number, percent

_FEW_PATIENTS = 30


def limits(run: RunFiles, result: Evaluation) -> list[str]:
    """The limits of this run's evidence, one sentence or two each, the gravest first."""
    return [
        *_unfinished(run),
        *_covariates(run),
        *_start(run),
        *_precision(result),
        *_collection(run),
        *_models(run, result),
        *_calibration(result),
        *_slices(run),
        *_left_out(run),
        "Whether it is safe to act on. This is research software and the model has not been "
        "tested with the people who would use it: not for clinical use.",
    ]


def _unfinished(run: RunFiles) -> list[str]:
    if not run.unfinished:
        return []
    done, planned = len(run.plan.folds) - len(run.unfinished), len(run.plan.folds)
    return [
        f"How the whole run will end: {done} of {planned} folds are finished, the figures will "
        "change."
    ]


def _covariates(run: RunFiles) -> list[str]:
    if run.judged is None:
        return []
    names = ", ".join(f"“{name}”" for name in run.judged.alone)
    many = len(run.judged.alone) > 1
    return [
        f"What the images add: the network also reads {names}, which alone "
        f"{'reach' if many else 'reaches'} an AUROC of {number(run.judged.together, 2)} on the "
        "cases that taught it (out of fold; at least 0.5, for the direction plays no part). A "
        "ladder with the rungs `clinical` and `train` shows the difference with its interval."
    ]


def _start(run: RunFiles) -> list[str]:
    if not started_from_a_file(run.config):
        return []
    return [
        f"Whether the weights of the file that it started from ({run.config['model.weights']}) "
        "have seen these cases: if they were trained on any of them, all figures are too good."
    ]


def _precision(result: Evaluation) -> list[str]:
    auroc = result.metrics["auroc"]
    sentences = []
    if auroc.estimate is not None and auroc.low is None:
        sentences.append(f"How uncertain the AUROC is: it has no interval, for {auroc.reason}.")
    elif auroc.low is not None and auroc.high is not None:
        width = number(auroc.high - auroc.low, 2)
        sentences.append(
            f"The AUROC to better than the interval, which is {width} wide with "
            f"{counted(result.patients, 'patient')}. Two models whose figures differ by less "
            "than that may be equally good; only a paired comparison on the same folds can tell."
        )
    smallest = min(result.per_class, key=lambda item: item.patients)
    if smallest.patients < _FEW_PATIENTS:
        patients = counted(smallest.patients, "patient")
        sentences.append(
            f"Much about “{smallest.name}”: {patients} with {counted(smallest.cases, 'case')} "
            f"{'carries' if smallest.patients == 1 else 'carry'} this label."
        )
    sentences.append(
        "How precision and the share of right answers change where the classes are mixed "
        "differently: both hold for the mix in this data set only."
    )
    return sentences


def _collection(run: RunFiles) -> list[str]:
    sentences = [
        "How well the model works elsewhere: all cases come from one collection and there is no "
        "external validation. Other scanners, protocols or populations usually score lower."
    ]
    labels: dict[str, set[str]] = defaultdict(set)
    for case in run.case_ids:
        entry = run.plan.cases[case]
        if entry.site is not None:
            labels[entry.site].add(entry.label)
    if not labels:
        sentences.append(
            "Whether the model recognises the site or the scanner instead of the finding: the "
            "manifest names no site."
        )
    elif len(labels) == 1:
        sentences.append("Anything about a second site: all cases with a site are from one.")
    else:
        sentences.append(
            "How it works at a site it has not seen: the folds separate patients, not sites."
        )
        single = sorted(site for site, found in labels.items() if len(found) == 1)
        if single:
            named = ", ".join(f"“{site}”" for site in single[:5])
            sentences.append(
                f"Whether it separates findings or sites: all cases of {named} carry one label, "
                "so that knowing the site is knowing the answer there."
            )
    return sentences


def _models(run: RunFiles, result: Evaluation) -> list[str]:
    first = run.plan.folds[0]
    total = len(first.train) + len(first.validation) + len(first.test)
    share = percent(len(first.train) / total)
    many = len(result.folds) > 1
    described = (
        f"How good the ensemble is: the figures describe {len(result.folds)} models trained on "
        f"about {share} of the cases each; together they would answer for new cases, and that "
        "was not measured."
        if many
        else f"What more cases would give: one model was measured, trained on {share} of them."
    )
    seeds = int(run.config.get("train.seeds", "1"))
    trained = (
        f"each model was trained once, with seed {run.seed},"
        if seeds == 1
        else f"each fold answers by the mean of {seeds} networks, seeds derived from {run.seed},"
    )
    return [
        f"How much training again would change: {trained} "
        "and the intervals cover the choice of test patients only.",
        described,
        *_refit(run, share),
        f"What you chose by looking at it. {_kept(run)}, never on the test cases; but settings "
        "changed after reading a report are fitted to these test cases, and the next report will "
        "be too hopeful.",
    ]


def _kept(run: RunFiles) -> str:
    if run.config.get("train.keep") == "last":
        return "Each checkpoint is its network's last, so nothing was chosen on validation patients"
    return "Each checkpoint was chosen on validation patients inside its fold"


def _refit(run: RunFiles, share: str) -> list[str]:
    if run.config.get("cv.refit") != "true":
        return []
    return [
        "How good the network of all cases is (the folder refit): no case was left to test it on. "
        f"The figures here, of networks trained on about {share} of the cases, are the estimate."
    ]


def _calibration(result: Evaluation) -> list[str]:
    return [
        f"Exact calibration: {counted(result.cases, 'case')} spread over up to 15 bins, the ECE "
        "is biased upwards, and the probabilities depend on the mix of classes in training."
    ]


def _slices(run: RunFiles) -> list[str]:
    if run.slices is None:
        return []
    if run.slices.equal:
        return [
            "Why the network decided as it did: what it makes of single slices is shown, not what "
            "it saw in them."
        ]
    return [
        "Why the network decided as it did: the weights of the slices say where its pool looked, "
        "which is no explanation of the decision (Jain and Wallace 2019, “Attention is not "
        "Explanation”, arXiv 1902.10186)."
    ]


def _left_out(run: RunFiles) -> list[str]:
    count = len(run.left_out)
    if not count:
        return []
    return [f"Anything about {counted(count, 'left-out case')}, listed below: none is in a figure."]
