"""The 3D U-Net decoder: full resolution from the stages of any network, and what it may see."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from models3d import PoolFormer3d, UNetDecoder, VolumeModel, create_model

CHANNELS = (4, 6, 8, 10)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def decoder(
    channels: tuple[int, ...] = CHANNELS, width: int | None = None, input_skip: bool = True
) -> UNetDecoder:
    torch.manual_seed(0)
    return UNetDecoder(channels, 1, 2, width, input_skip)


def stages_of(grids: list[tuple[int, int, int]], batch: int = 2) -> list[Tensor]:
    pairs = enumerate(zip(CHANNELS, grids, strict=False))
    return [noise(batch, dim, *grid, seed=index) for index, (dim, grid) in pairs]


def poolformer(dims: tuple[int, ...] = CHANNELS) -> PoolFormer3d:
    torch.manual_seed(0)
    return PoolFormer3d((1, 1, 1, 1), dims, stem_kernel=3, stem_stride=2)


def networks() -> dict[str, VolumeModel]:
    torch.manual_seed(0)
    return {
        "isotropic": poolformer(),
        "three stages": PoolFormer3d((1,) * 3, CHANNELS[:3], stem_kernel=3, stem_stride=2),
        "anisotropic": PoolFormer3d(
            (1,) * 4,
            CHANNELS,
            stem_kernel=[3, 3, 1],
            stem_stride=[2, 2, 1],
            strides=[2, [2, 2, 1], 2],
        ),
        "resnet": create_model("monai_resnet10", 1, 0, block_inplanes=CHANNELS),
        "densenet": create_model(
            "monai_densenet121", 1, 0, init_features=8, growth_rate=4, block_config=(1, 1, 1, 1)
        ),
    }


@pytest.mark.parametrize("name", list(networks()))
@pytest.mark.parametrize("size", [(32, 32, 32), (33, 30, 35)])
def test_stages_of_real_networks_become_full_resolution(
    name: str, size: tuple[int, int, int]
) -> None:
    network = networks()[name]
    torch.manual_seed(0)
    tail = UNetDecoder(network.feature_info.channels(), 1, 3)
    x = noise(2, 1, *size)
    stages = network.forward_stages(x)
    assert all(stage.shape[2:] != x.shape[2:] for stage in stages)
    decoded = tail(stages, x)
    assert decoded.shape == (2, 3, *size)
    torch.autograd.backward(decoded.square().mean())
    assert [name for name, p in tail.named_parameters() if p.grad is None] == []
    # The head is not used; all that computes the stages learns from the decoder.
    unused = {key for key, p in network.named_parameters() if p.grad is None}
    head = ("head.", network.classifier_prefix, "features.norm5.")
    assert all(key.startswith(head) for key in unused)


@settings(max_examples=12, deadline=None)
@given(
    grids=st.lists(st.tuples(*[st.integers(1, 5)] * 3), min_size=1, max_size=4),
    size=st.tuples(*[st.integers(1, 9)] * 3),
    input_skip=st.booleans(),
)
def test_any_number_of_stages_on_any_grids(
    grids: list[tuple[int, int, int]], size: tuple[int, int, int], input_skip: bool
) -> None:
    tail = decoder(CHANNELS[: len(grids)], input_skip=input_skip)
    decoded = tail(stages_of(grids), noise(2, 1, *size))
    assert decoded.shape == (2, 2, *size)
    assert decoded.isfinite().all()


def test_one_case_trains_on_grids_of_one_voxel() -> None:
    tail = decoder((1, 1, 1), width=2).train()
    decoded = tail([noise(1, 1, 1, 1, 1, seed=seed) for seed in range(3)], noise(1, 1, 1, 1, 1))
    torch.autograd.backward(decoded.square().sum())
    grads = [p.grad for p in tail.parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


def test_every_stage_and_the_input_count_at_the_place_where_they_are() -> None:
    tail = decoder()
    stages = [
        stage.requires_grad_() for stage in stages_of([(8, 8, 8), (4, 4, 4), (2, 2, 2), (1, 1, 1)])
    ]
    x = noise(2, 1, 16, 16, 16).requires_grad_()
    torch.autograd.backward(tail(stages, x)[0, 0, 3, 3, 3])
    for given_map in (*stages, x):
        assert given_map.grad is not None
        assert given_map.grad[0].abs().max() > 0
        assert not given_map.grad[1].any()
    assert x.grad is not None
    # Norms spread a little of everything everywhere; the place itself counts most.
    place = int(x.grad[0, 0].abs().argmax())
    assert all(abs(n - 3) <= 3 for n in (place // 256, place // 16 % 16, place % 16))


def test_without_the_skip_the_values_of_the_input_are_not_seen() -> None:
    tail = decoder(input_skip=False)
    stages = stages_of([(4, 4, 4), (2, 2, 2), (1, 1, 1), (1, 1, 1)])
    x = noise(2, 1, 8, 8, 8)
    assert torch.equal(tail(stages, x), tail(stages, torch.full_like(x, float("nan"))))
    assert not torch.equal(decoder()(stages, x), decoder()(stages, x + 1))
    assert not any("entry" in name for name, _ in tail.named_parameters())


def test_cases_of_a_batch_do_not_influence_each_other() -> None:
    tail = decoder().double()
    stages = [stage.double() for stage in stages_of([(3, 4, 5), (2, 2, 3), (1, 1, 2), (1, 1, 1)])]
    x = noise(2, 1, 6, 8, 10).double()
    alone = [tail([stage[i : i + 1] for stage in stages], x[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(torch.cat(alone), tail(stages, x), rtol=0, atol=1e-9)


def test_narrowing_before_and_after_the_last_interpolation_agree() -> None:
    tail, maps = decoder().double(), noise(1, 4, 3, 4, 5).double()

    def grown(x: Tensor) -> Tensor:
        return functional.interpolate(x, (7, 8, 9), mode="trilinear", align_corners=False)

    before, after = grown(tail.narrow(maps)), tail.narrow(grown(maps))
    torch.testing.assert_close(before, after, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("first", "width", "expected"), [(24, None, 24), (96, None, 32), (1, None, 2), (24, 6, 6)]
)
def test_width_is_that_of_the_first_stage_up_to_32(
    first: int, width: int | None, expected: int
) -> None:
    with torch.device("meta"):
        tail = UNetDecoder((first, 128), 1, 2, width)
    assert tail.laterals.get_submodule("1.0").weight.shape == (expected, 128, 1, 1, 1)
    assert tail.out.in_channels == max(2, expected // 2)


def test_is_small_beside_the_network_that_it_decodes() -> None:
    with torch.device("meta"):
        network = create_model("poolformer3d_s12", 1, 2)
        tail = UNetDecoder(network.feature_info.channels(), 1, 1)
    sizes = [sum(p.numel() for p in part.parameters()) for part in (tail, network)]
    assert sizes[0] < 0.03 * sizes[1]


def test_learns_to_outline_a_shape() -> None:
    network, tail = poolformer((16, 16, 16, 16)), decoder((16, 16, 16, 16))
    x = torch.zeros(2, 1, 13, 12, 11)
    x[0, :, 2:9, 3:8, 4:9] = 1
    x[1, :, 6:12, 1:6, 1:5] = 1
    masks = x[:, 0].long()
    x = x + 0.5 * noise(*x.shape)
    parameters = [*network.parameters(), *tail.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.01)
    for _ in range(40):
        optimiser.zero_grad()
        torch.autograd.backward(functional.cross_entropy(tail(network.forward_stages(x), x), masks))
        optimiser.step()
    found = tail(network.forward_stages(x), x).argmax(1)
    overlap = 2 * (found & masks).sum() / (found.sum() + masks.sum())
    assert overlap > 0.9


def test_exports_with_its_network_and_builds_on_meta() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.tail = poolformer(), decoder()

        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.network.forward_stages(x), x)

    both, x = Both().eval(), noise(1, 1, 9, 8, 7)
    exported: Tensor = torch.export.export(both, (x,)).module()(x)
    torch.testing.assert_close(exported, both(x), rtol=0, atol=1e-6)
    with torch.device("meta"):
        assert Both()(torch.empty(2, 1, 9, 8, 7)).shape == (2, 2, 9, 8, 7)


def test_mixed_precision_is_close_to_single_precision() -> None:
    tail, x = decoder(), noise(2, 1, 8, 8, 8)
    stages = stages_of([(4, 4, 4), (2, 2, 2), (1, 1, 1), (1, 1, 1)])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = tail(stages, x)
    torch.testing.assert_close(mixed.float(), tail(stages, x), rtol=0, atol=0.1)


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
        ([(2, 4, 2, 2, 2)], (2, 1, 4, 4, 4)),
        ([(2, 4, 2, 2, 2), (2, 9, 1, 1, 1)], (2, 1, 4, 4, 4)),
        ([(2, 8, 1, 1, 1), (2, 4, 2, 2, 2)], (2, 1, 4, 4, 4)),
        ([(3, 4, 2, 2, 2), (3, 8, 1, 1, 1)], (2, 1, 4, 4, 4)),
        ([(2, 4, 2, 2), (2, 8, 1, 1, 1)], (2, 1, 4, 4, 4)),
        ([(2, 4, 2, 2, 2), (2, 8, 1, 1, 1)], (2, 3, 4, 4, 4)),
        ([(2, 4, 2, 2, 2), (2, 8, 1, 1, 1)], (2, 1, 4, 4)),
        ([(2, 4, 2, 2, 2), (2, 8, 1, 1, 1)], ()),
    ],
)
def test_refuses_what_it_was_not_built_for(
    stages: list[tuple[int, ...]], x: tuple[int, ...]
) -> None:
    tail = decoder((4, 8))
    message = r"stages and input need \(4, 8, 1\) channels, one batch and 3 axes; got \["
    with pytest.raises(ValueError, match=message):
        tail([torch.zeros(shape) for shape in stages], torch.zeros(x))
