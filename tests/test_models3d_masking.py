"""Masked volumes: how much is hidden, what stands there, and what a guess of it costs."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models3d import PoolFormer3d, UNetDecoder, hide_blocks, reconstruction_loss

SIZES = st.tuples(*[st.integers(3, 9)] * 3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def hidden_blocks(mask: Tensor, block: tuple[int, int, int]) -> Tensor:
    """Give the share of hidden voxels of each block, ``(B, blocks)``."""
    cases = []
    for case in mask[:, 0]:
        pieces = [
            part.float().mean()
            for slab in case.split(block[0], 0)
            for bar in slab.split(block[1], 1)
            for part in bar.split(block[2], 2)
        ]
        cases.append(torch.stack(pieces))
    return torch.stack(cases)


@settings(max_examples=30, deadline=None)
@given(
    size=SIZES,
    block=st.tuples(*[st.integers(1, 2)] * 3),
    hidden=st.floats(0.2, 0.8),
    channels=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_whole_blocks_are_hidden_and_exactly_so_many_in_every_case(
    size: tuple[int, int, int],
    block: tuple[int, int, int],
    hidden: float,
    channels: int,
    seed: int,
) -> None:
    x = noise(3, channels, *size)
    before = x.clone()
    masked, mask = hide_blocks(x, hidden, block, generator=seeded(seed))
    assert torch.equal(x, before)
    assert (mask.shape, mask.dtype) == ((3, 1, *size), torch.bool)
    shares = hidden_blocks(mask, block)
    assert shares.shape[1] == math.prod(
        -(-n // extent) for n, extent in zip(size, block, strict=True)
    )
    assert set(shares.flatten().tolist()) == {0.0, 1.0}
    assert shares.sum(1).tolist() == [round(hidden * shares.shape[1])] * 3
    means = x.mean(dim=(2, 3, 4), keepdim=True).expand_as(x)
    where = mask.expand_as(x)
    assert torch.equal(masked[~where], x[~where])
    assert torch.equal(masked[where], means[where])


@settings(max_examples=10, deadline=None)
@given(size=SIZES, seed=st.integers(0, 99))
def test_the_generator_alone_decides(size: tuple[int, int, int], seed: int) -> None:
    x = noise(2, 1, *size)
    torch.manual_seed(seed)
    state = torch.random.get_rng_state()
    first = hide_blocks(x, block=2, generator=seeded(seed))
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(seed + 1)
    second = hide_blocks(x, block=2, generator=seeded(seed))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_choices_differ_between_cases_and_between_draws() -> None:
    generator, x = seeded(), noise(2, 1, 16, 16, 16)
    masks = [mask for _ in range(2) for mask in hide_blocks(x, generator=generator)[1]]
    assert all(not torch.equal(masks[i], masks[j]) for i in range(4) for j in range(i))


def test_every_block_is_hidden_equally_often() -> None:
    x = torch.zeros(2000, 1, 4, 4, 2)
    _, mask = hide_blocks(x, 0.5, 2, generator=seeded())
    often = hidden_blocks(mask, (2, 2, 2)).mean(0)
    torch.testing.assert_close(often, torch.full((4,), 0.5), rtol=0, atol=0.05)


def test_what_is_hidden_leaves_the_mean_only() -> None:
    x = noise(2, 1, 8, 8, 8)
    masked, mask = hide_blocks(x, generator=seeded())
    other = torch.where(mask, noise(2, 1, 8, 8, 8, seed=2), x)
    shift = (x - other).sum(dim=(2, 3, 4), keepdim=True) / mask.sum(dim=(2, 3, 4), keepdim=True)
    other = torch.where(mask, other + shift, other)
    again, _ = hide_blocks(other, generator=seeded())
    assert not torch.equal(other, x)
    torch.testing.assert_close(again, masked, rtol=0, atol=1e-6)


def test_half_precision_volumes_stay_so() -> None:
    masked, _ = hide_blocks(noise(1, 1, 8, 8, 8).half(), generator=seeded())
    assert masked.dtype == torch.float16


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(1, 8, 8, 8), {}, r"expected volumes .* got \(1, 8, 8, 8\) of torch.float32"),
        (torch.zeros(0, 1, 8, 8, 8), {}, r"expected volumes .* got \(0, 1, 8, 8, 8\)"),
        (torch.zeros(1, 1, 8, 8, 8).long(), {}, "floating type, got .* of torch.int64"),
        (torch.zeros(1, 1, 8, 8, 8), {"hidden": 0.0}, r"hidden must be above 0 .* got 0\.0"),
        (torch.zeros(1, 1, 8, 8, 8), {"hidden": 1.0}, r"below 1, got 1\.0"),
        (torch.zeros(1, 1, 8, 8, 8), {"hidden": math.nan}, "got nan"),
        (torch.zeros(1, 1, 8, 8, 8), {"block": 0}, "block takes .* got 0"),
        (torch.zeros(1, 1, 8, 8, 8), {"block": (4, 4)}, "block takes"),
        (torch.zeros(1, 1, 8, 8, 8), {"block": 8}, r"into 1, .* hides 1: .* smaller blocks"),
        (torch.zeros(1, 1, 8, 8, 8), {"hidden": 0.01}, r"into 8, .* 0\.01 hides 0"),
        (torch.zeros(1, 1, 8, 8, 8), {"hidden": 0.99}, r"into 8, .* 0\.99 hides 8"),
    ],
)
def test_refuses_what_cannot_be_masked(x: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hide_blocks(x, **options, generator=seeded())


@settings(max_examples=30, deadline=None)
@given(
    size=SIZES,
    channels=st.integers(1, 2),
    scale=st.floats(1e-3, 1e4),
    offset=st.floats(-10.0, 10.0),
    seed=st.integers(0, 99),
)
def test_loss_is_the_mean_squared_error_of_the_normalised_volume(
    size: tuple[int, int, int], channels: int, scale: float, offset: float, seed: int
) -> None:
    x = (noise(3, channels, *size, seed=seed) + offset) * scale
    _, mask = hide_blocks(x, block=2, generator=seeded(seed))
    predicted = noise(3, channels, *size, seed=seed + 1)
    losses = reconstruction_loss(predicted, x, mask)
    for case in range(3):
        target = x[case].double()
        mean = target.mean(dim=(1, 2, 3), keepdim=True)
        target = (target - mean) / target.std(dim=(1, 2, 3), correction=0, keepdim=True)
        misses = (predicted[case] - target)[mask[case].expand_as(target)]
        expected = misses.square().mean().float()
        torch.testing.assert_close(losses[case], expected, rtol=1e-3, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(value=st.floats(-1e6, 1e6, width=32), size=SIZES)
def test_a_constant_volume_counts_as_zero(value: float, size: tuple[int, int, int]) -> None:
    x = torch.full((1, 1, *size), value)
    _, mask = hide_blocks(x, block=2, generator=seeded())
    assert reconstruction_loss(torch.zeros_like(x), x, mask).tolist() == [0.0]
    assert reconstruction_loss(torch.ones_like(x), x, mask).tolist() == [1.0]


def test_guessing_the_mean_costs_about_one_and_the_truth_nothing() -> None:
    x = 300 + 40 * noise(4, 1, 16, 16, 16)
    _, mask = hide_blocks(x, generator=seeded())
    torch.testing.assert_close(
        reconstruction_loss(torch.zeros_like(x), x, mask), torch.ones(4), rtol=0, atol=0.1
    )
    truth = (x - x.mean(dim=(2, 3, 4), keepdim=True)) / x.std(
        dim=(2, 3, 4), correction=0, keepdim=True
    )
    torch.testing.assert_close(
        reconstruction_loss(truth, x, mask), torch.zeros(4), rtol=0, atol=1e-6
    )


def test_visible_voxels_and_the_truth_get_no_gradient() -> None:
    x = noise(2, 1, 8, 8, 8).requires_grad_()
    _, mask = hide_blocks(x.detach(), generator=seeded())
    wild = torch.where(mask, noise(2, 1, 8, 8, 8, seed=3), float("inf")).requires_grad_()
    losses = reconstruction_loss(wild, x, mask)
    assert losses.isfinite().all()
    torch.autograd.backward(losses.sum())
    assert x.grad is None
    assert wild.grad is not None
    assert torch.equal(wild.grad != 0, mask)


def test_half_precision_guesses_are_judged_in_single_precision() -> None:
    x = noise(1, 1, 8, 8, 8)
    _, mask = hide_blocks(x, generator=seeded())
    for kind in (torch.float16, torch.bfloat16):
        losses = reconstruction_loss(torch.full_like(x, 300.0).to(kind), x, mask)
        assert losses.dtype == torch.float32
        assert 8e4 < losses.item() < 1e5


@pytest.mark.parametrize(
    ("predicted", "x", "mask", "message"),
    [
        ((1, 1, 4, 4, 4), (1, 2, 4, 4, 4), torch.ones(1, 1, 4, 4, 4).bool(), "of one shape, got"),
        ((1, 4, 4, 4), (1, 4, 4, 4), torch.ones(1, 1, 4, 4).bool(), "of one shape, got"),
        (
            (1, 1, 4, 4, 4),
            (1, 1, 4, 4, 4),
            torch.ones(1, 1, 4, 4, 4),
            r"boolean mask .* torch\.float32",
        ),
        (
            (1, 2, 4, 4, 4),
            (1, 2, 4, 4, 4),
            torch.ones(1, 2, 4, 4, 4).bool(),
            r"boolean mask .* got \(1, 2, 4, 4, 4\)",
        ),
        (
            (2, 1, 4, 4, 4),
            (2, 1, 4, 4, 4),
            torch.arange(2)[:, None, None, None, None].bool().logical_not().expand(2, 1, 4, 4, 4),
            "no voxel of case 1 of the batch is hidden",
        ),
    ],
)
def test_refuses_what_cannot_be_compared(
    predicted: tuple[int, ...], x: tuple[int, ...], mask: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruction_loss(torch.zeros(predicted), torch.zeros(x), mask)


def test_an_encoder_learns_to_fill_in_what_is_hidden() -> None:
    torch.manual_seed(0)
    dims = (8, 12, 16, 16)
    network = PoolFormer3d((1,) * 4, dims, num_classes=0, stem_kernel=3, stem_stride=2)
    tail = UNetDecoder(dims, 1, 1, input_skip=False)
    places = torch.linspace(0, 3, 12)
    waves = [(places[:, None, None] + phase).sin() * places[:, None].cos() for phase in (0, 1)]
    x = torch.stack([(wave + 0.5 * places).expand(12, 12, 12) for wave in waves])[:, None]
    parameters = [*network.parameters(), *tail.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.01)
    generator = seeded()
    losses = []
    for _ in range(40):
        masked, mask = hide_blocks(x, block=3, generator=generator)
        loss = reconstruction_loss(tail(network.forward_stages(masked), x), x, mask).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert network.stem.conv.weight.grad is not None
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0]
