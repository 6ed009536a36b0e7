"""The tuning file: what it means, and every mistake in it named with its key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.build import check_network
from pipeline.config import Config
from pipeline.config_file import shipped_configs
from pipeline.errors import ConfigError
from pipeline.tune_config import Dimension
from pipeline.tune_plan import check_space, read_tuning

LR: dict[str, object] = {"low": 1e-4, "high": 1e-2, "log": True}
SPACE: dict[str, object] = {"train.lr": LR}


def written(folder: Path, content: object) -> str:
    """A tuning file; JSON is YAML."""
    path = folder / "tuning.yaml"
    path.write_text(json.dumps(content))
    return str(path)


def of(space: dict[str, object], **more: object) -> dict[str, object]:
    return {"config": "base", "space": space, **more}


MISTAKES: list[tuple[object, str]] = [
    ([], "a config is a mapping"),
    ({"space": SPACE}, "config: Field required"),
    ({"config": "base"}, "space: Field required"),
    (of({}), "space: Dictionary should have at least 1 item"),
    (of(SPACE, trial=3), "unknown key trial; did you mean trials?"),
    (of(SPACE, trials=0), "trials: Input should be greater than or equal to 1"),
    (of(SPACE, startup=0), "startup: Input should be greater than or equal to 1"),
    (of(SPACE, seed=-1), "seed: Input should be greater than or equal to 0"),
    (of(SPACE, pruner="mean"), "pruner: Input should be 'median' or 'none'"),
    (of(SPACE, sampler="grid"), "a grid needs choices, and train.lr has none"),
    (of({"model.mixer": {"choices": ["pool", "conv"]}}, sampler="grid", trials=3),
     "trials is 3, and the grid has 2 combinations"),
    (of(SPACE, folds=[]), "folds"),
    (of(SPACE, folds=[0, 0]), "folds are different numbers"),
    (of(SPACE, folds=[-1]), "folds are different numbers"),
    ({**of(SPACE), "config": "no_such_config"}, "there is no config no_such_config"),
    (of(SPACE, set={"train.epoch": 3}), "unknown key train.epoch"),
    (of(SPACE, set={"train": {"epochs": 3}}), "section.key: value"),
    (of(SPACE, set={"train.lr": 3.0}), "train.lr is searched, so set cannot give it a value"),
    (of({"data.max_quarantine": {"low": 0, "high": 3}}), "data.max_quarantine cannot be searched"),
    (of({"cv.folds": {"low": 2, "high": 3}}), "all trials share cases, folds and seed"),
    (of({"seed": {"low": 2, "high": 3}}), "all trials share cases, folds and seed"),
    (of({"system.threads": {"low": 1, "high": 3}}), "sections that can be: preprocess"),
    (of({"report.gallery": {"low": 1, "high": 3}}), "report.gallery cannot be searched"),
    (of({"train.monitor": {"choices": ["loss", "auroc"]}}), "by which trials are compared"),
    (of({"train.seeds": {"low": 1, "high": 3}}), "train.seeds cannot be searched"),
    (of({"lr": LR}), "space takes section.key"),
    (of({"train.lr=3": LR}), "space takes section.key"),
    (of({"model.options": {"choices": [{}, {"norm": "batch"}]},
         "model.options.dropout": {"low": 0.1, "high": 0.2}}), "cannot be searched beside it"),
    (of({"train.learning": LR}), "unknown key train.learning"),
]  # fmt: skip
DIMENSIONS: list[tuple[dict[str, object], str]] = [
    ({}, "low and high are needed, or choices"),
    ({"low": 0.1}, "low and high are needed"),
    ({"low": 0.2, "high": 0.1}, "low must be less than high (given: 0.2 and 0.1)"),
    ({"low": 0.1, "high": 0.1}, "low must be less than high"),
    ({"low": 0.0, "high": 0.1, "log": True}, "log needs a low above 0 (given: 0.0)"),
    ({"low": -1.0, "high": 0.1, "log": True}, "log needs a low above 0"),
    ({"low": 0.1, "high": 0.2, "log": True, "step": 0.1}, "log takes no step"),
    ({"low": 0.1, "high": 0.2, "step": 0.0}, "step must be above 0"),
    ({"low": 0.1, "high": 0.25, "step": 0.1}, "steps of 0.1 from 0.1 do not reach 0.25"),
    ({"low": 1, "high": 2, "step": 0.5}, "whole numbers need a whole step"),
    ({"low": 0.1, "high": 0.2, "steps": 2}, "unknown key space.train.lr.steps"),
    ({"low": "a", "high": 0.2}, "space.train.lr.low"),
    ({"low": True, "high": 2}, "space.train.lr.low"),
    ({"low": 1, "high": 10**16}, "space.train.lr.high"),
    ({"low": float("nan"), "high": 0.2}, "space.train.lr.low"),
    ({"low": 0.1, "high": float("inf")}, "space.train.lr.high"),
    ({"choices": [0.1]}, "space.train.lr.choices"),
    ({"choices": [0.1, 0.2, 0.1]}, "a choice stands twice"),
    ({"choices": [0.1, 0.2], "low": 0.1}, "choices take no low"),
    ({"low": 1, "high": 3}, "it holds fractions, and both ends are whole numbers"),
    ({"low": -0.5, "high": 0.5}, "train.lr=-0.5"),
    ({"low": -2.0, "high": -1.0}, "train.lr: Input should be greater than 0"),
    ({"choices": [0.1, "much"]}, 'train.lr="much"'),
]


@pytest.mark.parametrize(("content", "words"), MISTAKES)
def test_a_tuning_file_that_is_not_valid(content: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_tuning(written(tmp_path, content), ())
    assert words in str(caught.value)


@pytest.mark.parametrize(("dimension", "words"), DIMENSIONS)
def test_a_parameter_that_is_not_valid(
    dimension: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_tuning(written(tmp_path, of({"train.lr": dimension})), ())
    assert words in str(caught.value)


def test_a_mapping_may_be_given_beside_a_searched_part_of_it(tmp_path: Path) -> None:
    space: dict[str, object] = {"model.options.dropout": {"low": 0.1, "high": 0.2}}
    content = of(space, set={"model.options": {"norm": "batch"}})
    found = read_tuning(written(tmp_path, content), ["model.options={mlp_ratio: 2.0}"])
    options = found.config({"model.options.dropout": 0.15}).model.options
    assert options == {"norm": "batch", "mlp_ratio": 2.0, "dropout": 0.15}
    content = of(space, set={"model.options": {"dropout": 0.1}})
    with pytest.raises(ConfigError, match=r"model\.options\.dropout is searched"):
        read_tuning(written(tmp_path, content), ())


@pytest.mark.parametrize("override", ["train.lr=0.1", "train={lr: 0.1}"])
def test_an_override_of_what_is_searched_is_refused(override: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be set for all trials") as caught:
        read_tuning(written(tmp_path, of(SPACE)), [override])
    assert "space, train.lr" in str(caught.value)


def test_settings_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: base.yaml\ntrain: {epochs: 1, clip: 5.0}\n")
    content = {
        "config": "mine.yaml",
        "set": {"train.epochs": 2, "train.patience": 3},
        "space": SPACE,
    }
    found = read_tuning(written(tmp_path, content), ["train.patience=4"])
    config = found.config({"train.lr": 0.003})
    chosen = config.train
    assert (chosen.clip, chosen.epochs, chosen.patience, chosen.lr) == (5.0, 2, 4, 0.003)
    assert found.base.train.lr == 1.0e-3


def test_choices_may_be_anything_that_a_key_holds(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").touch()
    space = {
        "preprocess.size": {"choices": [[8, 8, 8], [16, 16, 8]]},
        "model.weights": {"choices": [None, "w.safetensors"]},
        "model.slices": {"choices": [{"pool": "mean"}, {"pool": "max"}]},
    }
    found = read_tuning(written(tmp_path, of({**space})), ())
    config = found.config({"preprocess.size": [16, 16, 8], "model.weights": "w.safetensors"})
    assert config.preprocess.size == (16, 16, 8)
    assert config.model.weights == str(tmp_path / "w.safetensors")


def test_a_value_that_fits_in_some_combination_is_left_to_the_trials(tmp_path: Path) -> None:
    space = {
        "train.sampler": {"choices": ["shuffle", "balanced"]},
        "train.class_weights": {"choices": ["balanced", "none"]},
    }
    found = read_tuning(written(tmp_path, of({**space})), ())
    with pytest.raises(ConfigError, match="balanced twice"):
        found.config({"train.sampler": "balanced", "train.class_weights": "balanced"})
    only = {"train.sampler": space["train.sampler"], "train.lr": LR}
    with pytest.raises(ConfigError, match=r'configuration with train\.sampler="balanced"'):
        read_tuning(written(tmp_path, of(only)), ())


def test_a_large_space_is_read_in_few_corners(tmp_path: Path) -> None:
    space: dict[str, object] = {
        f"augment.{name}": {"choices": [0.0, 0.1, 0.2, 0.3]}
        for name in ("flip", "rotate90", "intensity", "gamma", "noise", "blur")
    }
    found = read_tuning(written(tmp_path, of(space)), ())
    seen: list[Config] = []
    check_space(found, seen.append)
    assert len(seen) == 4


def test_a_network_that_cannot_be_built_is_refused_with_its_value(tmp_path: Path) -> None:
    space: dict[str, object] = {"model.name": {"choices": ["poolformer3d_t", "poolformer3d_x"]}}
    found = read_tuning(written(tmp_path, of(space)), ())
    with pytest.raises(ConfigError, match=r'model\.name="poolformer3d_x"') as caught:
        check_space(found, check_network)
    assert "unknown model" in str(caught.value)
    unknown: dict[str, object] = {"model.options.depth": {"low": 1, "high": 2}}
    found = read_tuning(written(tmp_path, of(unknown)), ())
    with pytest.raises(ConfigError, match="no option"):
        check_space(found, check_network)


@given(low=st.integers(-50, 50), steps=st.integers(1, 20), step=st.integers(1, 9))
def test_tenths_are_reached_as_they_are_written(low: int, steps: int, step: int) -> None:
    high = (low + steps * step) / 10
    item = Dimension(low=low / 10, high=high, step=step / 10)
    assert item.ends == (low / 10, high)
    assert not item.whole


def test_the_shipped_search_is_valid(tmp_path: Path) -> None:
    assert (shipped_configs() / "tuning" / "mr_patches.yaml").is_file()
    overrides = [f"data.manifest={tmp_path / 'cases.csv'}"]
    check_space(read_tuning("tuning/mr_patches", overrides), check_network)
