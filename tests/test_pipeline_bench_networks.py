"""What `volclass bench` holds networks against, and that it measures what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

from models3d import create_model
from pipeline.bench import variants
from pipeline.bench.limits import operations, traffic
from pipeline.bench.memory import step_memory
from pipeline.bench.networks import SETTINGS, Found, Setting, forward, network_of, network_speeds
from pipeline.bench.networks_table import networks_lines
from pipeline.bench.operators import top_operators
from pipeline.bench.peers import peers
from pipeline.bench.plain import PlainBlock, plain_of
from pipeline.bench.ratio import Ratio
from pipeline.bench.tables import speed_lines
from pipeline.bench.training_step import training_step
from pipeline.bench.variants import variant_speeds
from pipeline.build.machine import has_compiler

SMALL = {"stem_stride": 2, "strides": (1, 1, 1)}


@pytest.mark.parametrize("name", ["poolformer3d_t", "poolformer3d_n"])
def test_the_plain_network_answers_as_ours_does(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name).eval()
    plain = plain_of(model)
    blocks = [part for part in plain.modules() if isinstance(part, PlainBlock)]
    assert blocks
    assert not any(isinstance(part, nn.AvgPool3d) for part in model.modules())
    x = torch.randn(2, 1, 48, 48, 48)
    torch.testing.assert_close(model(x), plain(x), rtol=0, atol=1e-5)


def test_every_setting_is_one_that_the_plain_network_can_take() -> None:
    for setting in SETTINGS:
        model = network_of(setting)
        info = model.feature_info[-1].reduction
        assert min(n // r for n, r in zip(setting.size, info, strict=True)) >= 3


def test_networks_of_other_libraries_take_the_same_step() -> None:
    found = peers()
    assert {"monai_resnet18", "torchvision_r3d18", "timm_3d_resnet18"} <= found.keys()
    for network in found.values():
        training_step(network, torch.randn(2, 1, 32, 32, 32))
        assert any(parameter.grad is not None for parameter in network.parameters())


def test_operations_are_those_of_the_layers() -> None:
    network = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.Conv3d(4, 8, 1))
    expected = 2 * 125 * (2 * 4 * 27 + 4 * 8)
    assert operations(network, torch.randn(1, 2, 5, 5, 5)) == expected


def test_traffic_is_what_branches_and_steps_read_and_write() -> None:
    network = create_model("poolformer3d_t", stem_stride=2, strides=(1, 1, 1))
    grids = [4 * 8**3 * stage.channels for stage in network.feature_info]
    # Two branches a block, each of which reads and writes; this size has four blocks at stage 3.
    blocks = [2 * 2 * depth * grid for depth, grid in zip((2, 2, 4, 2), grids, strict=True)]
    steps = [4 * 16**3 + grids[0], *(fine + coarse for fine, coarse in pairwise(grids))]
    assert traffic(network.eval(), torch.randn(1, 1, 16, 16, 16)) == sum(blocks) + sum(steps)


def test_the_page_tells_date_machine_and_versions() -> None:
    lines = " ".join(speed_lines([], Ratio("frozen", 1.0, 1.0, 1.0)))
    assert re.search(r" 20\d\d-\d\d-\d\d, [^,]+ \(\w+\), \d+ threads; .*monai \d", lines)
    assert f"torch {torch.__version__.split('+')[0]}" in lines
    assert "On a GPU: not measured." in lines


def test_memory_is_what_a_step_holds_at_once() -> None:
    class Keeping(nn.Module):
        def __init__(self, copies: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))
            self.copies = copies

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            for _ in range(self.copies):
                x = (x * self.weight).sigmoid()
            return (x.flatten(1)[:, :2],)

    images = torch.randn(2, 1, 32, 32, 32)
    small, large = (step_memory(Keeping(copies), images) for copies in (4, 8))
    # Two grids a copy are kept: the sigmoid's own, and the product's input.
    assert large - small == pytest.approx(4 * images.nbytes, rel=0.3)


def test_operators_are_those_of_the_pass_and_the_slowest_come_first() -> None:
    network = nn.Sequential(nn.Conv3d(1, 8, 3), nn.GELU(), nn.Conv3d(8, 8, 3))
    images = torch.randn(1, 1, 16, 16, 16)
    found = top_operators(lambda: network(images))
    shares = [item.share for item in found]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1.0 + 1e-9
    assert any("conv" in item.name and item.calls == 2 for item in found)
    lines = networks_lines([], {"forward pass": found, "training step": found}, "a network")
    assert f"| {found[0].name} | {found[0].share:.0%} | {found[0].calls:.0f} |" in lines
    for kind in ("forward pass", "training step"):
        assert any(f"of a {kind} of a network, goes" in line for line in lines)


def test_a_training_step_is_profiled_with_its_backward_pass() -> None:
    network, images = create_model("poolformer3d_n"), torch.randn(2, 1, 28, 28, 28)
    names = [item.name for item in top_operators(partial(training_step, network, images))]
    assert any("Backward" in name or "backward" in name for name in names)
    forwards = [item.name for item in top_operators(partial(forward, network, images))]
    assert not any("Backward" in name or "backward" in name for name in forwards)


def test_a_small_measurement_fills_its_tables() -> None:
    settings = [
        Setting("poolformer3d_t", (12, 12, 12), 1, SMALL, peers=False),
        Setting("poolformer3d_t", (12, 12, 12), 2, SMALL, peers=False),
        Setting("poolformer3d_n", (20, 24, 20), 2, peers=False),
    ]
    seen: list[None] = []
    found = network_speeds(settings, lambda: seen.append(None), rounds=2)
    assert len(seen) == 3
    for item in found:
        assert [ratio.name for ratio in item.forward] == ["plain"]
        assert item.over_limit > 0
        assert item.over_copies > 0
        assert 0 < item.memory < 1
    lines = networks_lines(found)
    for name in ("poolformer3d_t, 12^3, batch 2", "poolformer3d_n, 20x24x20, batch 2"):
        assert sum(line.startswith(f"| {name} |") for line in lines) == 2
    assert not any("other networks" in line for line in lines)
    # Two volumes take twice the operations of one.
    assert found[1].work == 2 * found[0].work
    assert found[0].alone is None
    assert found[1].alone is not None
    assert found[1].alone.low > 0


def test_what_falls_to_a_volume_is_told_beside_one_alone() -> None:
    one, four = (_found(Setting("ours", (8, 8, 8), batch, {}, peers=False)) for batch in (1, 4))
    part = Ratio("a volume", 0.5, 0.4, 0.6)
    four = replace(four, alone=part, work=8_000_000_000, held=4 << 20)
    lines = networks_lines([replace(one, work=2_000_000_000, held=3 << 20), four])
    assert "| ours, 8^3, batch 1 | 2.00 | 3.0 |  |" in lines
    assert "| ours, 8^3, batch 4 | 2.00 | 1.0 | 0.50 (0.40 to 0.60) |" in lines


def test_other_networks_have_a_row_for_each_setting_they_were_measured_beside() -> None:
    beside = _found(Setting("ours", (8, 8, 8), 2), "plain", "other", "another")
    fewer = _found(Setting("ours", (9, 9, 9), 2), "plain", "other")
    lines = networks_lines([_found(Setting("ours", (8, 8, 8), 1, peers=False)), beside, fewer])
    assert lines.count("| ours and input | other | another |") == 2
    assert lines.count("| ours, 9^3, batch 2 | 2.00 (1.00 to 3.00) | not measured |") == 2
    row = "| ours, 8^3, batch 2 | 2.00 (1.00 to 3.00) | 2.00 (1.00 to 3.00) |"
    assert lines.count(row) == 2


def _found(setting: Setting, *names: str) -> Found:
    ratios = tuple(Ratio(name, 2.0, 1.0, 3.0) for name in names or ("plain",))
    return Found(setting, ratios, ratios, None, 1, 1, 0.5, 2.0, 3.0)


@pytest.mark.slow
@pytest.mark.skipif(not has_compiler(), reason="torch.compile needs a C++ compiler")
def test_compiled_networks_are_measured_beside_ours() -> None:
    found = variant_speeds(Setting("poolformer3d_n", (28, 28, 28), 1), rounds=1)
    assert [item.name for item in found] == ["ours, fused", "plain, compiled", "ours, compiled"]
    lines = networks_lines([], None, "a network", found)
    assert any(line.startswith("| ours, compiled | ") for line in lines)


def test_without_a_compiler_the_fused_network_alone_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(variants, "has_compiler", lambda: False)
    (found,) = variant_speeds(Setting("poolformer3d_n", (28, 28, 28), 1), rounds=1)
    assert found.name == "ours, fused"
    assert found.low > 0
