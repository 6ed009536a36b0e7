"""Non-interference: whatever stands in the test part of a fold, its networks are the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import SMALL
from leak_makers import FOLD, World, courses, false_world, learnt, states, true_world

from pipeline import crossval
from pipeline.crossval import cross_validate
from pipeline.progress import Silent
from pipeline.storage import read_table

NETWORK = [
    "model.name=resnet18",
    "model.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8], small_stem: true}",
    "model.slices={axis: sagittal, count: 4}",
    "preprocess.intensity={name: percentiles}",
]
CONFIGURATIONS = {
    "volumes": ["train.epochs=3"],
    "masks": ["model.masks={weight: 0.5}"],
    "covariates": ["data.covariates=[age, sex]", "augment.test_time=flips"],
    "stages": [
        "model.head={stages: all, pool: stats, hidden: [4]}",
        "train.seeds=2",
        "augment.mixup=0.4",
        "train.sampler=balanced",
        "train.class_weights=none",
    ],
    "slices": NETWORK,
    "frozen slices": [*NETWORK, "model.slices.frozen=true", "model.slices.pool=gru"],
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, World]:
    """Data as they are, and the same with a false test part."""
    folder = tmp_path_factory.mktemp("worlds")
    world = true_world(folder / "true")
    return world, false_world(world, folder / "false")


def test_the_worlds_differ_in_voxels_labels_and_columns_of_the_test_part_alone(
    worlds: tuple[World, World],
) -> None:
    test = set(json.loads(worlds[0].folds)["folds"][FOLD]["test"])
    before, after = (read_table(world.manifest) for world in worlds)
    differs: dict[str, set[str]] = {"label": set(), "age": set(), "image": set(), "mask": set()}
    for one, other in zip(before, after, strict=True):
        name = Path(one["image"]).name.removesuffix(".nii.gz")
        differs["label"] |= {name} if one["label"] != other["label"] else set()
        differs["age"] |= {name} if one["age"] != other["age"] else set()
        for column in ("image", "mask"):
            files = [
                world.manifest.parent / row[column]
                for world, row in zip(worlds, (one, other), strict=True)
            ]
            if files[0].read_bytes() != files[1].read_bytes():
                differs[column].add(name)
    assert differs["image"] == differs["mask"] == differs["age"] == test
    assert differs["label"]
    assert differs["label"] <= test


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_test_part_changes_no_tensor_no_epoch_and_no_figure(
    name: str, worlds: tuple[World, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # They take most of the time of runs as small as these, and no training reads what they write.
    for step in ("write_report", "note_disguise"):
        monkeypatch.setattr(crossval, step, lambda *_: None)
    runs = []
    for number, world in enumerate(worlds):
        runs.append(world.folder(tmp_path / f"{number}" / "run"))
        own = CONFIGURATIONS[name]
        small = [text for text in SMALL if own[0] != NETWORK[0] or not text.startswith("model.")]
        config = world.config("train.epochs=2", *own, small=small)
        cross_validate(config, runs[-1], Silent(), fold=FOLD)
    one, other = (learnt(run) for run in runs)
    assert any("best" in file for file in one)
    assert one.keys() == other.keys()
    for file, tensors in one.items():
        assert tensors.keys() == other[file].keys()
        same = (torch.equal(tensor, other[file][key]) for key, tensor in tensors.items())
        assert all(same), file
    assert states(runs[0]) == states(runs[1])
    assert courses(runs[0]) == courses(runs[1])
    encoders = [[p.read_bytes() for p in run.rglob("fold_0/covariates.json")] for run in runs]
    assert encoders[0] == encoders[1]
    said = [read_table(run / "fold_0" / "predictions.csv") for run in runs]
    assert all(a["p_left"] != b["p_left"] for a, b in zip(*said, strict=True))
