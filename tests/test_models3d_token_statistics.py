"""Pooling a map before its norm gives what pooling the normed map gives, values and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from models3d import StageHead, stage_head, token_statistics
from models3d.layers import NormName
from models3d.token_statistics import ChannelStatistics, has_statistics

MAPS = ((3, 4, 5, 3, 2), (3, 6, 2, 2, 2))


def maps(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Maps with channels last in memory, as blocks leave them."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for batch, channels, *grid in MAPS:
        values = torch.randn((batch, *grid, channels), generator=generator, dtype=dtype) * 3 + 5
        found.append(values.movedim(-1, 1).requires_grad_())
    return found


def weights() -> Tensor:
    """Of each sample: some voxels, all of them, none."""
    some = torch.rand(3, 1, 10, 6, 4, generator=torch.Generator().manual_seed(1)) > 0.6
    some[1], some[2] = True, False
    return some.double()


def outcome(head: StageHead, counted: Tensor | None) -> tuple[Tensor, ...]:
    """Logits, gradients, and running averages after it."""
    head, stages = copy.deepcopy(head), maps()
    logits = head(stages, counted)
    found = torch.autograd.grad(logits.square().sum(), [*stages, *head.parameters()])
    return (logits, *found, *(buffer.double() for buffer in head.buffers()))


@pytest.mark.parametrize("samples_at_once", [1, 100])
@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("counted", [None, weights()], ids=["all", "foreground"])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_the_head_is_that_of_normed_maps(
    norm: NormName,
    counted: Tensor | None,
    evaluated: bool,
    samples_at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    head = StageHead((4, 6), 3, norm, foreground=counted is not None).double()
    for buffer in head.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2.0)
    head.train(not evaluated)
    monkeypatch.setattr(token_statistics, "_CACHED", samples_at_once)
    assert has_statistics(head.norms[0], maps()[0], counted)
    found = outcome(head, counted)
    monkeypatch.setattr(stage_head, "has_statistics", lambda *_: False)
    torch.testing.assert_close(found, outcome(head, counted), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shared", [False, True])
def test_gradients_of_the_statistics_are_those_of_their_values(shared: bool) -> None:
    x = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    share = torch.tensor([[0.5, 0.5, 0, 0, 0, 0, 0], [0.1, 0.2, 0.1, 0.1, 0.2, 0.2, 0.1]])
    given, pivot = share.double() if shared else None, torch.ones(2, 3).double()
    assert torch.autograd.gradcheck(lambda x: ChannelStatistics.apply(x, pivot, given), (x,))


@pytest.mark.parametrize(
    ("norm", "deviation"), [("group", 0.0), ("group", 1e-3), ("batch", 0.0), ("batch", 1e-6)]
)
@pytest.mark.parametrize("counted", [None, weights()], ids=["all", "foreground"])
def test_channels_that_hardly_vary_have_the_gradients_of_the_layers(
    norm: NormName, counted: Tensor | None, deviation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    head = StageHead((4,), 2, norm, foreground=counted is not None)
    x = (5.0 + deviation * torch.randn(3, 5, 3, 2, 4)).movedim(-1, 1).requires_grad_()
    # Of equal maxima one takes all here, and each its share in the layers: no maximum counts.
    with torch.no_grad():
        head.fc.get_parameter("weight")[:, 4:8] = 0.0
    assert has_statistics(head.norms[0], x, counted)
    twin = copy.deepcopy(head).double()
    (found,) = torch.autograd.grad(head([x], counted).square().sum(), x)
    monkeypatch.setattr(stage_head, "has_statistics", lambda *_: False)
    wide = x.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(twin([wide], counted).square().sum(), wide)
    atol = 1e-2 * float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected, rtol=0.0, atol=max(atol, 1e-9))


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf"), 1e5])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_a_case_with_a_strange_voxel_leaves_the_others_alone(norm: NormName, spoilt: float) -> None:
    head = StageHead((4, 6), 3, norm).double().eval()
    stages = maps()
    expected = head(stages)[1:]
    with torch.no_grad():
        stages[0][0, :, 0, 0, 0] = spoilt
    assert has_statistics(head.norms[0], stages[0], None)
    single = copy.deepcopy(head).float()
    torch.testing.assert_close(head(stages)[1:], expected)
    found = single([stage.float() for stage in stages])[1:]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_weights_that_are_learned_get_their_gradient() -> None:
    head = StageHead((4, 6), 3, "batch", foreground=True)
    learned = torch.rand(3, 1, 10, 6, 4, requires_grad=True)
    head(maps(torch.float32), learned).square().sum().backward()
    assert learned.grad is not None
    assert learned.grad.any()


def test_a_foreground_that_hardly_differs_keeps_its_deviation() -> None:
    inside = torch.linspace(100.0, 100.01, 50)
    x = torch.cat((inside, torch.zeros(950)))[None, :, None]
    share = torch.cat((torch.full((50,), 0.02), torch.zeros(950)))[None]
    deviation = float(ChannelStatistics.apply(x, torch.zeros(1, 1), share)[3])
    assert deviation == pytest.approx(float(inside.double().std(correction=0)), rel=1e-2)


@pytest.mark.parametrize(
    ("norm", "x"),
    [
        (nn.GroupNorm(1, 4), maps()[0]),
        (nn.BatchNorm3d(4, affine=False), maps()[0].contiguous()),
        (nn.BatchNorm3d(4, affine=False), maps(torch.float16)[0]),
        (nn.LayerNorm(4, elementwise_affine=False), maps()[0]),
        (nn.BatchNorm3d(4, affine=False, momentum=None), maps()[0]),
        (nn.BatchNorm3d(4, affine=False, track_running_stats=False), maps()[0]),
    ],
    ids=["weights", "channels first", "half precision", "norm of voxels", "plain", "untracked"],
)
def test_other_maps_are_normed_first(norm: nn.Module, x: Tensor) -> None:
    assert not has_statistics(norm, x, None)
