"""The verb `probe` refuses what leaks or cannot be probed: one message, and its exit code."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, DataError, StorageError, VolclassError
from pipeline.feature_table import FeatureTable, write_features
from pipeline.probe import probe
from pipeline.progress import Silent

Change = Callable[[FeatureTable], FeatureTable]

made = importlib.import_module("test_pipeline_probe")


def make_table() -> FeatureTable:
    table: FeatureTable = made.make_table()
    return table


def rows(table: FeatureTable, chosen: list[int]) -> FeatureTable:
    part: FeatureTable = made.rows(table, chosen)
    return part


def crossed() -> tuple[FeatureTable, FeatureTable]:
    pair: tuple[FeatureTable, FeatureTable] = made.crossed(make_table(), own_spaces=False)
    return pair


def _straddling(table: FeatureTable) -> FeatureTable:
    """The second scan of the first patient moves to the patients of another fold."""
    return replace(table, folds=(table.folds[0], made.FOLDS - 1, *table.folds[2:]))


def _not_finite(table: FeatureTable) -> FeatureTable:
    block = table.blocks["stage2_max"].copy()
    block[3, 1] = np.nan
    return replace(table, blocks={**table.blocks, "stage2_max": block})


REFUSED: list[tuple[str, Change, str, list[str]]] = [
    (
        "no label",
        lambda t: replace(t, labels=(None, *t.labels[1:])),
        "E_EMPTY",
        ["P000_0", "label column"],
    ),
    ("nothing", lambda t: rows(t, []), "E_EMPTY", ["no cases"]),
    (
        "one class",
        lambda t: rows(t, [i for i, name in enumerate(t.labels) if name == "tumour"]),
        "E_ONE_CLASS",
        ["tumour"],
    ),
    (
        "other class",
        lambda t: replace(t, labels=("benign", *t.labels[1:])),
        "not among the classes",
        ["benign"],
    ),
    ("not finite", _not_finite, "not finite", ["P001_1"]),
    ("seen", lambda t: replace(t, seen=(True, *t.seen[1:])), "not out of fold", ["P000_0"]),
    ("patient in both", _straddling, "fold 0 leaks: patients", ["P000"]),
    ("twice", lambda t: rows(t, [0, *range(len(t.case_ids))]), "twice", ["P000_0"]),
    (
        "too few patients",
        lambda t: rows(replace(t, folds=(None,) * len(t.folds)), list(range(8))),
        "E_FEW_PATIENTS",
        ["--folds 2"],
    ),
    (
        "one fold only",
        lambda t: rows(t, [i for i, fold in enumerate(t.folds) if fold == 0]),
        "without a training case",
        ["healthy, tumour"],
    ),
    (
        "several models, no folds",
        lambda t: replace(
            t, folds=(None,) * len(t.folds), models=("fold_0", *("fold_1",) * (len(t.folds) - 1))
        ),
        "several models",
        [],
    ),
]


@pytest.mark.parametrize(("change", "what", "words"), [case[1:] for case in REFUSED])
def test_features_that_cannot_be_probed_are_refused(
    tmp_path: Path, change: Change, what: str, words: list[str]
) -> None:
    with pytest.raises(DataError, match=what) as caught:
        made.probed(tmp_path, change(make_table()))
    assert all(word in str(caught.value) for word in words)
    assert caught.value.remedy
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out" / "metrics.json").exists()


def _other_origin(main: FeatureTable, training: FeatureTable) -> tuple[FeatureTable, FeatureTable]:
    other = replace(training.origin, preprocessing="f" * 64, folds="e" * 64)
    return main, replace(training, origin=other)


def _tested_in_training(
    main: FeatureTable, training: FeatureTable
) -> tuple[FeatureTable, FeatureTable]:
    return main, replace(training, case_ids=(main.case_ids[0], *training.case_ids[1:]))


def _other_model(main: FeatureTable, training: FeatureTable) -> tuple[FeatureTable, FeatureTable]:
    return replace(main, models=("fold_1", *main.models[1:])), training


def _unlabelled(main: FeatureTable, training: FeatureTable) -> tuple[FeatureTable, FeatureTable]:
    return main, replace(training, labels=(None, *training.labels[1:]))


def _fold_missing(main: FeatureTable, training: FeatureTable) -> tuple[FeatureTable, FeatureTable]:
    kept = [row for row, model in enumerate(training.models) if model != "fold_2"]
    return main, rows(training, kept)


@pytest.mark.parametrize(
    ("change", "what", "words"),
    [
        (_other_origin, "another model or other folds", "preprocessing, folds"),
        (_tested_in_training, "fold 0 leaks: cases", "P000_0"),
        (_other_model, "another fold's model", "P000_0"),
        (_unlabelled, "E_EMPTY", "features.training.npz"),
        (_fold_missing, "fold 2 cannot be probed", "healthy, tumour"),
    ],
)
def test_a_companion_that_does_not_fit_is_refused(
    tmp_path: Path,
    change: Callable[[FeatureTable, FeatureTable], tuple[FeatureTable, FeatureTable]],
    what: str,
    words: str,
) -> None:
    with pytest.raises(DataError, match=what) as caught:
        made.probed(tmp_path, *change(*crossed()))
    assert words in str(caught.value)
    assert caught.value.exit_code == 3


def test_features_of_several_models_need_their_companion(tmp_path: Path) -> None:
    main, _ = crossed()
    with pytest.raises(DataError, match="training parts are missing") as caught:
        made.probed(tmp_path, main)
    assert "volclass features" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", "seed: 0"),
        ("folds.json", "{}"),
        ("ladder.json", "{}"),
        ("competitor.json", '{"title": "metadata", "kind": "baseline"}'),
    ],
)
def test_a_probe_replaces_no_answers_but_those_of_a_probe(
    tmp_path: Path, name: str, text: str
) -> None:
    write_features(tmp_path / "good.npz", make_table())
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text(text)
    (out / "predictions.csv").write_text("of somebody else")
    with pytest.raises(ConfigError, match="answers of a probe cannot be written into out"):
        probe(tmp_path / "good.npz", out, Silent(), resamples=100)
    assert {path.name for path in out.iterdir()} == {name, "predictions.csv"}
    assert (out / "predictions.csv").read_text() == "of somebody else"


def test_a_probe_may_be_made_again_in_its_folder(tmp_path: Path) -> None:
    write_features(tmp_path / "good.npz", make_table())
    probe(tmp_path / "good.npz", tmp_path / "out", Silent(), resamples=100)
    before = (tmp_path / "out/predictions.csv").read_bytes()
    probe(tmp_path / "good.npz", tmp_path / "out", Silent(), resamples=100)
    assert (tmp_path / "out/predictions.csv").read_bytes() == before


def test_files_and_options_that_cannot_be_used_have_their_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    (tmp_path / "file").write_text("")
    write_features(tmp_path / "good.npz", make_table())
    calls: list[tuple[str, str, int, type[VolclassError], int]] = [
        ("good.npz", "out", 1, ConfigError, 2),
        ("good.txt", "out", 5, ConfigError, 2),
        ("missing.npz", "out", 5, StorageError, 4),
        ("broken.npz", "out", 5, StorageError, 4),
        ("good.npz", "file/out", 5, StorageError, 4),
    ]
    for name, out, folds, kind, code in calls:
        with pytest.raises(kind) as caught:
            probe(tmp_path / name, tmp_path / out, Silent(), folds=folds)
        assert caught.value.exit_code == code
