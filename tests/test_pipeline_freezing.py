"""Parts of a network: which they are, how fast they learn, and that frozen ones stay by the bit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import SMALL
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.build import (
    build_network,
    build_optimizer,
    build_supervised,
    build_task,
    check_freezing,
    check_network,
)
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError, PreemptedError
from pipeline.progress import Bar, Silent
from pipeline.training.optim import parameter_groups
from pipeline.training.parts import HEAD, factors, keep_still, parts_of

MakeConfig = Callable[..., Config]
Tensors = Callable[[Path, int, str], dict[str, Tensor]]

RESNET = (
    "model.name=monai_resnet18",
    "model.options={layers: [1, 1, 1, 1], block_inplanes: [4, 8, 8, 8]}",
)
FLAT = ("model.name=resnet18", "model.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8]}")
DENSENET = (
    "model.name=monai_densenet121",
    "model.options={init_features: 4, growth_rate: 2, block_config: [1, 1, 1, 1]}",
)


@pytest.fixture
def other_config(small_manifest: Path) -> MakeConfig:
    """As `small_config`, for another network than PoolFormer."""
    kept = [text for text in SMALL if not text.startswith("model.")]

    def build(*overrides: str) -> Config:
        return load_config("base", [*kept, f"data.manifest={small_manifest}", *overrides])

    return build


def built(config: Config) -> nn.Module:
    with torch.device("meta"):
        return build_network(config.model, 2)


def split_by_part(network: nn.Module) -> dict[str, set[str]]:
    parts = parts_of(network)
    found: dict[str, set[str]] = {}
    for name, _ in parts.encoder.named_parameters():
        found.setdefault(parts.of(name), set()).add(name)
    return found


@pytest.mark.parametrize(
    "head", ["{}", "{stages: all, pool: stats}", "{hidden: [4], dropout: 0.5}"]
)
def test_the_parts_of_a_poolformer_are_its_modules(small_config: MakeConfig, head: str) -> None:
    found = split_by_part(built(small_config(f"model.head={head}")))
    assert list(found)[:5] == ["stem", "stage1", "stage2", "stage3", "stage4"]
    assert all(name.startswith("stem.") for name in found["stem"])
    for number in range(1, 5):
        assert all(name.startswith(f"stages.{number - 1}.") for name in found[f"stage{number}"])
    assert all(name.startswith("head.") for name in found.get(HEAD, ()))


@pytest.mark.parametrize("head", ["{}", "{stages: all, pool: stats}", "{hidden: [4]}"])
def test_the_parts_of_a_resnet_are_found_under_any_head(
    other_config: MakeConfig, head: str
) -> None:
    network = built(other_config(*RESNET, f"model.head={head}"))
    parts = parts_of(network)
    assert parts.names == ("stem", "stage1", "stage2", "stage3", "stage4")
    assert parts.of("bn1.running_mean") == "stem"
    assert parts.of("conv1.weight") == "stem"
    assert parts.of("layer1.0.conv1.weight") == "stage1"
    assert parts.of("layer4.0.bn2.bias") == "stage4"
    assert parts.of("fc.weight") == HEAD


def test_a_transition_belongs_to_the_stage_after_it(other_config: MakeConfig) -> None:
    parts = parts_of(built(other_config(*DENSENET)))
    assert parts.of("features.norm0.weight") == "stem"
    assert parts.of("features.denseblock1.denselayer1.layers.norm1.weight") == "stage1"
    assert parts.of("features.transition1.norm.weight") == "stage2"
    assert parts.of("features.norm5.weight") == HEAD


@pytest.mark.parametrize("pyramid", ["true", "false"])
def test_the_parts_of_a_2d_network_are_those_of_its_images(
    other_config: MakeConfig, pyramid: str
) -> None:
    network = built(other_config(*FLAT, f"model.slices.pyramid={pyramid}"))
    found = split_by_part(network)
    assert found["stem"] == {
        f"network.{name}" for name in ("conv1.weight", "bn1.weight", "bn1.bias")
    }
    assert all(name.startswith("network.layer2.") for name in found["stage2"])
    rates = factors(network, 0.5)
    assert rates["network.network.conv1.weight"] == 0.5**5
    outside = [name for name in rates if not name.startswith("network.")]
    assert {rates[name] for name in outside} == {1.0}


def test_the_parts_of_a_timm_poolformer_cover_all_of_it(other_config: MakeConfig) -> None:
    network = built(other_config("model.name=poolformer_s12", "model.options={}"))
    found = split_by_part(network)
    assert set(found) - {HEAD} == {"stem", "stage1", "stage2", "stage3", "stage4"}
    assert all(".stages." not in name for name in found.get(HEAD, set()) | found["stem"])


def test_auxiliary_heads_are_of_the_head(small_config: MakeConfig) -> None:
    config = small_config()
    with torch.device("meta"):
        network = build_supervised(config.model, build_network(config.model, 2), 2)
    rates = factors(network, 0.5)
    assert {rate for name, rate in rates.items() if name.startswith("heads.")} == {1.0}
    assert rates["model.stem.conv.weight"] == 0.5**5


def test_a_module_without_stages_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear declares no stages"):
        parts_of(nn.Linear(1, 1))


@given(decay=st.floats(0.01, 1.0), weight_decay=st.floats(0.0, 1.0))
def test_every_trained_parameter_is_in_one_group_with_its_factor(
    decay: float, weight_decay: float
) -> None:
    network = _tiny()
    rates = factors(network, decay)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    seen = []
    for group in parameter_groups(network, weight_decay, decay):
        for parameter in group["params"]:  # type: ignore[attr-defined]  # a list
            name = names[id(parameter)]
            seen.append(name)
            assert group.get("factor", 1.0) == rates[name]
            assert group["weight_decay"] == (weight_decay if parameter.ndim > 1 else 0.0)
    assert sorted(seen) == sorted(names.values())
    powers = {"head.": 0, "stages.1": 1, "stages.0": 2, "stem.": 3}
    for name, rate in rates.items():
        (power,) = (power for start, power in powers.items() if name.startswith(start))
        assert rate == decay**power


def _tiny() -> nn.Module:
    from models3d import PoolFormer3d

    with torch.device("meta"):
        return PoolFormer3d([1, 1], [4, 4], num_classes=2)


def test_without_layer_decay_the_groups_are_what_they_were() -> None:
    network = _tiny()
    groups = parameter_groups(network, 0.05)
    assert [set(group) for group in groups] == [{"params", "weight_decay"}] * 2
    trained = list(network.parameters())
    expected = [[p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]]
    for group, parameters in zip(groups, expected, strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in parameters]  # type: ignore[attr-defined]


def test_by_default_nothing_is_touched(small_config: MakeConfig) -> None:
    task = build_task(small_config(), [0, 1], 2, 0)
    assert not task._forward_pre_hooks
    assert all(parameter.requires_grad for parameter in task.parameters())


def test_kept_parts_get_no_gradient_and_stay_in_evaluation_mode(other_config: MakeConfig) -> None:
    torch.manual_seed(0)
    task = build_task(other_config(*RESNET), [0, 1], 2, 0)
    keep_still(task, ["stem", "stage2"], norms=False)
    before = {name: tensor.clone() for name, tensor in task.network.state_dict().items()}
    optimizer = build_optimizer(other_config(*RESNET).train, task)
    for _ in range(3):
        task.train()
        task(torch.randn(4, 1, 8, 8, 8), torch.tensor([0, 1, 0, 1]))["total"].backward()
        optimizer.step()
        optimizer.zero_grad()
    modes = {name: module.training for name, module in task.network.named_modules()}
    assert not modes["bn1"]
    assert not modes["layer2.0.bn1"]
    assert modes["layer1.0.bn1"]
    kept = ("conv1.", "bn1.", "layer2.")
    for name, tensor in task.network.state_dict().items():
        assert torch.equal(tensor, before[name]) == name.startswith(kept), name


@pytest.fixture
def weights(other_config: MakeConfig, tmp_path: Path) -> Path:
    """Weights of the small ResNet, with statistics that are not those of a fresh one."""
    torch.manual_seed(1)
    tensors = build_network(other_config(*RESNET).model, 2).state_dict()
    for name, tensor in tensors.items():
        if name.endswith("running_mean"):
            tensor.uniform_(-0.1, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    path = tmp_path / "start.safetensors"
    path.write_bytes(safetensors.torch.save(tensors))
    return path


def test_a_run_keeps_frozen_tensors_by_the_bit(
    other_config: MakeConfig, weights: Path, tmp_path: Path, fold_tensors: Tensors
) -> None:
    config = other_config(
        *RESNET, f"model.weights={weights}", "train.freeze=[stem, stage1]", "train.epochs=2"
    )
    cross_validate(config, tmp_path / "run", Silent(), fold=0)
    start = safetensors.torch.load_file(weights)
    best = fold_tensors(tmp_path / "run", 0, "best")
    same = {name for name in start if torch.equal(start[name], best[name])}
    frozen = {name for name in start if name.startswith(("conv1.", "bn1.", "layer1."))}
    assert any("running_mean" in name for name in frozen)
    assert frozen <= same
    assert not {name for name in same - frozen if "num_batches" not in name}


def test_frozen_norms_keep_their_statistics_and_weights(
    other_config: MakeConfig, weights: Path, tmp_path: Path, fold_tensors: Tensors
) -> None:
    config = other_config(
        *RESNET, f"model.weights={weights}", "train.freeze_norm=true", "train.epochs=2"
    )
    cross_validate(config, tmp_path / "run", Silent(), fold=0)
    start = safetensors.torch.load_file(weights)
    best = fold_tensors(tmp_path / "run", 0, "best")
    norms = {name.removesuffix(".running_mean") for name in start if "running_mean" in name}
    moved = {name for name, tensor in start.items() if not torch.equal(tensor, best[name])}
    assert not {name for name in moved if name.rpartition(".")[0] in norms}
    assert {name for name, tensor in start.items() if tensor.ndim > 1} <= moved


def test_earlier_parts_move_less_under_layer_decay(
    other_config: MakeConfig, weights: Path, tmp_path: Path, fold_tensors: Tensors
) -> None:
    config = other_config(
        *RESNET, f"model.weights={weights}", "train.layer_decay=0.1", "train.epochs=1"
    )
    cross_validate(config, tmp_path / "run", Silent(), fold=0)
    start = safetensors.torch.load_file(weights)
    last = fold_tensors(tmp_path / "run", 0, "last")
    moved = [
        float((last[f"task.network.{name}"] - start[name]).abs().max())
        for name in ("conv1.weight", "layer2.0.conv1.weight", "layer4.0.conv1.weight", "fc.weight")
    ]
    assert 0 < moved[0] < moved[1] / 10 < moved[2] / 100 < moved[3]


class Stopping(Silent):
    """Asks its own process to stop as soon as an epoch is over."""

    def bar(self, title: str, total: int) -> Bar:
        """A bar that ends the run when it moves."""
        return _StoppingBar() if title.startswith("fold") else super().bar(title, total)


class _StoppingBar(Bar):
    def advance(self, amount: int = 1, note: str = "") -> None:
        """Sends the signal that a scheduler would send."""
        os.kill(os.getpid(), signal.SIGTERM)

    def skip(self, amount: int) -> None:
        """Earlier epochs do not count."""


def test_a_run_with_frozen_parts_and_layer_decay_resumes_bit_for_bit(
    other_config: MakeConfig,
    weights: Path,
    tmp_path: Path,
    assert_same_run: Callable[[Path, Path], None],
) -> None:
    chosen = ("train.freeze=[stem]", "train.freeze_norm=true", "train.layer_decay=0.5")
    config = other_config(*RESNET, f"model.weights={weights}", *chosen, "train.epochs=2")
    cross_validate(config, tmp_path / "whole", Silent())
    for resume in (False, True):
        with pytest.raises(PreemptedError):
            cross_validate(config, tmp_path / "parts", Stopping(), resume=resume)
    cross_validate(config, tmp_path / "parts", Silent(), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


REFUSED = {
    "random": (("train.freeze=[stem]",), "would stay random for ever", "train.freeze"),
    "random norm": ((*RESNET, "train.freeze_norm=true"), "would stay random", "train.freeze_norm"),
    "unknown": (
        ("train.freeze=[stem, stage7]", "model.weights=x.safetensors"),
        "poolformer3d_t has no stage7",
        "train.freeze",
    ),
    "no batch norm": (
        ("train.freeze_norm=true", "model.weights=x.safetensors"),
        "no batch norm to keep",
        "train.freeze_norm",
    ),
    "frozen features": (
        (*FLAT, "model.slices.frozen=true", "train.layer_decay=0.5"),
        "frozen already",
        "train.layer_decay",
    ),
    "said twice": (
        (*FLAT, "model.slices.freeze_stages=2", "train.freeze=[stem]", "model.weights=x.pth"),
        "contradict each other",
        "train.freeze",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_frozen_is_refused_before_anything_is_read(
    name: str, other_config: MakeConfig, tmp_path: Path
) -> None:
    overrides, message, key = REFUSED[name]
    config = other_config(*overrides, "model.any_intensity=true")
    with pytest.raises(ConfigError, match=message) as caught:
        cross_validate(config, tmp_path / "run", Silent())
    assert key in str(caught.value.where)
    assert caught.value.remedy
    assert not (tmp_path / "run").exists()


def test_the_message_names_the_parts_that_there_are(small_config: MakeConfig) -> None:
    config = small_config("train.freeze=[stage9]", "model.weights=x.safetensors")
    with pytest.raises(ConfigError, match="stage9") as caught:
        check_freezing(config, check_network(config))
    assert "stem, stage1, stage2, stage3, stage4" in str(caught.value)


def test_both_ways_to_freeze_may_say_the_same(other_config: MakeConfig) -> None:
    config = other_config(
        *FLAT,
        "model.slices.freeze_stages=1",
        "train.freeze=[stage1, stem]",
        "model.weights=x.pth",
        "model.any_intensity=true",
    )
    check_freezing(config, check_network(config))


def test_a_part_for_which_the_weights_have_nothing_is_not_frozen(
    other_config: MakeConfig, tmp_path: Path
) -> None:
    plain = other_config(*FLAT)
    flat = build_network(plain.model, 2)
    prefix = "network.network."
    tensors = {
        name.removeprefix(prefix): tensor
        for name, tensor in flat.state_dict().items()
        if name.startswith(prefix) and not name.endswith(".offset")
    }
    path = tmp_path / "flat.safetensors"
    path.write_bytes(safetensors.torch.save(tensors))
    config = other_config(
        *(FLAT[0], f"model.weights={path}"),
        "model.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8], small_stem: true}",
        *("train.freeze=[stem, stage1]", "model.any_intensity=true"),
    )
    with pytest.raises(ConfigError, match="stem would stay random for ever"):
        build_task(config, [0, 1], 2, 0)
    build_task(
        config.model_copy(
            update={"train": config.train.model_copy(update={"freeze": ("stage1",)})}
        ),
        [0, 1],
        2,
        0,
    )


def test_parts_are_named_in_the_settings_of_the_run(
    other_config: MakeConfig, weights: Path, tmp_path: Path
) -> None:
    init = f"model.weights={weights}"
    config = other_config(*RESNET, init, "train.freeze=[stem]", "train.epochs=1")
    cross_validate(config, tmp_path / "run", Silent(), fold=0)
    other = other_config(*RESNET, init, "train.freeze=[stage1]", "train.epochs=1")
    with pytest.raises(ConfigError, match="another configuration") as caught:
        cross_validate(other, tmp_path / "run", Silent(), resume=True)
    assert "train.freeze: ['stem'] in the folder" in str(caught.value)
    assert json.loads((tmp_path / "run" / "start.json").read_text())["sha256"]
