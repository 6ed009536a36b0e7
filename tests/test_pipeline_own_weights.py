"""A run's own weights start another run, whatever heads stood around the network in either."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from conftest import SMALL
from torch import Tensor

from models3d import FusedClassifier, MultiStage
from pipeline.build import body_of, build_network, build_task, describe_start
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError
from pipeline.progress import Silent
from pipeline.storage import read_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

POOLFORMER = ("model.options={depths: [1, 1, 1, 1], dims: [4, 8, 8, 8]}",)
RESNET = ("model.name=monai_resnet10", "model.options={block_inplanes: [4, 6, 8, 10]}")
FLAT = (
    "model.name=resnet18",
    "model.options={layers: [1, 1, 1, 1], channels: [8, 8, 8, 8], small_stem: true}",
    "model.slices={axis: axial, count: 3, pool: attention}",
)
HIDDEN, STAGES = "model.head={hidden: [5]}", "model.head={stages: all, pool: stats}"
BOTH = "model.head={stages: all, pool: stats, hidden: [5], dropout: 0.5}"


def configured(*overrides: str) -> Config:
    kept = [text for text in SMALL if not text.startswith("model.")]
    return load_config("base", [*kept, *overrides])


def saved(path: Path, *overrides: str, covariates: int = 0) -> Path:
    """What a run with these settings keeps: the network with all that is around it."""
    torch.manual_seed(3)
    network = build_network(configured(*overrides).model, 2, covariates=covariates)
    safetensors.torch.save_file(network.state_dict(), path)
    return path


def body(*overrides: str) -> dict[str, Tensor]:
    """The tensors of a network without its heads, but for a classifier of its own."""
    network = body_of(build_network(configured(*overrides).model, 2))
    prefix = str(network.classifier_prefix)
    return {n: t for n, t in network.state_dict().items() if not n.startswith(prefix)}


@pytest.mark.parametrize(
    ("network", "head", "depth"),
    [
        (POOLFORMER, HIDDEN, 1),
        (POOLFORMER, BOTH, 1),
        (RESNET, HIDDEN, 1),
        (RESNET, STAGES, 1),
        (RESNET, BOTH, 2),
        (FLAT, HIDDEN, 1),
        (FLAT, STAGES, 1),
        (FLAT, BOTH, 2),
        (POOLFORMER, STAGES, 0),
        (RESNET, "model.head={}", 0),
        (FLAT, "model.head={}", 0),
    ],
)
def test_the_network_within_the_heads_of_a_file_is_taken_and_its_heads_are_not(
    network: tuple[str, ...], head: str, depth: int, tmp_path: Path
) -> None:
    path = saved(tmp_path / "best.safetensors", *network, head)
    weights = f"model.weights={path}"
    built = build_network(configured(*network, head).model, 2)
    heads = [m for m in built.modules() if isinstance(m, FusedClassifier | MultiStage)]
    assert len(heads) == depth
    tensors, taken = safetensors.torch.load_file(path), body(*network, head, weights)
    wrong = [n for n, t in taken.items() if not torch.equal(t, tensors["network." * depth + n])]
    assert taken
    assert wrong == []
    (line,) = describe_start(configured(*network, head, weights).model, 2)
    assert ("the head around it is left out, and starts anew" in line) == (depth > 0)


@pytest.mark.parametrize("network", [RESNET, pytest.param(FLAT, marks=pytest.mark.slow)])
def test_another_head_may_follow(network: tuple[str, ...], tmp_path: Path) -> None:
    paths = {
        head: saved(tmp_path / f"{number}.safetensors", *network, head)
        for number, head in enumerate(("model.head={}", HIDDEN, STAGES, BOTH))
    }
    for before, path in paths.items():
        tensors = safetensors.torch.load_file(path)
        for after in paths:
            taken = body(*network, after, f"model.weights={path}")
            depth = {"model.head={}": 0, BOTH: 2}.get(before, 1)
            same = [torch.equal(t, tensors["network." * depth + n]) for n, t in taken.items()]
            assert all(same)


def test_the_head_that_reads_covariates_starts_anew(tmp_path: Path) -> None:
    path = saved(tmp_path / "best.safetensors", *RESNET, covariates=3)
    config = configured(*RESNET, f"model.weights={path}")
    task = build_task(config, [0, 1], 2, 7, covariates=3)
    tensors, now = safetensors.torch.load_file(path), task.plain_network.state_dict()
    differs = {name for name in tensors if not torch.equal(tensors[name], now[name])}
    assert {name.partition(".")[0] for name in differs} == {"head"}


def test_weights_of_another_network_are_refused_by_their_names_within(tmp_path: Path) -> None:
    path = saved(tmp_path / "best.safetensors", *RESNET, BOTH)
    wider = ("model.name=monai_resnet10", "model.options={block_inplanes: [4, 6, 8, 12]}")
    with pytest.raises(ConfigError, match="do not fit") as caught:
        describe_start(configured(*wider, BOTH, f"model.weights={path}").model, 2)
    named = str(caught.value.why).partition(": ")[2].split(", ")
    assert named
    assert all(name.startswith("layer4.") for name in named[:8])


def test_a_run_goes_on_from_the_best_weights_of_one_with_a_longer_head(
    small_config: Callable[..., Config],
    tmp_path: Path,
    fold_tensors: Callable[[Path, int, str], dict[str, Tensor]],
) -> None:
    short = (HIDDEN, "train.epochs=1")
    cross_validate(small_config(*short), tmp_path / "first", Silent(), fold=0)
    (best,) = (tmp_path / "first/fold_0/checkpoints").glob("best-*.safetensors")
    config = small_config(*short, f"model.weights={best}", "train.freeze=[stem]")
    cross_validate(config, tmp_path / "second", Silent())
    assert len(read_table(tmp_path / "second" / "predictions.csv")) == 20
    name = "network.stem.conv.weight"
    before, after = (fold_tensors(tmp_path / run, 0, "best") for run in ("first", "second"))
    assert torch.equal(before[name], after[name])
