"""The verb `probe`: finds the stage that carries the signal, and mixes no two networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import CvConfig
from pipeline.data.cases import Case
from pipeline.data.folds_file import write_folds
from pipeline.data.splits import make_folds
from pipeline.errors import DataError
from pipeline.evaluation.probe_results import ProbeEvaluation
from pipeline.evaluation.probes import LOGISTIC, NEIGHBOURS
from pipeline.feature_table import (
    Block,
    FeatureTable,
    Origin,
    block_names,
    training_path,
    write_features,
)
from pipeline.probe import ProbeResult, probe
from pipeline.progress import Silent

CHANNELS = (3, 4, 5, 6)
FOLDS = 3


def make_table(
    classes: Sequence[str] = ("healthy", "tumour"),
    *,
    patients: int = 48,
    scans: int = 2,
    signal: int = 3,
    strength: float = 1.5,
    channels: tuple[int, ...] = CHANNELS,
    folds: int | None = FOLDS,
    seed: int = 0,
) -> FeatureTable:
    """Features of one network that no run trained; one stage, `signal`, tells the classes apart."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), scans)
    labels = (np.arange(patients) % len(classes))[owner]
    fold_of = (np.arange(patients) // len(classes) % folds)[owner].tolist() if folds else None
    blocks: dict[str, Block] = {}
    for name in block_names(len(channels)):
        stage = int(name[5])
        noise = rng.normal(0, 0.5, (patients, channels[stage - 1]))[owner]
        block = noise + rng.normal(0, 1.0, (len(owner), channels[stage - 1]))
        if stage == signal:
            block[:, : len(classes)] += strength * np.eye(len(classes))[labels]
        blocks[name] = block.astype(np.float32)
    return FeatureTable(
        case_ids=tuple(f"P{who:03d}_{place % scans}" for place, who in enumerate(owner)),
        patient_ids=tuple(f"P{who:03d}" for who in owner),
        labels=tuple(classes[label] for label in labels),
        folds=tuple(fold_of) if fold_of else (None,) * len(owner),
        models=("network",) * len(owner),
        seen=(False,) * len(owner),
        blocks=blocks,
        origin=Origin(
            network="poolformer3d_t",
            settings="5" * 64,
            start="run",
            channels=channels,
            weights={"network": "1" * 64},
            preprocessing="2" * 64,
            cases="4" * 64,
            folds="3" * 64 if folds else None,
            scheme="kfold" if folds else None,
            classes=tuple(classes),
            seed=0,
        ),
    )


def rows(table: FeatureTable, chosen: Sequence[int]) -> FeatureTable:
    """Some rows of a table, in the given order."""
    return replace(
        table,
        case_ids=tuple(table.case_ids[row] for row in chosen),
        patient_ids=tuple(table.patient_ids[row] for row in chosen),
        labels=tuple(table.labels[row] for row in chosen),
        folds=tuple(table.folds[row] for row in chosen),
        models=tuple(table.models[row] for row in chosen),
        seen=tuple(table.seen[row] for row in chosen),
        blocks={name: block[list(chosen)] for name, block in table.blocks.items()},
    )


def crossed(table: FeatureTable, *, own_spaces: bool) -> tuple[FeatureTable, FeatureTable]:
    """The same features as of one model a fold: those of the test rows, and of the training rows.

    With `own_spaces` each model has its columns in an order, with signs, scales and offsets of its
    own: what a probe that scales its features must not notice, and what mixing models destroys.
    """
    numbers = sorted({fold for fold in table.folds if fold is not None})
    names = [f"fold_{number}" for number in numbers]
    origin = replace(
        table.origin, weights={name: str(n) * 64 for n, name in enumerate(names)}, scheme="kfold"
    )
    parts: tuple[list[FeatureTable], list[FeatureTable]] = ([], [])
    for number, name in zip(numbers, names, strict=True):
        space = _in_space(table, number) if own_spaces else table
        count = len(table.case_ids)
        space = replace(space, models=(name,) * count, origin=origin)
        test = [row for row in range(count) if table.folds[row] == number]
        training = [row for row in range(count) if table.folds[row] != number]
        parts[0].append(rows(space, test))
        parts[1].append(replace(rows(space, training), seen=(True,) * len(training)))
    return _joined(parts[0]), _joined(parts[1])


def _in_space(table: FeatureTable, number: int) -> FeatureTable:
    rng = np.random.default_rng([7, number])
    blocks: dict[str, Block] = {}
    for name, block in table.blocks.items():
        width = block.shape[1]
        scale = rng.uniform(0.3, 3.0, width) * rng.choice([-1.0, 1.0], width)
        moved = block[:, rng.permutation(width)] * scale + rng.normal(0, 2.0, width)
        blocks[name] = moved.astype(np.float32)
    return replace(table, blocks=blocks)


def _joined(tables: Sequence[FeatureTable]) -> FeatureTable:
    return replace(
        tables[0],
        case_ids=tuple(name for table in tables for name in table.case_ids),
        patient_ids=tuple(name for table in tables for name in table.patient_ids),
        labels=tuple(name for table in tables for name in table.labels),
        folds=tuple(fold for table in tables for fold in table.folds),
        models=tuple(name for table in tables for name in table.models),
        seen=tuple(known for table in tables for known in table.seen),
        blocks={
            name: np.concatenate([table.blocks[name] for table in tables])
            for name in tables[0].blocks
        },
    )


def probed(
    folder: Path,
    table: FeatureTable,
    companion: FeatureTable | None = None,
    *,
    run: Path | None = None,
    folds: int = 5,
    resamples: int = 200,
    suffix: str = ".npz",
) -> ProbeResult:
    """Writes tables and probes them."""
    folder.mkdir(exist_ok=True)
    path = folder / f"features{suffix}"
    write_features(path, table)
    if companion is not None:
        write_features(training_path(path), companion)
    return probe(path, folder / "out", Silent(), run=run, folds=folds, resamples=resamples)


def areas(found: ProbeEvaluation, kind: str) -> list[float]:
    """AUROC of each stage and of all."""
    values = [item.probes[kind].auroc.estimate for item in found.stages]
    assert None not in values
    return [value for value in values if value is not None]


@pytest.mark.parametrize("classes", [("healthy", "tumour"), ("a", "b", "c")])
def test_the_signal_is_found_where_it_is(tmp_path: Path, classes: tuple[str, ...]) -> None:
    result = probed(tmp_path, make_table(classes, signal=3), suffix=".parquet")
    for kind in (LOGISTIC, NEIGHBOURS):
        found = areas(result.evaluation, kind)
        assert int(np.argmax(found[:4])) == 2
        assert found[2] > 0.8
        assert found[2] > max(found[0], found[1], found[3]) + 0.15
    third = result.evaluation.stages[2].probes[LOGISTIC]
    assert third.difference is not None
    assert third.difference.low is not None
    assert third.difference.low > 0
    told = result.lines()
    assert "The AUROC is highest at stage 3" in " ".join(told)
    assert "it ranks better than the last stage." in " ".join(told)
    assert told[0].startswith("stage 1: AUROC 0.")
    assert told[4].startswith("all stages: AUROC 0.")


def test_metrics_json_holds_every_figure(tmp_path: Path) -> None:
    result = probed(tmp_path, make_table())
    values = json.loads(result.metrics.read_text())
    assert (values["format"], values["kind"], values["network"]) == (1, "probe", "poolformer3d_t")
    assert (values["cases"], values["patients"], values["folds"]) == (96, 48, FOLDS)
    assert values["classes"] == ["healthy", "tumour"]
    assert [item["stage"] for item in values["stages"]] == [1, 2, 3, 4, "all"]
    assert [item["channels"] for item in values["stages"]] == [3, 4, 5, 6, 18]
    for item in values["stages"]:
        for kind in (LOGISTIC, NEIGHBOURS):
            figures = {"auroc", "auroc_widened_low", "accuracy", "balanced_accuracy"}
            assert {*figures, "chosen"} == item[kind].keys()
            assert item[kind]["auroc_widened_low"] < item[kind]["auroc"]["low"]
            assert {"estimate", "low", "high", "method"} == item[kind]["auroc"].keys()
            assert [entry["fold"] for entry in item[kind]["chosen"]] == list(range(FOLDS))
            assert all(entry["inner_folds"] == 3 for entry in item[kind]["chosen"])
            last = item["stage"] == 4
            assert (item["difference_to_last"][kind] is None) == last
    assert values["origin"]["folds"] == "3" * 64
    third = result.evaluation.stages[2].probes[LOGISTIC]
    assert values["stages"][2][LOGISTIC]["auroc"]["estimate"] == third.auroc.estimate


def test_labels_without_meaning_are_not_told_from_chance(tmp_path: Path) -> None:
    result = probed(tmp_path, make_table(strength=0.0, patients=60, seed=3))
    found = [figures.auroc for item in result.evaluation.depths for figures in item.probes.values()]
    covered = [
        e for e in found if e.low is not None and e.high is not None and e.low < 0.5 < e.high
    ]
    # Eight intervals of 95 %: one may miss by chance, as the page says.
    assert len(covered) >= 7
    assert "No stage is shown to carry signal" in " ".join(result.lines())


def test_the_same_file_gives_the_same_bytes_in_any_order_of_rows(tmp_path: Path) -> None:
    table = make_table(("a", "b", "c"), patients=18, channels=(3, 4, 5), folds=2)
    mixed = np.random.default_rng(0).permutation(len(table.case_ids)).tolist()
    first = probed(tmp_path / "one", table)
    for name, other in (("two", table), ("three", rows(table, mixed))):
        second = probed(tmp_path / name, other)
        assert first.metrics.read_bytes() == second.metrics.read_bytes()
        assert first.page.read_bytes() == second.page.read_bytes()


def test_models_of_several_folds_are_never_mixed(tmp_path: Path) -> None:
    table = make_table()
    plain = probed(tmp_path / "plain", table)
    same = probed(tmp_path / "same", *crossed(table, own_spaces=False))
    moved = probed(tmp_path / "moved", *crossed(table, own_spaces=True))
    assert same.evaluation.own_models
    assert same.evaluation.trained_on
    assert not plain.evaluation.own_models
    for kind in (LOGISTIC, NEIGHBOURS):
        assert areas(same.evaluation, kind) == areas(plain.evaluation, kind)
        assert areas(moved.evaluation, kind) == pytest.approx(
            areas(plain.evaluation, kind), abs=2e-3
        )
    assert "features of two networks never meet" in moved.page.read_text()


def test_an_official_split_trains_on_what_it_does_not_test(tmp_path: Path) -> None:
    table = make_table()
    folds = tuple(0 if fold == 0 else None for fold in table.folds)
    table = replace(
        table,
        folds=folds,
        models=("fold_0",) * len(folds),
        seen=tuple(fold is None for fold in folds),
        origin=replace(table.origin, weights={"fold_0": "1" * 64}, scheme="official"),
    )
    result = probed(tmp_path, table)
    assert result.evaluation.cases == sum(fold == 0 for fold in folds)
    assert result.evaluation.folds == (0,)
    assert areas(result.evaluation, LOGISTIC)[2] > 0.8
    assert "official split" in result.page.read_text()


def test_a_file_without_folds_gets_folds_by_patient(tmp_path: Path) -> None:
    table = make_table(folds=None)
    result = probed(tmp_path, table, folds=3)
    assert result.evaluation.folds == (0, 1, 2)
    assert result.evaluation.scheme == "probe"
    assert result.evaluation.cases == len(table.case_ids)
    assert len(result.evaluation.origin.folds or "") == 64
    assert areas(result.evaluation, LOGISTIC)[2] > 0.8


def test_folds_of_a_file_must_be_those_of_the_run(tmp_path: Path) -> None:
    table = make_table(folds=None)
    named = zip(table.case_ids, table.patient_ids, table.labels, strict=True)
    cases = [Case(case_id, patient, Path(), label) for case_id, patient, label in named]
    made = make_folds(cases, CvConfig(folds=3), 0)
    run = tmp_path / "run"
    run.mkdir()
    write_folds(run / "folds.json", made)
    fold_of = {key: number for number, fold in enumerate(made.folds) for key in fold.test}
    table = replace(table, folds=tuple(fold_of[key] for key in table.case_ids))
    right = replace(table, origin=replace(table.origin, scheme="kfold", folds=made.sha256))
    assert probed(tmp_path, right, run=run).evaluation.folds == (0, 1, 2)
    for folds in (None, "3" * 64):
        wrong = replace(right, origin=replace(right.origin, folds=folds))
        with pytest.raises(DataError, match="features of other folds"):
            probed(tmp_path, wrong, run=run)
