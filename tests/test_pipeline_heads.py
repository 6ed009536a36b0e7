"""The head and the stem of the configuration, around any network, through a whole run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models2d.slices import SliceClassifier
from models3d import FusedClassifier, MultiStage, PoolFormer3d
from pipeline.build import body_of, build_network, check_network
from pipeline.config import Config
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.errors import ConfigError
from pipeline.progress import Silent
from pipeline.storage import read_table

#: Pages are written here, and their drawings left out.
pytestmark = pytest.mark.usefixtures("undrawn")

TINY = "model.options={depths: [1, 1], dims: [4, 8]}"
ALL = "model.head={stages: all, pool: stats, foreground: true}"
CUBE = ("preprocess.spacing=null", "preprocess.size=[16, 16, 16]")


def configured(*settings: str) -> Config:
    return load_config("base", [*CUBE, *settings])


def logits_of(config: Config, covariates: int = 0) -> torch.Tensor:
    network = build_network(config.model, 3, start=False, covariates=covariates).eval()
    beside = (torch.zeros(2, covariates),) if covariates else ()
    answer: torch.Tensor = network(torch.randn(2, 1, 16, 16, 16), *beside)[-1]
    return answer


def test_poolformer_takes_the_head_as_its_own_option() -> None:
    network = build_network(configured(TINY, ALL).model, 3, start=False)
    assert isinstance(network, PoolFormer3d)
    assert network.num_features == 3 * (4 + 8)


@pytest.mark.parametrize("name", ["monai_resnet10", "resnet18"])
def test_other_networks_get_the_same_head_around_them(name: str) -> None:
    config = configured(f"model.name={name}", ALL, "preprocess.size=[32, 32, 32]")
    network = build_network(config.model, 3, start=False)
    assert isinstance(network, MultiStage)
    assert network.num_features == 3 * sum(network.feature_info.channels())
    assert (name == "resnet18") == isinstance(body_of(network), SliceClassifier)
    check_network(config)


@pytest.mark.parametrize("name", ["poolformer3d_t", "monai_resnet10", "resnet18"])
@pytest.mark.parametrize("head", ["{stages: last}", "{stages: all, pool: stats}"])
def test_covariates_and_hidden_layers_go_with_every_network_and_head(name: str, head: str) -> None:
    longer = f"model.head={head[:-1]}, hidden: [5], dropout: 0.5}}"
    config = configured(f"model.name={name}", longer, "preprocess.size=[32, 32, 32]")
    network = build_network(config.model, 3, start=False, covariates=2)
    assert isinstance(network, FusedClassifier)
    answer = network.eval()(torch.randn(2, 1, 32, 32, 32), torch.zeros(2, 2))
    assert answer[-1].shape == (2, 3)


def test_the_pyramid_stem_changes_the_answer_and_takes_other_windows() -> None:
    plain = build_network(configured(TINY).model, 3, start=False)
    pyramid = build_network(configured(TINY, "model.stem={kind: pyramid}").model, 3, start=False)
    wide = configured(TINY, "model.stem={kind: pyramid, windows: [3, 7]}")
    sizes = [sum(p.numel() for p in network.parameters()) for network in (plain, pyramid)]
    assert sizes[0] < sizes[1]
    assert logits_of(wide).shape == (2, 3)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (("model.head.foreground=true",), "foreground has no effect"),
        (("model.stem.windows=[3]",), "windows have no effect"),
        (("model.name=resnet18", "model.stem.kind=pyramid"), "stem_kind"),
        (("model.name=monai_resnet10", "model.stem.kind=pyramid"), "stem_kind"),
        (("model.stem={kind: pyramid, windows: [4]}",), "odd"),
        (("model.name=resnet18", "model.slices.frozen=true", ALL), "frozen slice features"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(settings: tuple[str, ...], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_network(configured(*settings))
    assert named in str(caught.value)


def test_a_run_with_every_part_of_the_head_goes_to_its_report(
    small_config: Callable[..., Config], tmp_path: Path
) -> None:
    config = small_config(
        "model.head={stages: all, pool: stats, foreground: true, hidden: [6], dropout: 0.2}",
        "model.stem={kind: pyramid, windows: [3, 5]}",
        "augment.test_time=flips",
    )
    out = tmp_path / "run"
    cross_validate(config, out, Silent())
    assert (out / "report" / "index.html").is_file()
    assert len(read_table(out / "predictions.csv")) == 20
