"""The 2D U-Net decoder: full resolution from the stages of the zoo, and what it may see."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models2d import UNetDecoder, ZooNetwork, create_model

CHANNELS = (4, 6, 8, 10)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decoder(
    channels: tuple[int, ...] = CHANNELS, width: int | None = None, input_skip: bool = True
) -> UNetDecoder:
    torch.manual_seed(0)
    return UNetDecoder(channels, 1, 2, width, input_skip)


def stages_of(grids: list[tuple[int, int]], batch: int = 2) -> list[Tensor]:
    pairs = enumerate(zip(CHANNELS, grids, strict=False))
    return [noise(batch, dim, *grid, seed=index) for index, (dim, grid) in pairs]


def zoo(name: str) -> ZooNetwork:
    torch.manual_seed(0)
    return create_model(name, 1, 0)


@pytest.mark.parametrize("name", ["resnet18", "poolformer_s12"])
def test_stages_of_the_zoo_become_full_resolution(name: str) -> None:
    network = zoo(name)
    tail = decoder(tuple(network.feature_info.channels()))
    for size in ((64, 64), (33, 47)):
        x = noise(2, 1, *size)
        decoded = tail(network.forward_stages(x), x)
        assert decoded.shape == (2, 2, *size)
    torch.autograd.backward(decoded.square().mean())
    assert [key for key, p in tail.named_parameters() if p.grad is None] == []
    # The head is not used; all that computes the stages learns from the decoder.
    unused = {key for key, p in network.named_parameters() if p.grad is None}
    assert all("head" in key for key in unused)


@settings(max_examples=12, deadline=None)
@given(
    grids=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=4),
    size=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    input_skip=st.booleans(),
)
def test_any_number_of_stages_on_any_grids(
    grids: list[tuple[int, int]], size: tuple[int, int], input_skip: bool
) -> None:
    tail = decoder(CHANNELS[: len(grids)], input_skip=input_skip)
    decoded = tail(stages_of(grids), noise(2, 1, *size))
    assert decoded.shape == (2, 2, *size)
    assert decoded.isfinite().all()


def test_one_image_trains_on_grids_of_one_pixel() -> None:
    tail = decoder((1, 1, 1), width=2).train()
    decoded = tail([noise(1, 1, 1, 1, seed=seed) for seed in range(3)], noise(1, 1, 1, 1))
    torch.autograd.backward(decoded.square().sum())
    grads = [p.grad for p in tail.parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_every_stage_and_the_input_of_an_image_count_for_it_alone() -> None:
    tail = decoder()
    stages = [stage.requires_grad_() for stage in stages_of([(8, 8), (4, 4), (2, 2), (1, 1)])]
    x = noise(2, 1, 16, 16).requires_grad_()
    torch.autograd.backward(tail(stages, x)[0, 0, 3, 3])
    for given_map in (*stages, x):
        assert given_map.grad is not None
        assert given_map.grad[0].abs().max() > 0
        assert not given_map.grad[1].any()


def test_without_the_skip_the_values_of_the_input_are_not_seen() -> None:
    tail = decoder(input_skip=False)
    stages = stages_of([(4, 4), (2, 2), (1, 1), (1, 1)])
    x = noise(2, 1, 8, 8)
    assert torch.equal(tail(stages, x), tail(stages, torch.full_like(x, float("nan"))))
    assert not torch.equal(decoder()(stages, x), decoder()(stages, x + 1))


@pytest.mark.parametrize(
    ("first", "width", "expected"), [(24, None, 24), (64, None, 32), (1, None, 2), (24, 6, 6)]
)
def test_width_is_that_of_the_first_stage_up_to_32(
    first: int, width: int | None, expected: int
) -> None:
    with torch.device("meta"):
        tail = UNetDecoder((first, 128), 1, 2, width)
    lateral = tail.laterals.get_submodule("1.0")
    assert isinstance(lateral, nn.Conv2d)
    assert (lateral.in_channels, lateral.out_channels) == (128, expected)
    assert tail.out.in_channels == max(2, expected // 2)


def test_exports_and_builds_on_meta() -> None:
    tail, x = decoder().eval(), noise(2, 1, 9, 8)
    stages = stages_of([(5, 4), (3, 2), (2, 1), (1, 1)])
    exported: Tensor = torch.export.export(tail, (stages, x)).module()(stages, x)
    torch.testing.assert_close(exported, tail(stages, x), rtol=0, atol=1e-6)
    with torch.device("meta"):
        network = zoo("resnet18")
        on_meta = decoder(tuple(network.feature_info.channels()))
        x = torch.empty(2, 1, 65, 33)
        assert on_meta(network.forward_stages(x), x).shape == (2, 2, 65, 33)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), 1, 2), "the number of stages must be at least 1, got 0"),
        (((4, 0), 1, 2), "the channels of each stage must be at least 1, got 0"),
        (((4, 8), 0, 2), "in_chans and out_channels must be at least 1, got 0"),
        (((4, 8), 1, 0), "in_chans and out_channels must be at least 1, got 0"),
        (((4, 8), 1, 2, 1), "width must be at least 2, got 1"),
    ],
)
def test_refuses_impossible_options(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetDecoder(*arguments)


@pytest.mark.parametrize(
    ("stages", "x"),
    [
        ([(2, 4, 2, 2)], (2, 1, 4, 4)),
        ([(2, 4, 2, 2), (2, 9, 1, 1)], (2, 1, 4, 4)),
        ([(2, 8, 1, 1), (2, 4, 2, 2)], (2, 1, 4, 4)),
        ([(3, 4, 2, 2), (3, 8, 1, 1)], (2, 1, 4, 4)),
        ([(2, 4, 2), (2, 8, 1, 1)], (2, 1, 4, 4)),
        ([(2, 4, 2, 2), (2, 8, 1, 1)], (2, 3, 4, 4)),
        ([(2, 4, 2, 2), (2, 8, 1, 1)], (2, 1, 4)),
        ([(2, 4, 2, 2), (2, 8, 1, 1)], ()),
    ],
)
def test_refuses_what_it_was_not_built_for(
    stages: list[tuple[int, ...]], x: tuple[int, ...]
) -> None:
    tail = decoder((4, 8))
    message = r"stages and input need \(4, 8, 1\) channels, one batch and 2 axes; got \["
    with pytest.raises(ValueError, match=message):
        tail([torch.zeros(shape) for shape in stages], torch.zeros(x))
