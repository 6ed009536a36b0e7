"""Runs of 2D networks over slices: end to end, frozen, from files, and what each slice says."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import safetensors.torch
import torch
from huggingface_hub import constants
from typer.testing import CliRunner

import models2d
from models2d.slices import SliceClassifier
from pipeline.build import build_network, check_network, describe_start
from pipeline.cli import app
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError
from pipeline.features import extract
from pipeline.predict import predict
from pipeline.progress import Display, Silent
from pipeline.storage import read_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

SLICES = (
    "preprocess.spacing=null",
    "preprocess.size=[8, 8, 8]",
    "preprocess.crop=none",
    "preprocess.intensity={name: percentiles}",
    "model.name=resnet18",
    "model.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8], small_stem: true}",
    "model.slices={axis: sagittal, count: 4}",
    "train.epochs=3",
    "train.batch_size=4",
    "cv.folds=2",
    "cv.validation=0.3",
    "system.workers=0",
    "system.threads=1",
    "report.bootstrap=100",
)
#: The class is the brighter half of the sagittal slices, so a pool must know their order.
FROZEN = (
    "model.slices={frozen: true, pool: gru}",
    *("train.epochs=30", "train.lr=0.01", "train.patience=30"),
)


class ShownLines(Display, Protocol):
    """A display that keeps its lines."""

    shown: list[str]


Build = Callable[..., Config]


@pytest.fixture(scope="module")
def slices_config(small_manifest: Path) -> Build:
    """Builds a small configuration of a 2D network, with further overrides."""

    def build(*overrides: str) -> Config:
        return load_config("base", [*SLICES, f"data.manifest={small_manifest}", *overrides])

    return build


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, slices_config: Build) -> Path:
    """A run of a 2D network, trained end to end."""
    out = tmp_path_factory.mktemp("slices") / "run"
    cross_validate(slices_config(), out, Silent())
    return out


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory, slices_config: Build) -> Path:
    """A run of which only the attention and the classifier are trained."""
    out = tmp_path_factory.mktemp("frozen") / "run"
    cross_validate(slices_config(*FROZEN), out, Silent())
    return out


def test_every_slice_of_every_test_case_is_told_with_its_share(trained: Path) -> None:
    shares: defaultdict[str, float] = defaultdict(float)
    for fold in range(2):
        tested = {row["case_id"] for row in read_table(trained / f"fold_{fold}/predictions.csv")}
        rows = read_table(trained / f"fold_{fold}/slices.csv")
        assert {row["case_id"] for row in rows} == tested
        for row in rows:
            shares[row["case_id"]] += float(row["weight"])
            assert (row["fold"], row["axis"], row["slices"]) == (str(fold), "sagittal", "8")
            assert float(row["p_left"]) + float(row["p_right"]) == pytest.approx(1.0)
        assert [int(row["slice"]) for row in rows[:4]] == [1, 3, 5, 7]
    assert len(shares) == 20
    assert list(shares.values()) == pytest.approx([1.0] * 20)


def test_a_run_over_slices_predicts_again_what_it_predicted(
    trained: Path, small_manifest: Path, tmp_path: Path
) -> None:
    predict(trained, [str(small_manifest)], tmp_path / "p.csv", Silent(), out_of_fold=True)
    again = {row["case_id"]: row for row in read_table(tmp_path / "p.csv")}
    for row in read_table(trained / "predictions.csv"):
        assert float(again[row["case_id"]]["p_left"]) == pytest.approx(float(row["p_left"]))


def test_a_stopped_run_over_slices_goes_on_to_the_same_bits(
    trained: Path,
    slices_config: Build,
    tmp_path: Path,
    assert_same_run: Callable[[Path, Path], None],
) -> None:
    out = tmp_path / "run"
    cross_validate(slices_config(), out, Silent(), fold=1)
    cross_validate(slices_config(), out, Silent(), resume=True)
    assert_same_run(trained, out)


def test_a_frozen_network_is_the_same_in_all_folds_and_never_changes(
    frozen: Path, slices_config: Build
) -> None:
    start = build_network(slices_config(*FROZEN).model, 2, seed=0).state_dict()
    for fold in range(2):
        folder = frozen / f"fold_{fold}/checkpoints"
        index = json.loads((folder / "checkpoints.json").read_text())
        kept = safetensors.torch.load_file(folder / index["best"]["file"])
        assert [
            name
            for name, tensor in start.items()
            if name.startswith("network.") and not torch.equal(kept[name], tensor)
        ] == []
        assert not torch.equal(kept["fc.weight"], start["fc.weight"])


def test_a_frozen_pyramid_is_the_same_in_all_folds_and_in_the_cached_features(
    slices_config: Build, tmp_path: Path
) -> None:
    words = (*FROZEN, "model.slices={pyramid: true, pool: attention}", "train.epochs=1")
    cross_validate(slices_config(*words), tmp_path / "run", Silent())
    start = build_network(slices_config(*words).model, 2, seed=0).state_dict()
    levels = [name for name in start if name.startswith("levels.")]
    assert levels
    for fold in range(2):
        folder = tmp_path / f"run/fold_{fold}/checkpoints"
        index = json.loads((folder / "checkpoints.json").read_text())
        kept = safetensors.torch.load_file(folder / index["best"]["file"])
        assert [name for name in levels if not torch.equal(kept[name], start[name])] == []


def test_frozen_features_learn_what_random_slices_tell(frozen: Path) -> None:
    metrics = json.loads((frozen / "report/metrics.json").read_text())
    assert metrics["metrics"]["auroc"]["estimate"] > 0.7


def test_a_frozen_run_is_tested_on_the_volumes_themselves(
    frozen: Path, small_manifest: Path, tmp_path: Path
) -> None:
    predict(frozen, [str(small_manifest)], tmp_path / "p.csv", Silent(), out_of_fold=True)
    again = {row["case_id"]: row for row in read_table(tmp_path / "p.csv")}
    for row in read_table(frozen / "predictions.csv"):
        assert float(again[row["case_id"]]["p_left"]) == pytest.approx(
            float(row["p_left"]), abs=1e-6
        )


def test_slice_features_are_computed_once(
    slices_config: Build,
    tmp_path: Path,
    lines: ShownLines,
    monkeypatch: pytest.MonkeyPatch,
    assert_same_run: Callable[[Path, Path], None],
) -> None:
    passes = []
    embed = SliceClassifier.embed

    def counted(self: SliceClassifier, x: torch.Tensor) -> torch.Tensor:
        passes.append(len(x))
        return embed(self, x)

    monkeypatch.setattr(SliceClassifier, "embed", counted)
    config = slices_config(*FROZEN, "train.epochs=4")
    cross_validate(config, tmp_path / "first", lines)
    assert "slice features: 4 slices of 8 numbers a volume" in "\n".join(lines.shown)
    assert "random weights, which know nothing yet: network" in lines.shown
    # The forecast asks once of one batch; then each of the 20 volumes is passed through once.
    assert sum(passes) == 4 + 20
    passes.clear()
    cross_validate(config, tmp_path / "second", Silent())
    assert sum(passes) == 4
    assert_same_run(tmp_path / "first", tmp_path / "second")


def test_slice_features_kept_in_memory_alone_leave_nothing_on_disk(
    slices_config: Build, tmp_path: Path
) -> None:
    config = slices_config(*FROZEN, "train.epochs=1", "system.cache=ram")
    cross_validate(config, tmp_path / "run", Silent())
    assert not list(tmp_path.rglob("*.volume"))


def test_features_of_slices_are_the_mean_maximum_and_deviation_over_the_slices(
    slices_config: Build, small_manifest: Path, tmp_path: Path, lines: ShownLines
) -> None:
    config = slices_config("preprocess.intensity={name: unit}")
    done = extract(config, [], tmp_path / "f.parquet", lines)
    untrained = "random weights (network): these features come from an untrained network"
    assert untrained in lines.shown
    assert done.table.origin.start == "random"
    network = build_network(config.model, 2, start=False, seed=0)
    assert isinstance(network, SliceClassifier)
    assert done.table.blocks["stage4_mean"].shape == (20, 8)
    for stage in range(1, 5):
        low, mean, high = (
            done.table.blocks[f"stage{stage}_{kind}"] for kind in ("std", "mean", "max")
        )
        assert np.all(high >= mean - 1e-6)
        assert np.all(low >= 0)


@pytest.mark.parametrize("pool", ["mean", "max", "gru", "transformer"])
def test_every_pool_trains(pool: str, slices_config: Build, tmp_path: Path) -> None:
    config = slices_config(f"model.slices.pool={pool}", "train.epochs=1")
    cross_validate(config, tmp_path / "run", Silent(), fold=0)
    assert (tmp_path / "run/fold_0/slices.csv").is_file()


@pytest.mark.parametrize(
    "settings",
    [
        ("model.slices.axis=all", "model.slices.neighbours=1"),
        ("model.slices.pyramid=true", "model.slices.freeze_stages=2"),
        ("model.supervision={stages: [3], weight: 0.3}", "augment.mixup=0.2"),
        ("augment.test_time=flips", "model.slices.count=null", "train.seeds=2"),
    ],
)
def test_every_option_of_slices_trains(
    settings: tuple[str, ...], slices_config: Build, tmp_path: Path
) -> None:
    cross_validate(slices_config(*settings, "train.epochs=1"), tmp_path / "run", Silent(), fold=0)
    assert (tmp_path / "run/fold_0/predictions.csv").is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.slices.count=9"], "cannot read the slices"),
        (["model.options={}", "model.name=resnet19"], "nearest names"),
        (["model.mixer=conv"], "has no mixer"),
        (["model.init=inflate"], "model.weights=PATH of 2D weights is needed"),
        (["model.init=inflate", "model.weights=x.pth"], "model.init=inflate makes 3D weights"),
        (["model.inflate={mode: mean}"], "model.inflate is for 3D networks"),
        (["model.init=timm", "model.weights=x.pth"], "leave out one"),
        (["model.init=timm", "preprocess.intensity={name: zscore}"], "model.any_intensity=true"),
        (["model.slices.frozen=true", "augment.test_time=flips"], "computed once"),
        (
            ["model.slices.frozen=true", "model.supervision={stages: [2], weight: 0.3}"],
            "no stages to supervise",
        ),
        (
            ["model.slices={axis: all, frozen: true, pool: gru, count: null}"],
            "cannot read frozen features of all three axes",
        ),
        (
            ["model.name=poolformer3d_t", "model.options={}", "model.slices={count: 3}"],
            "model.slices is for 2D networks",
        ),
        (["preprocess.size=[8, 8, 2]", "model.slices={axis: axial, count: 4}"], "preprocess.size"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_their_key(
    settings: list[str], message: str, slices_config: Build
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_network(slices_config(*settings))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [("vit_tiny_patch16_224", "four"), ("poolformer_s13", "poolformer_s12")],
)
def test_networks_that_do_not_fit_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_network(load_config("base", [f"model.name={name}"]))


def test_weights_of_a_run_start_another_one(trained: Path, slices_config: Build) -> None:
    folder = trained / "fold_0/checkpoints"
    index = json.loads((folder / "checkpoints.json").read_text())
    weights = folder / index["best"]["file"]
    config = slices_config(f"model.weights={weights}", "preprocess.intensity={name: zscore}")
    check_network(config)  # they were never trained on 0..1, so nothing asks for it
    network = build_network(config.model, 3)
    kept = safetensors.torch.load_file(weights)
    own = network.state_dict()
    assert torch.equal(own["network.network.conv1.weight"], kept["network.network.conv1.weight"])
    assert own["fc.weight"].shape[0] == 3


def test_published_rgb_weights_see_the_normalised_grey_image(
    slices_config: Build, tmp_path: Path, lines: ShownLines
) -> None:
    rgb = models2d.create_model("resnet18", 3, 5, layers=[1, 1, 1, 1], channels=[8, 8, 8, 8])
    rgb.eval()
    torch.save({"state_dict": rgb.network.state_dict()}, tmp_path / "resnet.pth")
    config = slices_config(
        f"model.weights={tmp_path / 'resnet.pth'}", "model.options.small_stem=false"
    )
    network = build_network(config.model, 2).eval()
    assert isinstance(network, SliceClassifier)
    grey = torch.rand(2, 1, 32, 32)
    mean = torch.tensor(rgb.mean).view(1, 3, 1, 1)
    deviation = torch.tensor(rgb.std).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = rgb((grey.expand(-1, 3, -1, -1) - mean) / deviation)[:4]
        got = network.network(grey)[:4]
    for one, other in zip(expected, got, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    cross_validate(
        config.model_copy(update={"train": config.train.model_copy(update={"epochs": 1})}),
        tmp_path / "run",
        lines,
        fold=0,
    )
    assert any("taken" in line for line in lines.shown)


def test_weights_of_another_architecture_are_refused(slices_config: Build, tmp_path: Path) -> None:
    other = models2d.create_model("resnet18", 3, 5, layers=[2, 1, 1, 1], channels=[8, 8, 8, 8])
    torch.save(other.network.state_dict(), tmp_path / "other.pth")
    config = slices_config(f"model.weights={tmp_path / 'other.pth'}")
    with pytest.raises(ConfigError, match=r"model\.weights: other\.pth"):
        build_network(config.model, 2)


def test_published_weights_without_a_network_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    words = ["--config", "slices/resnet18_features", "model.init=timm"]
    words += ["data.phantoms={patients: 6, scans: 1, seed: 0}", "--out", str(tmp_path / "f.npz")]
    done = CliRunner().invoke(app, ["features", *words])
    assert done.exit_code == 2, done.output
    assert "HF_HUB_OFFLINE is set" in done.stderr
    assert "model.weights=PATH" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A file with the layout of published RGB weights, for the small network."""
    rgb = models2d.create_model("resnet18", 3, 5, layers=[1, 1, 1, 1], channels=[8, 8, 8, 8])
    torch.save(rgb.network.state_dict(), tmp_path / "resnet.pth")
    return tmp_path / "resnet.pth"


def test_folds_never_start_from_two_files(
    published: Path, slices_config: Build, tmp_path: Path
) -> None:
    config = slices_config(f"model.weights={published}", "train.epochs=1")
    cross_validate(config, tmp_path / "run", Silent(), fold=0)
    other = models2d.create_model("resnet18", 3, 5, layers=[1, 1, 1, 1], channels=[8, 8, 8, 8])
    torch.save(other.network.state_dict(), published)
    with pytest.raises(ConfigError, match="not those that this run began with"):
        cross_validate(config, tmp_path / "run", Silent(), resume=True)


def test_a_trained_run_needs_the_weights_that_it_started_from_no_more(
    published: Path, slices_config: Build, small_manifest: Path, tmp_path: Path
) -> None:
    config = slices_config(f"model.weights={published}", "train.epochs=1")
    cross_validate(config, tmp_path / "run", Silent())
    published.unlink()
    done = predict(tmp_path / "run", [str(small_manifest)], tmp_path / "p.csv", Silent())
    assert len(done) == 20
    extract(tmp_path / "run", [], tmp_path / "f.npz", Silent())
    cross_validate(config, tmp_path / "run", Silent(), resume=True)


def test_frozen_parts_that_no_weights_fill_are_refused(
    published: Path, slices_config: Build
) -> None:
    config = slices_config(f"model.weights={published}", "model.slices.frozen=true")
    with pytest.raises(ConfigError, match="frozen parts of the network would stay random"):
        build_network(config.model, 2)


def test_a_random_pyramid_makes_random_features_of_published_weights(
    published: Path, slices_config: Build, tmp_path: Path, lines: ShownLines
) -> None:
    words = (f"model.weights={published}", "model.options.small_stem=false")
    done = extract(slices_config(*words), [], tmp_path / "plain.npz", Silent())
    assert done.table.origin.start == "file"
    config = slices_config(*words, "model.slices.pyramid=true")
    done = extract(config, [], tmp_path / "pyramid.npz", lines)
    assert done.table.origin.start == "random"
    assert done.table.origin.channels == (256,) * 5
    assert any("random weights (pyramid)" in line for line in lines.shown)


def test_another_network_leaves_out_what_was_set_for_the_first_one() -> None:
    notes: list[str] = []
    config = load_config("slices/resnet18_attention", ["model.name=poolformer3d_t"], notes.append)
    assert config.model.slices == type(config.model.slices)()
    assert notes == ["model.name is poolformer3d_t: left out what was set for resnet18: slices"]
    kept = load_config("slices/resnet18_attention", ["model.name=resnet34"])
    assert kept.model.slices.count == 8


@pytest.mark.parametrize(
    "settings",
    [
        ["model.name=dla34"],
        ["model.name=swin_tiny_patch4_window7_224", "preprocess.size=[256,256,1]"],
    ],
)
def test_networks_that_cannot_take_the_slices_are_refused(settings: list[str]) -> None:
    config = load_config("slices/resnet18_attention", [*settings, "model.slices.count=1"])
    with pytest.raises(ConfigError, match="cannot read the slices"):
        check_network(config)


def test_weights_of_a_2d_poolformer_start_a_3d_one(tmp_path: Path) -> None:
    flat = models2d.create_model("poolformer_s12", 3, 10)
    torch.save(flat.network.state_dict(), tmp_path / "flat.pth")
    words = ["model.name=poolformer3d_s12", "model.init=inflate"]
    words.append(f"model.weights={tmp_path / 'flat.pth'}")
    config = load_config("base", [*words, "preprocess.intensity={name: unit}"])
    check_network(config)
    assert "converted" in describe_start(config.model, 2)[0]
    network = build_network(config.model, 2)
    kernel = network.state_dict()["stages.1.downsample.conv.weight"]
    flat_kernel = flat.network.state_dict()["stages.1.downsample.conv.weight"]
    assert torch.equal(kernel[..., 1], flat_kernel)
    assert not kernel[..., 0].any()
    with pytest.raises(ConfigError, match="do not fit grey values of intensity zscore"):
        check_network(load_config("base", words))


def test_published_2d_weights_start_a_3d_poolformer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flat = models2d.create_model("poolformer_s12", 3, 10).network.state_dict()
    asked = []

    def published(name: str) -> dict[str, torch.Tensor]:
        asked.append(name)
        return dict(flat)

    monkeypatch.setattr(models2d, "published_tensors", published)
    words = ["model.name=poolformer3d_s12", "model.init=timm", "model.inflate.axis=x"]
    network = build_network(load_config("base", words).model, 2)
    assert asked == ["poolformer_s12"]
    kernel = network.state_dict()["stages.1.downsample.conv.weight"]
    assert torch.equal(kernel[:, :, 1], flat["stages.1.downsample.conv.weight"])
    with pytest.raises(ConfigError, match="no published 2D weights for poolformer3d_t"):
        build_network(load_config("base", ["model.init=timm"]).model, 2)
