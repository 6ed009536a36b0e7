"""The configuration: what is valid, what is refused, and that it survives a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import Config
from pipeline.config_file import (
    all_keys,
    config_text,
    find_config,
    load_config,
    parse_yaml,
    shipped_configs,
    validate,
)
from pipeline.errors import ConfigError


def test_base_shows_every_key_with_its_default() -> None:
    text = (shipped_configs() / "base.yaml").read_text()
    assert load_config("base") == Config()
    missing = [key for key in all_keys(Config) if f"{key.split('.')[-1]}:" not in text]
    assert missing == []


@pytest.mark.parametrize(
    "name",
    [
        str(path.relative_to(shipped_configs()).with_suffix(""))
        for path in sorted(shipped_configs().rglob("*.yaml"))
        if path.parent.name not in ("ladders", "tuning")  # they are tested elsewhere
    ],
)
def test_every_shipped_config_is_valid(name: str, tmp_path: Path) -> None:
    overrides = (
        [f"data.manifest={tmp_path / 'cases.csv'}"]
        if name.startswith(("volumes/", "slices/"))
        else []
    )
    if name == "benchmarks/medmnist3d":
        overrides = ["data.name=organmnist3d"]  # what the six sets share names none of them
    assert isinstance(load_config(name, overrides), Config)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epoch=3", "unknown key train.epoch; did you mean train.epochs?"),
        ("trian.epochs=3", "did you mean train"),
        ("train.epochs=many", "train.epochs"),
        ("train.epochs=2.5", "train.epochs"),
        ("train.epochs=true", "train.epochs"),
        ("train.lr=.inf", "train.lr"),
        ("preprocess.spacing=[1, 2]", "preprocess.spacing"),
        ("preprocess.intensity={name: window}", "needs low and high"),
        ("preprocess.intensity={name: zscore, low: 0.0}", "takes no low and high"),
        ("train.sampler=balanced", "balanced twice"),
        ("data.source=manifest", "data.manifest=PATH.csv"),
        ("model.supervision={stages: [0]}", "model.supervision.stages"),
        ("train", "is not an override"),
        ("=3", "is not an override"),
        ("train.lr=[1", "is not YAML"),
        ("train={lr: 1.0, lr: 2.0}", "stands twice"),
        ("data.manifest=2024-13-45", "is not YAML"),
        ("train.lr=!!int abc", "is not YAML"),
        ("seed=!!timestamp x", "is not YAML"),
        ("data.phantoms.seed=-1", "data.phantoms.seed"),
    ],
)
def test_a_wrong_override_is_refused_by_name(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("base", [override])
    assert expected in str(caught.value)
    assert caught.value.exit_code == 2


def test_what_one_reader_changes_is_not_what_the_next_one_reads() -> None:
    base = find_config("base")
    changed = parse_yaml(base)
    changed["train"] = {}
    load_config("base", ["train.lr=0.5", "augment.affine.degrees=1"])
    assert parse_yaml(base)["train"] != {}
    assert load_config("base") == load_config("base", ["seed=0"])


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("base", ["train.epochs=0", "cv.folds=1", "seed=-1"])
    message = str(caught.value)
    assert all(key in message for key in ("train.epochs", "cv.folds", "seed"))


def test_a_missing_config_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="quickstart"):
        load_config("quikstart")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['true']",
        "a: &x [1]\nb: *x",
        "- 1\n- 2",
        "train: {lr: 1.0",
        "base: [a, b]",
        "base: self.yaml",
    ],
)
def test_a_hostile_or_broken_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "self.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_config(str(path))


def test_paths_are_relative_to_where_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "work").mkdir()
    config = tmp_path / "configs" / "mine.yaml"
    config.write_text("data: {source: manifest, manifest: ../data/cases.csv}\n")
    monkeypatch.chdir(tmp_path / "work")
    assert load_config(str(config)).data.manifest == str(tmp_path / "data" / "cases.csv")
    loaded = load_config(str(config), ["data.manifest=cases.csv"])
    assert loaded.data.manifest == str(tmp_path / "work" / "cases.csv")
    text = config_text(loaded, tmp_path / "run")
    assert str(tmp_path) not in text
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(text)
    assert load_config(str(tmp_path / "run" / "config.yaml")) == loaded


def test_a_linked_folder_keeps_its_paths(tmp_path: Path) -> None:
    (tmp_path / "disk" / "runs" / "x").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    run = tmp_path / "link" / "runs" / "x"
    config = load_config("base", [f"system.cache_dir={tmp_path / 'link' / 'cache'}"])
    (run / "config.yaml").write_text(config_text(config, run))
    assert load_config(str(run / "config.yaml")) == config


def test_naming_another_network_leaves_out_what_was_set_for_the_old(tmp_path: Path) -> None:
    notes: list[str] = []
    manifest = f"data.manifest={tmp_path / 'cases.csv'}"
    words = ["model.options={layers: [1, 1, 1, 1]}", "model.name=monai_resnet18", manifest]
    model = load_config("volumes/mr_patches", words, notes.append).model
    assert (model.name, model.options) == ("monai_resnet18", {"layers": [1, 1, 1, 1]})
    assert (model.stem.kernel, model.drop_path) == (None, None)
    assert model.supervision.stages == (2, 3)
    (note,) = notes
    assert "monai_resnet18" in note
    assert note.endswith("poolformer3d_t: drop_path, stem, options")
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: volumes/mr_patches\nmodel: {name: monai_densenet121}\n")
    assert load_config(str(mine), [manifest], notes.append).model.options == {}
    assert len(notes) == 2
    kept = load_config("volumes/mr_patches", ["model.name=poolformer3d_t", manifest], notes.append)
    assert kept == load_config("volumes/mr_patches", [manifest])
    assert len(notes) == 2


def test_naming_a_manifest_chooses_it() -> None:
    assert load_config("base", ["data.manifest=cases.csv"]).data.source == "manifest"


@given(
    epochs=st.integers(1, 1000),
    rate=st.floats(1e-8, 10.0),
    size=st.tuples(*[st.integers(1, 512)] * 3),
    stages=st.lists(st.integers(1, 4), unique=True),
)
def test_a_config_survives_its_file(
    epochs: int, rate: float, size: tuple[int, int, int], stages: list[int]
) -> None:
    tree = {
        "train": {"epochs": epochs, "lr": rate},
        "preprocess": {"size": [*size]},
        "model": {"supervision": {"stages": [*stages]}},
    }
    config = validate(tree, "generated")  # type: ignore[arg-type]  # lists are invariant
    folder = Path("run")
    text = config_text(config, folder.resolve())
    import yaml

    assert validate(yaml.safe_load(text), "file") == config


def test_the_configuration_is_frozen() -> None:
    config = Config()
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1  # type: ignore[misc]  # what the test is about
