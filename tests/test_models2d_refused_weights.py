"""Weights that do not fit are refused with the reason."""

from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from published_weights import SHALLOW, Tensors, assert_close, fresh, rgb, saved
from torch import Tensor

from models2d import WeightsError, create_model, load_file


def change(**changes: Tensor | None) -> Tensors:
    """Give weights of resnet18 for one channel with some tensors replaced, added or dropped."""
    state = OrderedDict(fresh("resnet18").network.state_dict())
    for name, tensor in changes.items():
        key = name.replace("__", ".")
        state.pop(key, None)
        if tensor is not None:
            state[key] = tensor
    return state


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bn1__weight": None}, r"another architecture .* ResNet of 1, 1, 1, 1 basic .* lack: bn1"),
        ({"bn1__extra": torch.ones(1)}, "network does not have: bn1.extra"),
        ({"bn1__weight": torch.ones(3)}, r"bn1.weight \(3,\) where the network has \(64,\)"),
        ({"bn1__weight": torch.ones(64, dtype=torch.int64)}, "another shape or kind: bn1.weight"),
        ({"bn1__weight": torch.full((64,), torch.nan)}, r"not finite \(bn1.weight\)"),
        (
            {"conv1__weight": torch.ones(64, 4, 7, 7)},
            r"for 4 input channel\(s\), the network for 1",
        ),
        ({"conv1__weight": None}, "weights lack: conv1.weight"),
        ({"conv1__offset": torch.ones(64, 1, 7, 7)}, "hold the normalisation of the input"),
        ({"conv1__weight": torch.ones(64, 1, 3, 3)}, "another architecture"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(
    changes: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    model = fresh("resnet18")
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError, match=f"cannot load weights.pth into resnet18: .*{message}"):
        load_file(model, saved(change(**changes), tmp_path))
    assert_close(dict(model.state_dict()), before, atol=0)


@pytest.mark.parametrize(
    ("name", "described"),
    [
        ("resnet50", "a ResNet of 1, 1, 1, 1 bottleneck blocks"),
        ("seresnet50", "a ResNet of 1, 1, 1, 1 bottleneck blocks and squeeze-excitation"),
        ("poolformer_s12", "a PoolFormer of 2, 2, 6, 2 blocks, 64, 128, 320, 512 channels wide"),
        ("poolformerv2_s12", "a PoolFormerV2 of 2, 2, 6, 2 blocks"),
        ("regnety_002", "a network that is not known here, with tensors named stem.conv.weight"),
    ],
)
def test_weights_of_another_architecture_are_named(
    name: str, described: str, tmp_path: Path
) -> None:
    network = timm.create_model(name, **({} if "resnet" not in name else SHALLOW))
    with pytest.raises(WeightsError, match=f"another architecture and seem to be of {described}"):
        load_file(fresh("resnet18"), saved(network.state_dict(), tmp_path))


def test_a_network_without_values_is_not_filled(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = create_model("resnet18", 1, 2, **SHALLOW)
    with pytest.raises(ValueError, match="on the meta device"):
        load_file(model, saved(rgb("resnet18").state_dict(), tmp_path))
