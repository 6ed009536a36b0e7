"""Ensembles as rungs: the mean of what others answered, by seed too, made anew when they change."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ladder_runs import Climbed, climbed_in

from pipeline.compare import read_entry
from pipeline.ensemble import _card as ensemble_card
from pipeline.ensemble import answers_by_seed
from pipeline.evaluation.competitors import DISGUISED, Card
from pipeline.evaluation.seed_figures import seed_figures
from pipeline.storage import read_table

PLAN = {
    "config": "base",
    "rungs": [
        {"name": "shares", "kind": "majority"},
        {"name": "net", "kind": "train", "set": {"train.seeds": 2}},
        {"name": "grey", "kind": "histogram"},
        {"name": "both", "kind": "ensemble", "of": ["net", "grey"], "title": "net and grey"},
    ],
}


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory, small_manifest: Path) -> Climbed:
    return climbed_in(tmp_path_factory.mktemp("ensemble"), PLAN, small_manifest)


def probabilities(path: Path) -> dict[str, float]:
    return {row["case_id"]: float(row["p_left"]) for row in read_table(path)}


def test_its_answer_is_the_mean_of_its_parts(climbed: Climbed) -> None:
    net, grey, both = (
        probabilities(climbed.out / name / "predictions.csv") for name in ("net", "grey", "both")
    )
    assert both.keys() == net.keys()
    assert all(abs(both[case] - (net[case] + grey[case]) / 2) < 1e-9 for case in both)


def test_each_seed_is_averaged_with_the_part_that_has_none(climbed: Climbed) -> None:
    answers = {name: read_entry(climbed.out / name).answers for name in ("net", "grey", "both")}
    by_seed = {name: answers_by_seed(climbed.out / name, item) for name, item in answers.items()}
    assert {name: sorted(seeds) for name, seeds in by_seed.items()} == {
        "net": [0, 1],
        "grey": [0],
        "both": [0, 1],
    }
    for seed in (0, 1):
        expected = (by_seed["net"][seed].probabilities + by_seed["grey"][0].probabilities) / 2
        np.testing.assert_allclose(by_seed["both"][seed].probabilities, expected, atol=1e-9)


def test_the_seeds_together_are_what_the_fold_answers(climbed: Climbed) -> None:
    answers = read_entry(climbed.out / "net").answers
    seeds = answers_by_seed(climbed.out / "net", answers)
    mean = np.mean([item.probabilities for item in seeds.values()], axis=0)
    np.testing.assert_allclose(mean, answers.scored.probabilities, atol=1e-9)
    figures = seed_figures([*seeds.values()])
    assert figures.seeds == 2
    assert figures.auroc_deviation == pytest.approx(np.std(figures.auroc, ddof=1))
    assert figures.mean_auroc == pytest.approx(np.mean(figures.auroc))


def test_it_is_made_anew_when_a_part_answers_otherwise(climbed: Climbed) -> None:
    path = climbed.out / "grey" / "predictions.csv"
    kept = path.read_text()
    rows = read_table(path)
    swapped = kept.replace(rows[0]["p_left"], "0.25").replace(rows[0]["p_right"], "0.75")
    path.write_text(swapped.replace(f"{rows[0]['prediction']},0.25", "right,0.25"))
    assert any("the answers of its parts are not those" in line for line in climbed.again())
    first = rows[0]["case_id"]
    net = probabilities(climbed.out / "net" / "predictions.csv")[first]
    both = probabilities(climbed.out / "both" / "predictions.csv")[first]
    assert both == pytest.approx((net + 0.25) / 2)


def card(name: str, network: str | None = None, *notes: str) -> Card:
    kind = "baseline" if network is None else "network"
    return Card(title=name, kind=kind, network=network, start="trained", notes=notes)


def test_an_ensemble_is_3d_only_where_all_of_it_is() -> None:
    volumes, flat, table = card("a", "poolformer3d_n"), card("b", "resnet18"), card("c")
    both = ensemble_card("e", {"a": volumes, "a2": card("a2", "monai_resnet18")})
    assert (both.looks_at_volumes, both.needs_no_volume) == (True, False)
    mixed = ensemble_card("e", {"a": volumes, "c": table})
    assert (mixed.looks_at_volumes, mixed.needs_no_volume) == (False, False)
    without = ensemble_card("e", {"b": flat, "c": table})
    assert (without.looks_at_volumes, without.needs_no_volume) == (False, True)
    nested = ensemble_card("e", {"m": mixed, "c": table})
    assert not nested.needs_no_volume


def test_what_is_in_doubt_in_a_part_is_in_doubt_in_the_whole() -> None:
    random = Card(title="r", kind="probe", network="resnet18", start="random")
    found = ensemble_card("e", {"leaky": card("l", None, DISGUISED), "random": random})
    assert found.is_disguised
    assert found.untrained_parts == ("random: random features",)


def test_the_page_calls_it_an_ensemble(climbed: Climbed) -> None:
    summary = json.loads((climbed.out / "comparison.json").read_text())
    (card,) = (c for c in summary["competitors"] if c["title"] == "net and grey")
    assert card["kind"] == "ensemble"
    assert card["notes"] == ["mean of net, grey", "3D in part"]
