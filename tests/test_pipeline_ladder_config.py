"""The ladder file: what it means, and every mistake in it named with its key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.build import check_network
from pipeline.config_file import shipped_configs
from pipeline.errors import ConfigError
from pipeline.ladder_config import Ladder, read_ladder


def written(folder: Path, content: object) -> str:
    """A ladder file; JSON is YAML."""
    path = folder / "ladder.yaml"
    path.write_text(json.dumps(content))
    return str(path)


def ladder_of(*names: str) -> dict[str, object]:
    """A ladder of rungs that need no network."""
    return {"config": "base", "rungs": [{"name": name, "kind": "majority"} for name in names]}


TWO = ladder_of("majority", "other")
TWO_RUNG = {"name": "two", "kind": "majority"}
MISTAKES: list[tuple[object, str]] = [
    ([], "a config is a mapping"),
    ({"rungs": TWO["rungs"]}, "config: Field required"),
    ({**TWO, "rung": []}, "unknown key rung"),
    ({**TWO, "config": "no_such_config"}, "there is no config no_such_config"),
    ({**TWO, "set": {"train.epoch": 3}}, "unknown key train.epoch"),
    ({**TWO, "set": {"train": {"epochs": 3}}}, "section.key: value"),
    (ladder_of("majority"), "rungs: Tuple should have at least 2 items"),
    (ladder_of("majority", "majority"), "several rungs are named majority"),
]
RUNG_MISTAKES: list[tuple[dict[str, object], str]] = [
    ({"name": "../up"}, "rungs.0.name"),
    ({"name": ""}, "rungs.0.name"),
    ({"kind": "guess"}, "rungs.0.kind"),
    ({"sets": {}}, "unknown key rungs.0.sets"),
    ({"set": {"data.max_quarantine": 1}}, "data.max_quarantine cannot be set for one rung"),
    ({"set": {"cv.folds": 3}}, "cv.folds cannot be set for one rung"),
    ({"set": {"seed": 3}}, "seed cannot be set for one rung"),
    ({"kind": "train", "set": {"system.cache_dir": "c"}}, "system.cache_dir cannot be set for one"),
    ({"set": {"train.epoch": 3}}, "rung one"),
    ({"kind": "majority", "set": {"train.epochs": 3}}, "would do nothing in a majority rung"),
    ({"kind": "histogram", "set": {"train.epochs": 3}}, "sections that count: preprocess"),
    ({"kind": "shape", "set": {"model.name": "resnet18"}}, "would do nothing in a shape rung"),
    ({"kind": "probe", "set": {"augment.flip": 0.1}}, "would do nothing in a probe rung"),
    ({"kind": "ensemble", "of": ["two"]}, "two or more earlier rungs"),
    ({"kind": "ensemble", "of": ["two", "three"]}, "averages two, which is no earlier rung"),
    ({"kind": "probe", "of": ["two", "three"]}, "`of` would do nothing"),
    ({"kind": "probe", "start": "two"}, "start would do nothing in a probe rung"),
    ({"kind": "train", "start": "two"}, "starts from two, no earlier pretrain rung"),
    ({"kind": "train", "start": "two", "set": {"model.init": "timm"}}, "leave model.init out"),
    ({"kind": "pretrain"}, "two rungs or more must answer"),
]


@pytest.mark.parametrize(("content", "words"), MISTAKES)
def test_a_ladder_file_that_is_not_valid(content: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_ladder(written(tmp_path, content), (), lambda _: None)
    assert words in str(caught.value)


@pytest.mark.parametrize(("change", "words"), RUNG_MISTAKES)
def test_a_rung_that_is_not_valid(change: dict[str, object], words: str, tmp_path: Path) -> None:
    first = {"name": "one", "kind": "train", **change}
    content = {"config": "base", "rungs": [first, {"name": "two", "kind": "majority"}]}
    with pytest.raises(ConfigError) as caught:
        read_ladder(written(tmp_path, content), (), lambda _: None)
    assert words in str(caught.value)


NETWORKS = [
    {"name": "slices", "kind": "train", "set": {"model.name": "resnet18",
     "model.slices": {"pool": "mean"}, "model.slices.count": 8, "model.supervision.stages": []}},
    {"name": "volumes", "kind": "train"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("override", "rung"),
    [
        ("model.name=resnet34", "slices"),
        ("model.name=resnet18", "slices"),
        ("model={name: resnet18}", "slices"),
        ("model.slices.count=4", "slices"),
        ("model.slices.pool=max", "slices"),
        ("model.supervision.stages=[2]", "slices"),
    ],
)
def test_no_override_makes_a_rung_another_network_than_it_says(
    override: str, rung: str, tmp_path: Path
) -> None:
    source = written(tmp_path, {"config": "base", "rungs": NETWORKS})
    with pytest.raises(ConfigError, match="cannot be set for all rungs") as caught:
        read_ladder(source, [override], lambda _: None)
    assert f"rung {rung}" in str(caught.value)
    assert ".".join(override.partition("=")[0].split(".")[:2]) in str(caught.value)


def test_overrides_that_no_rung_contradicts_are_for_all(tmp_path: Path) -> None:
    source = written(tmp_path, {"config": "base", "rungs": NETWORKS})
    agreeing = ["model.supervision.stages=[]", "model.supervision.weight=0.5", "train.lr=0.5"]
    for rung in read_ladder(source, agreeing, lambda _: None).rungs:
        assert rung.config.model.supervision.weight == 0.5
        assert rung.config.model.supervision.stages == ()
    plain = [{"name": "one", "kind": "train"}, {"name": "two", "kind": "probe"}]
    source = written(tmp_path, {"config": "base", "rungs": plain})
    found = read_ladder(source, ["model.name=monai_resnet10"], lambda _: None)
    assert {rung.config.model.name for rung in found.rungs} == {"monai_resnet10"}


def test_weights_named_by_a_rung_are_not_overridden(tmp_path: Path) -> None:
    own = {"name": "own", "kind": "train", "set": {"model.weights": "w.safetensors"}}
    source = written(tmp_path, {"config": "base", "rungs": [NETWORKS[1], own]})
    found = read_ladder(source, ["model.drop_path=0.1"], lambda _: None)
    assert found.rungs[1].config.model.weights == str(tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"model\.weights cannot be set for all rungs"):
        read_ladder(source, ["model.weights=other.safetensors"], lambda _: None)


def test_settings_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: base.yaml\ntrain: {epochs: 1, lr: 1e-2}\n")
    content = {
        "config": "mine.yaml",
        "set": {"train.epochs": 2, "train.batch_size": 2, "train.clip": 2.0},
        "rungs": [
            {"name": "one", "kind": "majority"},
            {"name": "two", "kind": "train", "set": {"train.batch_size": 3, "train.clip": 3.0}},
        ],
    }
    notes: list[str] = []
    found = read_ladder(written(tmp_path, content), ["train.clip=4.0"], notes.append)
    chosen = [rung.config.train for rung in found.rungs]
    assert [(c.lr, c.epochs, c.batch_size, c.clip) for c in chosen] == [
        (0.01, 2, 2, 4.0),
        (0.01, 2, 3, 4.0),
    ]
    assert found.base.train.clip == 4.0


def test_a_shape_rung_may_have_a_preprocessing_of_its_own(tmp_path: Path) -> None:
    shape = {"name": "one", "kind": "shape", "set": {"preprocess.size": [9, 9, 9]}}
    source = written(tmp_path, {"config": "base", "rungs": [shape, TWO_RUNG]})
    first, second = read_ladder(source, (), lambda _: None).rungs
    assert first.plan.kind == "shape"
    assert first.config.preprocess.size == (9, 9, 9) != second.config.preprocess.size


def test_numbers_and_paths_mean_what_the_file_says(tmp_path: Path) -> None:
    text = """
config: volumes/mr_patches
set: {train.lr: 1e-3, data.source: manifest, data.manifest: cases.csv}
rungs:
  - {name: majority, kind: majority}
  - {name: other, kind: train, set: {model.name: monai_resnet10, model.weights: w.safetensors}}
"""
    (tmp_path / "ladder.yaml").write_text(text)
    notes: list[str] = []
    found = read_ladder(str(tmp_path / "ladder.yaml"), (), notes.append)
    config = found.rungs[1].config
    assert config.train.lr == 0.001
    assert config.data.manifest == str(tmp_path / "cases.csv")
    assert config.model.weights == str(tmp_path / "w.safetensors")
    assert len(notes) == 1
    assert notes[0].startswith("other: model.name is monai_resnet10: left out")


def test_chosen_rungs_bring_what_they_rest_on(tmp_path: Path) -> None:
    found = read_ladder("ladders/mr_patches", [f"data.manifest={tmp_path / 'c.csv'}"], _nothing)
    names = [rung.plan.name for rung in found.cut(["pretrained", "nano_shape"]).rungs]
    assert names == ["shape", "nano", "nano_shape", "pretraining", "pretrained"]
    assert found.cut([rung.plan.name for rung in found.rungs]) == found


@pytest.mark.parametrize(
    ("names", "words"),
    [(["nanny"], "no rung nanny"), (["pretrained"], "two rungs"), (["nano"], "two rungs")],
)
def test_chosen_rungs_exist_and_can_be_compared(
    names: list[str], words: str, tmp_path: Path
) -> None:
    found = read_ladder("ladders/mr_patches", [f"data.manifest={tmp_path / 'c.csv'}"], _nothing)
    with pytest.raises(ConfigError, match=words) as caught:
        found.cut(names)
    assert caught.value.where == "--rungs"


def _nothing(_: str) -> None:
    """Takes a note that no test reads."""


@pytest.mark.parametrize("name", ["medmnist3d", "medmnist3d_64"])
def test_the_ladders_of_the_benchmark_are_valid(name: str) -> None:
    found = read_ladder(f"ladders/{name}", ["data.name=adrenalmnist3d"], lambda _: None)
    assert "nano" in [rung.plan.name for rung in found.rungs]
    for rung in found.rungs:
        if rung.plan.kind == "train":
            assert rung.config.train.seeds == 5
            check_network(rung.config)


def test_the_ladder_of_the_mr_patches_is_valid(tmp_path: Path) -> None:
    overrides = [f"data.manifest={tmp_path / 'cases.csv'}"]
    found = read_ladder("ladders/mr_patches", overrides, lambda _: None)
    starts = {rung.plan.name: rung.plan.start for rung in found.rungs if rung.plan.start}
    assert starts == {"pretrained": "pretraining"}
    for rung in found.rungs:
        if rung.plan.kind in ("train", "pretrain"):
            check_network(rung.config)


def test_the_ladder_of_masks_differs_in_masks_alone() -> None:
    plain, masks = (rung.config for rung in read_ladder("ladders/masks", (), _nothing).rungs)
    check_network(masks)
    assert masks.model.masks.weight > 0
    weight = plain.model.masks.model_copy(update={"weight": masks.model.masks.weight})
    assert plain.model.model_copy(update={"masks": weight}) == masks.model
    assert plain.train == masks.train


def test_the_ladder_of_clinical_variables_takes_a_users_columns(tmp_path: Path) -> None:
    overrides = [f"data.manifest={tmp_path / 'cases.csv'}", "data.covariates=[weight]"]
    rungs = read_ladder("ladders/clinical", overrides, _nothing).rungs
    found = {rung.plan.name: rung for rung in rungs}
    assert found["clinical"].plan.kind == "clinical"
    covariates = {name: rung.config.data.covariates for name, rung in found.items()}
    assert covariates["clinical"] == covariates["volume_clinical"] == ("weight",)
    assert covariates["volume"] == ()
    for name in ("volume", "volume_clinical"):
        check_network(found[name].config)


@pytest.mark.parametrize("name", ["quick", "full"])
def test_shipped_ladders_are_valid(name: str, tmp_path: Path) -> None:
    assert (shipped_configs() / "ladders" / f"{name}.yaml").is_file()
    overrides = [f"data.manifest={tmp_path / 'cases.csv'}"]
    found = read_ladder(f"ladders/{name}", overrides, lambda _: None)
    kinds = [rung.plan.kind for rung in found.rungs]
    assert kinds[:4] == ["majority", "metadata", "histogram", "shape"]
    assert {"train", "probe"} <= set(kinds)
    for rung in found.rungs:
        if rung.plan.kind in ("train", "probe"):
            check_network(rung.config)


READERS = {
    "config": "base",
    "rungs": [
        {"name": "histogram", "kind": "histogram"},
        {"name": "shape", "kind": "shape"},
        {"name": "warm", "kind": "pretrain"},
        {"name": "net", "kind": "train"},
        {"name": "own", "kind": "train", "set": {"preprocess.intensity.name": "zscore"}},
        {"name": "features", "kind": "probe"},
    ],
}


def intensities(found: Ladder) -> dict[str, str]:
    """How each rung's grey values are scaled."""
    return {rung.plan.name: rung.config.preprocess.intensity.name for rung in found.rungs}


def test_a_default_gives_way_to_the_rung_and_to_overrides(tmp_path: Path) -> None:
    source, default = written(tmp_path, READERS), ["preprocess.intensity.name=percentiles"]
    found = read_ladder(source, (), lambda _: None, default)
    others = set(intensities(found).items()) - {("own", "zscore")}
    assert {name for _, name in others} == {"percentiles"}
    assert intensities(found)["own"] == "zscore"
    # The cases of all rungs are read as the rungs read them.
    assert found.base.preprocess.intensity.name == "percentiles"
    over = read_ladder(source, ["preprocess.intensity.name=unit"], lambda _: None, default)
    assert set(intensities(over).values()) == {"unit"}


def test_baselines_read_the_voxels_of_shapes_where_networks_read_distances(tmp_path: Path) -> None:
    told: list[str] = []
    settings = ["preprocess.intensity={name: distance}"]
    found = read_ladder(written(tmp_path, READERS), settings, told.append)
    networks = dict.fromkeys(("warm", "net", "own", "features"), "distance")
    assert intensities(found) == {"histogram": "unit", "shape": "unit", **networks}
    assert [line.partition(":")[0] for line in told] == ["histogram", "shape"]
