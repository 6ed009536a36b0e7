"""The feature pyramid: its levels, what is frozen, and what is left out."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models2d import ZooNetwork, create_model
from models2d.pyramid import FeaturePyramid, stem_and_stages


def build(name: str = "resnet18", out_channels: int = 16, frozen_stages: int = 0) -> FeaturePyramid:
    torch.manual_seed(0)
    return FeaturePyramid(create_model(name, 1, 0), out_channels, frozen_stages)


def images(*size: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 1, *size, generator=generator)


def on_meta(name: str, in_chans: int = 1) -> ZooNetwork:
    with torch.device("meta"):
        return create_model(name, in_chans, 0)


def test_resnet152_gives_the_published_levels() -> None:
    network = on_meta("resnet152", 3)
    with torch.device("meta"):
        levels = FeaturePyramid(network)(torch.empty(1, 3, 224, 224))
    assert [tuple(level.shape) for level in levels] == [
        (1, 256, side, side) for side in (56, 28, 14, 7, 4)
    ]


@pytest.mark.parametrize("name", ["resnet18", "poolformer_s12"])
def test_levels_are_as_declared(name: str) -> None:
    pyramid = build(name).eval()
    info = pyramid.feature_info
    assert info.channels() == [16] * 5
    assert info.reduction() == [(side, side) for side in (4, 8, 16, 32, 64)]
    levels = pyramid(images(64, 128))
    for level, (rows, columns) in zip(levels, info.reduction(), strict=True):
        assert tuple(level.shape) == (2, 16, 64 // rows, 128 // columns)
    assert {name for name, _ in pyramid.named_modules()} >= {stage.module for stage in info}


def test_levels_are_those_of_the_paper() -> None:
    pyramid = build().eval()
    x = images(33, 47)
    stages = pyramid.network.forward_stages(x)
    assert pyramid.levels is not None
    above: Tensor | None = None
    expected: list[Tensor] = []
    for index in reversed(range(4)):
        lateral = pyramid.levels.get_submodule(f"fpn.inner_blocks.{index}")(stages[index])
        if above is not None:
            lateral = lateral + functional.interpolate(above, size=lateral.shape[2:])
        above = lateral
        expected.insert(0, pyramid.levels.get_submodule(f"fpn.layer_blocks.{index}")(lateral))
    expected.append(expected[-1][:, :, ::2, ::2])
    torch.testing.assert_close(pyramid(x), tuple(expected), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["resnet18", "poolformer_s12"])
def test_every_parameter_that_wants_a_gradient_gets_one(name: str) -> None:
    pyramid = build(name)
    loss = torch.stack([level.square().mean() for level in pyramid(images(32, 32))]).sum()
    torch.autograd.backward(loss)
    for key, parameter in pyramid.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
        assert parameter.requires_grad or "head" in key, key


@pytest.mark.parametrize("stages", range(5))
def test_frozen_stages_keep_weights_and_statistics(stages: int) -> None:
    pyramid = build(frozen_stages=stages).train()
    before = {key: value.clone() for key, value in pyramid.state_dict().items()}
    optimiser = torch.optim.SGD((p for p in pyramid.parameters() if p.requires_grad), lr=0.1)
    torch.autograd.backward(torch.stack([y.square().mean() for y in pyramid(images(32, 32))]).sum())
    optimiser.step()
    after = pyramid.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    parts = ["network.network.conv1.", "network.network.bn1.", "levels."]
    parts += [f"network.network.layer{number}." for number in (1, 2, 3, 4)]
    moved = {part for part in parts if any(key.startswith(part) for key in changed)}
    frozen = {*parts[:2], *parts[3 : 3 + stages]} if stages else set()
    assert moved == set(parts) - frozen


def test_parts_of_a_network_are_found_by_their_place() -> None:
    assert stem_and_stages(on_meta("resnet18"), 0) == ()
    stem = tuple(f"network.{name}" for name in ("conv1", "bn1", "act1", "maxpool"))
    assert stem_and_stages(on_meta("resnet18"), 1) == (*stem, "network.layer1")
    stages = tuple(f"network.stages.{index}" for index in range(3))
    assert stem_and_stages(on_meta("poolformer_s12"), 3) == ("network.stem", *stages)


def test_frozen_parts_stay_in_evaluation_mode() -> None:
    pyramid = build("poolformer_s12", frozen_stages=2)
    for mode in (False, True):
        pyramid.train(mode)
        for name, module in pyramid.named_modules():
            parts = ("network.network.stem", "network.network.stages.0", "network.network.stages.1")
            frozen = name.startswith(parts)
            assert module.training == (mode and not frozen), name


def test_batch_norm_counts_where_it_is_not_frozen() -> None:
    assert build(frozen_stages=3).has_batch_norm
    assert not build(frozen_stages=4).has_batch_norm
    assert not build("poolformer_s12").has_batch_norm


def test_levels_start_at_random_from_the_global_state() -> None:
    def weight(seed: int) -> Tensor:
        torch.manual_seed(seed)
        pyramid = FeaturePyramid(on_meta("resnet18"), 16)
        assert pyramid.levels is not None
        layer = pyramid.levels.get_submodule("fpn.inner_blocks.0.0")
        assert isinstance(layer, nn.Conv2d)
        return layer.weight

    assert torch.equal(weight(1), weight(1))
    assert not torch.equal(weight(1), weight(2))


def test_checkpointing_gives_the_same_gradients() -> None:
    gradients = []
    for enable in (False, True):
        pyramid = build().train()
        pyramid.set_grad_checkpointing(enable)
        levels = pyramid(images(32, 32))
        torch.autograd.backward(torch.stack([level.square().mean() for level in levels]).sum())
        gradients.append([p.grad for p in pyramid.parameters() if p.requires_grad])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=1e-6)


def test_refuses_what_it_cannot_do() -> None:
    network = on_meta("resnet18")
    for stages in (-1, 5):
        with pytest.raises(
            ValueError, match=rf"can freeze 0 to 4 stages of resnet18, not {stages}"
        ):
            FeaturePyramid(network, frozen_stages=stages)
    with pytest.raises(ValueError, match="out_channels must be at least 1, got 0"):
        FeaturePyramid(network, 0)
    with torch.device("meta"), pytest.raises(ValueError, match="expected 1 input channel"):
        FeaturePyramid(network)(torch.empty(1, 3, 32, 32))
