"""Intervals and the typed result: patients are resampled, honestly, reproducibly and fast."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from pipeline.evaluation.cases import ScoredCases, scored_cases
from pipeline.evaluation.intervals import percentile_interval, resamplings
from pipeline.evaluation.metrics import ones, pooled_metrics
from pipeline.evaluation.results import evaluate


def make_cases(classes: int = 2, patients: int = 30, scans: int = 5, seed: int = 0) -> ScoredCases:
    """Cases whose scores share a part of each patient's own."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), scans)
    label = (np.arange(patients) % classes)[owner]
    shared = rng.normal(0, 0.7, (patients, classes))[owner]
    logits = 1.5 * np.eye(classes)[label] + shared + rng.normal(0, 0.7, (len(owner), classes))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    folds = (np.arange(patients) // classes % 5)[owner]
    names = [chr(97 + index) for index in range(classes)]
    return scored_cases(label, scores, [f"p{index:03d}" for index in owner], folds, names)


@pytest.mark.parametrize("within", [False, True])
def test_whole_patients_are_drawn_and_their_number_is_kept(within: bool) -> None:
    cases = make_cases()
    drawn = np.concatenate(list(resamplings(cases, 200, 0, within_folds=within)))
    assert drawn.shape == (200, 150)
    assert np.array_equal(drawn[:, ::5], drawn[:, 4::5])
    assert np.all(drawn[:, ::5].sum(axis=1) == 30)
    in_fold = drawn[:, ::5][:, cases.folds[::5] == 0].sum(axis=1)
    assert bool(np.all(in_fold == 6)) == within


def test_resamplings_follow_the_seed_alone_and_not_the_order_of_the_cases() -> None:
    cases = make_cases()
    order = np.random.default_rng(1).permutation(len(cases))
    mixed = ScoredCases(
        cases.labels[order],
        cases.probabilities[order],
        cases.patients[order],
        cases.folds[order],
        cases.classes,
    )
    first, again = evaluate(cases, resamples=200), evaluate(cases, resamples=200)
    assert first.as_json() == again.as_json()
    other = evaluate(mixed, resamples=200)
    for name, value in first.metrics.items():
        assert other.metrics[name].low == pytest.approx(value.low, abs=1e-12)
    assert evaluate(cases, resamples=200, seed=1).metrics["auroc"].low != first.metrics["auroc"].low


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_a_whole_evaluation_is_json_without_holes(classes: int) -> None:
    result = evaluate(make_cases(classes, patients=120, scans=2), resamples=200)
    text = json.dumps(result.as_json(), allow_nan=False)
    values = json.loads(text)
    assert values["cases"] == 240
    assert values["patients"] == 120
    assert values["format"] == 1
    assert values["comparisons"] == []
    assert next(iter(values["metrics"])) == "auroc"
    for name, value in values["metrics"].items():
        # The ECE of a resample is biased upwards: its interval may lie above the estimate.
        assert name == "ece" or value["low"] <= value["estimate"] <= value["high"]
        assert "200 resamplings of patients" in value["method"]
    assert len(values["folds"]) == 5
    assert sum(fold["cases"] for fold in values["folds"]) == 240
    assert set(values["per_class"]) == set(result.classes)
    mean = np.mean([fold["auroc"] for fold in values["folds"]])
    assert values["metrics"]["auroc"]["estimate"] == pytest.approx(mean)


def test_many_scans_of_few_patients_do_not_narrow_the_interval() -> None:
    few = evaluate(make_cases(patients=20, scans=1), resamples=500).metrics["auroc_pooled"]
    copied = make_cases(patients=20, scans=1)
    index = np.repeat(np.arange(20), 10)
    many = ScoredCases(
        copied.labels[index],
        copied.probabilities[index],
        copied.patients[index],
        copied.folds[index],
        copied.classes,
    )
    repeated = evaluate(many, resamples=500).metrics["auroc_pooled"]
    assert (repeated.low, repeated.high) == pytest.approx((few.low, few.high))


def test_an_absent_class_gives_none_with_a_reason() -> None:
    whole = make_cases(3)
    cases = whole.where(whole.labels != 2)
    result = evaluate(cases, resamples=200)
    assert result.metrics["auroc"].estimate is None
    assert result.metrics["auroc"].reason == "no test fold has a case of every class"
    assert result.metrics["average_precision"].reason == "no case of 'c'"
    assert result.metrics["accuracy"].estimate is not None
    assert result.per_class[2].figures["sensitivity"].estimate is None
    assert result.per_class[2].figures["specificity"].estimate is not None
    json.dumps(result.as_json(), allow_nan=False)


def test_too_few_patients_of_many_classes_give_a_headline_without_an_interval() -> None:
    headline = evaluate(make_cases(6), resamples=200).metrics["auroc"]
    assert headline.estimate is not None
    assert headline.low is None
    assert headline.reason is not None
    assert "too few cases" in headline.reason


def test_a_fold_without_a_class_is_left_out_and_named() -> None:
    whole = make_cases()
    cases = whole.where((whole.folds != 3) | (whole.labels == 0))
    result = evaluate(cases, resamples=200)
    assert result.folds[3].figures["auroc"] is None
    assert result.folds[3].missing == ("b",)
    assert (
        "mean over 4 folds; left out for want of a class: fold 3" in result.metrics["auroc"].method
    )


def test_one_patient_gives_a_value_but_no_interval() -> None:
    cases = scored_cases([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["a", "a"], [0, 0], "xy")
    accuracy = evaluate(cases, resamples=100).metrics["accuracy"]
    assert (accuracy.estimate, accuracy.low) == (1.0, None)
    assert accuracy.reason == "one patient gives no interval"


def test_dropped_resamplings_are_counted_and_too_many_give_no_interval() -> None:
    values = np.r_[np.full(10, np.nan), np.linspace(0.4, 0.6, 90)]
    some = percentile_interval(0.5, values, patients=9, method="m", undefined="u")
    assert some.method == "m; 10 resamplings in which it is undefined were dropped"
    assert some.low == pytest.approx(0.4 + 0.2 * 0.025)
    most = percentile_interval(0.5, np.full(9, np.nan), patients=9, method="m", undefined="u")
    assert most.low is None
    assert most.reason is not None


def test_a_rare_class_drops_resamplings_in_the_pooled_auroc() -> None:
    whole = make_cases(scans=1)
    cases = whole.where((whole.labels == 0) | (whole.patients == "p001"))
    pooled = evaluate(cases, resamples=400).metrics["auroc_pooled"]
    assert "were dropped" in pooled.method


def test_a_perfect_classifier_has_no_interval_and_says_why() -> None:
    cases = make_cases()
    sure = ScoredCases(
        cases.labels, np.eye(2)[cases.labels], cases.patients, cases.folds, cases.classes
    )
    result = evaluate(sure, resamples=100).metrics
    assert result["auroc"].estimate == 1.0
    assert result["auroc"].low is result["auroc"].high is None
    assert "says nothing of new patients" in str(result["auroc"].reason)
    assert result["brier"].estimate == result["ece"].estimate == 0.0
    assert float(pooled_metrics(sure, ones(sure))["accuracy"][0]) == 1.0


def test_two_thousand_resamplings_take_seconds_at_most() -> None:
    cases = make_cases(patients=32)
    start = time.perf_counter()
    evaluate(cases, resamples=2000)
    assert time.perf_counter() - start < 5.0
