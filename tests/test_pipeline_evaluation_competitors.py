"""Competitors: they come back as they were written, and only equals are compared."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import cast

import numpy as np
import pytest

from pipeline.config import is_volume_network
from pipeline.errors import DataError, StorageError
from pipeline.evaluation.cases import scored_cases
from pipeline.evaluation.competitors import (
    Card,
    Competitor,
    read_competitor,
    write_competitor,
)
from pipeline.evaluation.same_cases import aligned


def _tests(name: str) -> ModuleType:
    return importlib.import_module(name)


def competitors(strengths: Sequence[float], classes: int = 2) -> dict[str, Competitor]:
    """Competitors `c0`, `c1`, ... on the same cases of 40 patients."""
    made = _tests("test_pipeline_evaluation_comparison").competitors(strengths, classes=classes)
    return cast("dict[str, Competitor]", made)


def test_a_competitor_comes_back_as_it_was_written(tmp_path: Path) -> None:
    (item,) = competitors([1.0], classes=3).values()
    card = Card(title="=a, title", kind="probe", network="x", start="random", notes=("one", "two"))
    order = np.random.default_rng(0).permutation(len(item.case_ids))
    cases = item.scored
    mixed = scored_cases(
        cases.labels[order],
        cases.probabilities[order],
        cases.patients[order],
        cases.folds[order],
        cases.classes,
    )
    write_competitor(tmp_path / "new", card, [item.case_ids[place] for place in order], mixed)
    back = read_competitor(tmp_path / "new")
    assert back.card == card
    assert back.case_ids == tuple(sorted(item.case_ids))
    assert np.array_equal(back.scored.probabilities, cases.probabilities)
    assert np.array_equal(back.scored.labels, cases.labels)
    assert back.scored.patients.tolist() == cases.patients.tolist()
    assert back.scored.folds.tolist() == cases.folds.tolist()
    assert back.scored.classes == cases.classes
    with pytest.raises(ValueError, match="different case ids"):
        write_competitor(tmp_path / "new", card, ["one"] * len(cases), cases)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("P000_0,P000,0", "P000_0,P000,first", "fold of case 'P000_0' is no number"),
        ("P000_1,", "P000_0,", "stands in it twice"),
        ("0,a,", "0,z,", "no class"),
        ("case_id,", "case,", "'case_id' is missing"),
        ("p_a,p_b", "q_a,p_b", "fewer than two columns"),
        ("P000_0,P000,0,a,a,0", "P000_0,P000,0,a,a,1", "probability that is none|sum"),
        ("P000_0,P000,0,a,a,", "P000_0,P000,0,a,a,x", "probability that is none"),
        ("P000_0,P000,0,a,a", "P000_0,P000,0,a,b", "most probable class"),
    ],
)
def test_damaged_answers_are_refused_with_their_reason(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    (item,) = competitors([9.0]).values()
    write_competitor(tmp_path, item.card, item.case_ids, item.scored)
    path = tmp_path / "predictions.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(StorageError, match=reason):
        read_competitor(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        '{"format": 2, "title": "a", "kind": "probe"}',
        '{"title": "a", "kind": "run"}',
        '{"title": "", "kind": "probe"}',
        '{"title": "a", "kind": "probe", "more": 1}',
        "no json",
    ],
)
def test_a_card_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (item,) = competitors([1.0]).values()
    write_competitor(tmp_path, item.card, item.case_ids, item.scored)
    (tmp_path / "competitor.json").write_text(text)
    with pytest.raises(StorageError, match=r"competitor\.json"):
        read_competitor(tmp_path)


@pytest.mark.parametrize("text", ["", "case_id\n"])
def test_empty_answers_are_refused(tmp_path: Path, text: str) -> None:
    (item,) = competitors([1.0]).values()
    write_competitor(tmp_path, item.card, item.case_ids, item.scored)
    (tmp_path / "predictions.csv").write_text(text)
    with pytest.raises(StorageError, match=r"predictions\.csv is damaged"):
        read_competitor(tmp_path)


def changed(item: Competitor, what: str) -> Competitor:
    """The same competitor with another case, patient, label, fold or class."""
    cases, ids = item.scored, list(item.case_ids)
    labels, folds = cases.labels.copy(), cases.folds.copy()
    patients = [str(name) for name in cases.patients]
    classes = list(cases.classes)
    if what == "cases":
        ids[0] = "P999_0"
    elif what == "patients":
        patients[0] = "P999"
    elif what == "labels":
        labels[0] = 1 - labels[0]
    elif what == "folds":
        folds[:2] = 3
    else:
        classes[1] = "other"
    scored = scored_cases(labels, cases.probabilities, patients, folds, classes)
    return Competitor(item.card, tuple(ids), scored)


@pytest.mark.parametrize("what", ["cases", "patients", "labels", "folds", "classes"])
def test_answers_to_other_questions_are_refused_with_both_names(what: str) -> None:
    entries = competitors([1.0, 0.5])
    with pytest.raises(DataError) as caught:
        aligned({"runs_a": entries["c0"], "runs_b": changed(entries["c1"], what)})
    told = str(caught.value)
    assert f"runs_a and runs_b cannot be compared: their {what} differ" in told
    assert {"cases": "P999_0", "classes": "other"}.get(what, "P000_0") in told
    assert "what to do" in told


def test_volumes_that_are_called_otherwise_are_refused_and_prepared_ones_are_not() -> None:
    one, other = competitors([1.0, 0.5]).values()
    first, second, *_ = one.case_ids
    known = replace(one, contents={first: "a", second: "b"})
    moved = replace(other, contents={first: "b", second: "c"})
    with pytest.raises(DataError) as caught:
        aligned({"runs_a": known, "runs_b": moved})
    told = str(caught.value)
    assert "runs_a and runs_b cannot be compared: their volumes differ" in told
    assert f"{second} in runs_a is {first} in runs_b" in told
    assert "case_id" in told
    with pytest.raises(DataError, match="runs_a and runs_b cannot be compared"):
        aligned({"a probe": other, "runs_a": known, "runs_b": moved})
    for contents in ({}, {first: "x", second: "y"}, {first: "a", second: "a"}):
        copies = replace(other, contents=contents)
        assert aligned({"one": copies, "two": copies}) == (copies, copies)
        if contents.get(second) != "a":
            assert aligned({"one": known, "two": copies}) == (known, copies)


def test_classes_in_another_order_are_put_in_order() -> None:
    entries = competitors([1.0, 0.5], classes=3)
    cases = entries["c1"].scored
    order = [2, 0, 1]
    turned = scored_cases(
        [order.index(label) for label in cases.labels],
        cases.probabilities[:, order],
        cases.patients,
        cases.folds,
        [cases.classes[place] for place in order],
    )
    other = Competitor(entries["c1"].card, entries["c1"].case_ids, turned)
    back = aligned({"one": entries["c0"], "two": other})[1]
    assert back.scored.classes == cases.classes
    assert np.array_equal(back.scored.labels, cases.labels)
    assert np.array_equal(back.scored.probabilities, cases.probabilities)


def test_every_network_over_volumes_is_known_as_one() -> None:
    from models3d import list_models

    assert [name for name in list_models() if not is_volume_network(name)] == []
    flat = ("resnet18", "poolformer_s12", "poolformerv2_s12", "seresnet50", "resnext50_32x4d", None)
    assert [name for name in flat if is_volume_network(name)] == []
