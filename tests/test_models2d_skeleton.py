"""Skeletons have the names and shapes of networks, and nothing else is left unfilled."""

import pytest
import torch
from torch import nn

from models2d import create_model, without_numbers
from models2d.sizes import shapes_of, smallest_side
from models2d.skeleton import ShapesOnly


def shapes(network: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype, bool, str]]:
    return {
        name: (tensor.shape, tensor.dtype, tensor.requires_grad, tensor.device.type)
        for name, tensor in network.state_dict(keep_vars=True).items()
    }


@pytest.mark.parametrize("name", ["resnet18", "seresnet50", "poolformer_s12", "poolformerv2_s12"])
def test_a_skeleton_is_what_the_meta_device_builds(name: str) -> None:
    with torch.device("meta"):
        slow = create_model(name, 1, 2)
    with without_numbers():
        quick = create_model(name, 1, 2)
    assert {kind for *_, kind in shapes(quick).values()} == {"meta"}
    assert list(shapes(quick).items()) == list(shapes(slow).items())
    assert quick.min_size == slow.min_size
    assert quick.feature_info.channels() == slow.feature_info.channels()
    assert quick.feature_info.reduction() == slow.feature_info.reduction()


def test_what_lies_on_another_device_is_filled_as_ever() -> None:
    layers = [nn.Linear(3, 2, device="cpu"), nn.BatchNorm2d(4, device="cpu")]
    with without_numbers():
        for layer in layers:
            for parameter in layer.parameters():
                nn.init.constant_(parameter, 7.0)
        drawn = torch.zeros(1000, device="cpu").normal_()
    assert all(bool((p == 7.0).all()) for layer in layers for p in layer.parameters())
    assert drawn.std() > 0.5


def test_numbers_are_drawn_again_afterwards() -> None:
    with without_numbers():
        assert torch.empty(2).fill_(3.0).is_meta
    assert torch.empty(2).fill_(3.0).tolist() == [3.0, 3.0]


@pytest.mark.parametrize("side", [1, 2, 7, 31, 32])
def test_norms_change_no_shape(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = create_model("resnet18", 1, 2, layers=[1, 1, 1, 1], channels=[8, 8, 8, 8])
    found = shapes_of(network, 1, side), smallest_side(network, 1)
    with monkeypatch.context() as patch:
        patch.setattr(
            ShapesOnly, "__torch_function__", lambda _, f, __, a=(), k=None: f(*a, **k or {})
        )
        assert (shapes_of(network, 1, side), smallest_side(network, 1)) == found
