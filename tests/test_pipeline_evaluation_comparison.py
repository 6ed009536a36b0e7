"""Comparisons of competitors: differences that say no more than is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.cases import ScoredCases, scored_cases
from pipeline.evaluation.comparison import compare_answers
from pipeline.evaluation.comparison_results import ComparisonEvaluation, Pair
from pipeline.evaluation.competitors import (
    Card,
    Competitor,
)
from pipeline.evaluation.paired_tests import perfect_by_chance
from pipeline.progress import Silent

CLASSES = ("healthy", "tumour")


def competitors(
    strengths: Sequence[float],
    *,
    patients: int = 40,
    scans: int = 2,
    classes: int = 2,
    seed: int = 0,
    shared: float = 0.7,
) -> dict[str, Competitor]:
    """Competitors `c0`, `c1`, ... on the same cases; `strengths` say how well they see."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), scans)
    labels = (np.arange(patients) % classes)[owner]
    folds = (np.arange(patients) // classes % 4)[owner]
    hard = rng.normal(0, shared, (patients, classes))[owner]
    names = [f"P{who:03d}" for who in owner]
    ids = tuple(f"{name}_{place % scans}" for place, name in enumerate(names))
    found = {}
    for place, strength in enumerate(strengths):
        noise = rng.normal(0, 0.7, (len(owner), classes))
        logits = strength * np.eye(classes)[labels] + hard + noise
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        scored = scored_cases(labels, scores, names, folds, [chr(97 + k) for k in range(classes)])
        card = Card(title=f"c{place}", kind="network", network="resnet18")
        found[f"c{place}"] = Competitor(card, ids, scored)
    return found


@given(st.integers(0, 1000), st.sampled_from([2, 3]))
@settings(max_examples=10, deadline=None)
def test_the_order_of_runs_does_not_matter_and_differences_turn_with_the_sign(
    seed: int, classes: int
) -> None:
    entries = competitors([0.8, 0.2, 1.5], classes=classes, seed=seed)
    backwards = dict(reversed(list(entries.items())))
    first = compare_answers(entries, Silent(), resamples=100)
    second = compare_answers(backwards, Silent(), resamples=100)
    assert json.dumps(first.as_json()) == json.dumps(second.as_json())
    areas = [item.auroc.estimate or 0.0 for item in first.standings]
    assert areas == sorted(areas, reverse=True)
    for pair in first.pairs:
        expected = areas[pair.first] - areas[pair.second]
        assert pair.auroc.estimate == pytest.approx(expected)


def both_ways(entries: dict[str, Competitor]) -> tuple[Pair, Pair]:
    """The only pair, and the same with the labels of both classes exchanged."""
    turned = {}
    for title, item in entries.items():
        cases = item.scored
        scored = scored_cases(
            1 - cases.labels, cases.probabilities[:, ::-1], cases.patients, cases.folds, CLASSES
        )
        turned[title] = Competitor(item.card, item.case_ids, scored)
    found = [compare_answers(each, Silent(), resamples=200) for each in (entries, turned)]
    return found[0].pairs[0], found[1].pairs[0]


@pytest.mark.parametrize("scans", [1, 3])
def test_it_does_not_matter_which_class_is_called_positive(scans: int) -> None:
    first, second = both_ways(competitors([1.2, 0.5], scans=scans))
    assert second.auroc.estimate == pytest.approx(first.auroc.estimate)
    assert second.auroc.low == pytest.approx(first.auroc.low)
    assert (second.p, second.p_holm) == (first.p, first.p_holm)
    for name, test in first.tests.items():
        assert second.tests[name].value == pytest.approx(test.value)


def test_identical_answers_differ_by_nothing() -> None:
    (item,) = competitors([1.0], scans=1).values()
    found = compare_answers({"one": item, "two": item}, Silent(), resamples=100)
    (pair,) = found.pairs
    assert [item.title for item in found.standings] == ["one", "two"]
    assert (pair.auroc.estimate, pair.accuracy.estimate) == (0.0, 0.0)
    assert pair.auroc.low is None
    assert (pair.p, pair.p_holm, pair.accuracy_p) == (1.0, 1.0, 1.0)
    assert {name: test.value for name, test in pair.tests.items()} == {
        "delong": 1.0,
        "mcnemar": 1.0,
        "resampled_t": 1.0,
    }
    assert pair.judgement == "open"


def test_tests_that_need_single_cases_are_not_given_for_several() -> None:
    for arguments, reason in (
        ({"scans": 2}, "several cases a patient"),
        ({"scans": 1, "classes": 3}, "more than two classes"),
    ):
        found = compare_answers(competitors([1.0, 0.5], **arguments), Silent(), resamples=100)
        tests = found.pairs[0].tests
        assert (tests["delong"].value, tests["delong"].reason) == (None, reason)
        assert (tests["mcnemar"].value, tests["mcnemar"].reason) == (None, reason)
        assert tests["resampled_t"].value is not None
    single = compare_answers(competitors([1.0, 0.5], scans=1), Silent(), resamples=100)
    assert all(test.value is not None for test in single.pairs[0].tests.values())


def test_pairing_narrows_the_interval_of_a_difference() -> None:
    found = compare_answers(competitors([1.0, 0.9], patients=80), Silent(), resamples=500)
    (pair,) = found.pairs
    assert pair.auroc.low is not None
    assert pair.auroc.high is not None
    first, second = ((item.auroc.high or 0) - (item.auroc.low or 0) for item in found.standings)
    assert pair.auroc.high - pair.auroc.low < np.hypot(first, second)
    assert "paired" in pair.auroc.method


def test_a_great_difference_is_found_and_a_small_one_is_not() -> None:
    found = compare_answers(competitors([3.0, 2.9, 0.0], patients=60), Silent())
    assert [pair.judgement for pair in found.pairs] == ["open", "better", "better"]
    assert found.resamples == 2000
    assert found.against_best(0) is None
    assert found.against_best(2) is found.pairs[1]


def test_many_pairs_get_enough_resamplings_to_stand_out() -> None:
    entries = competitors([4.0, *[0.0] * 5], patients=60, scans=1)
    found = compare_answers(entries, Silent())
    assert found.resamples == 500 * 15
    assert [pair.judgement for pair in found.pairs[:5]] == ["better"] * 5


def test_an_undefined_auroc_ranks_last_and_is_compared_with_nothing() -> None:
    entries = competitors([1.0, 0.5])
    missing = {}
    for title, item in entries.items():
        keep = item.scored.labels == 0
        ids = tuple(name for name, kept in zip(item.case_ids, keep, strict=True) if kept)
        missing[title] = Competitor(item.card, ids, item.scored.where(keep))
    found = compare_answers(missing, Silent(), resamples=100)
    assert found.standings[0].auroc.estimate is None
    assert found.pairs[0].judgement == "undefined"
    assert found.pairs[0].auroc.reason == "no test fold has a case of every class"
    json.dumps(found.as_json(), allow_nan=False)


def metadata_standing(strength: float) -> ComparisonEvaluation:
    entries = competitors([strength, 1.0], patients=60)
    card = Card(title="metadata", kind="baseline", notes=("metadata",))
    first = entries["c0"]
    entries["c0"] = Competitor(card, first.case_ids, first.scored)
    return compare_answers(entries, Silent(), resamples=300)


@pytest.mark.parametrize(("strength", "tells"), [(0.0, False), (2.0, True), (50.0, True)])
def test_metadata_that_predict_the_label_are_noticed(strength: float, tells: bool) -> None:
    found = metadata_standing(strength)
    assert any(item.tells_by_metadata for item in found.standings) == tells
    (baseline,) = [item for item in found.standings if item.card.kind == "baseline"]
    assert (baseline.auroc.low is None) == (strength == 50.0)


def test_one_test_fold_is_compared_without_a_warning() -> None:
    entries = {}
    for title, item in competitors([1.0, 0.5], scans=1).items():
        folds = np.zeros_like(item.scored.folds)
        entries[title] = Competitor(item.card, item.case_ids, replace(item.scored, folds=folds))
    found = compare_answers(entries, Silent(), resamples=100)
    assert found.folds == 1
    test = found.pairs[0].tests["resampled_t"]
    assert (test.value, test.reason) == (None, "fewer than two test folds")
    assert found.pairs[0].tests["delong"].value is not None


def perfect(labels: Sequence[int], folds: Sequence[int], patients: Sequence[str]) -> ScoredCases:
    return scored_cases(labels, np.eye(2)[np.asarray(labels)], patients, folds, CLASSES)


@pytest.mark.parametrize(("patients", "tells"), [(4, False), (6, False), (8, True), (12, True)])
def test_a_handful_of_patients_ranked_perfectly_raises_no_banner(
    patients: int, tells: bool
) -> None:
    labels = np.arange(patients) % 2
    names = [f"P{who}" for who in range(patients)]
    scored = perfect(labels.tolist(), (np.arange(patients) // 2 % 2).tolist(), names)
    card = Card(title="metadata", kind="baseline", notes=("metadata",))
    item = Competitor(card, tuple(names), scored)
    found = compare_answers({"one": item, "two": item}, Silent(), resamples=100)
    assert found.standings[0].auroc.estimate == 1.0
    assert found.standings[0].tells_by_metadata == tells


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=7))
@settings(max_examples=25, deadline=None)
def test_the_chance_of_perfection_is_that_of_all_permutations(rows: list[tuple[int, int]]) -> None:
    labels, folds = [row[0] for row in rows], [row[1] for row in rows]
    names = [f"P{who}" for who in range(len(rows))]
    ways = 1
    for fold in {0, 1}:
        inside = [label for label, own in rows if own == fold]
        ways *= len(set(permutations(inside))) if len(set(inside)) == 2 else 1
    assert perfect_by_chance(perfect(labels, folds, names)) == pytest.approx(1 / ways)


def test_patients_of_both_classes_count_by_the_order_of_their_cases() -> None:
    names = [f"P{place // 2}" for place in range(12)]
    scored = perfect([0, 1] * 6, [0] * 12, names)
    assert perfect_by_chance(scored) == pytest.approx(0.5**6)
    many = perfect([0, 1] * 2000, [0] * 4000, [f"P{place}" for place in range(4000)])
    assert perfect_by_chance(many) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("scans", [1, 3])
def test_equally_good_networks_are_told_apart_about_as_rarely_as_promised(scans: int) -> None:
    wrong, runs = 0, 300
    for seed in range(runs):
        entries = competitors([1.0, 1.0], patients=48, scans=scans, seed=seed)
        found = compare_answers(entries, Silent(), resamples=300)
        wrong += (found.pairs[0].p or 0.0) < 0.05
    assert 0.01 <= wrong / runs <= 0.10
