"""The first convolution takes other channels, and the normalisation that weights expect."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models2d import create_model
from models2d.stem import FoldedConv2d, fold_kernel, spread_kernel

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(
    in_chans=st.integers(1, 9),
    folded=st.booleans(),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_equal_channels_give_what_three_equal_colours_give(
    in_chans: int, folded: bool, size: tuple[int, int], stride: int, padding: int, seed: int
) -> None:
    kernel, grey = noise(5, 3, 3, 3, seed=seed), noise(2, 1, *size, seed=seed + 1)
    conv = nn.Conv2d(in_chans, 5, 3, stride, padding, dtype=torch.float64)
    colours = grey.expand(-1, 3, -1, -1)
    if folded:
        conv = FoldedConv2d(conv)
        weight, offset = fold_kernel(kernel, in_chans, MEAN, STD)
        conv.offset.copy_(offset)
        shape = (3, 1, 1)
        colours = (colours - grey.new_tensor(MEAN).view(shape)) / grey.new_tensor(STD).view(shape)
    else:
        weight = spread_kernel(kernel, in_chans)
    with torch.no_grad():
        conv.weight.copy_(weight)
        actual = conv(grey.expand(-1, in_chans, -1, -1))
        expected = nn.functional.conv2d(colours, kernel, conv.bias, stride, padding)
    torch.testing.assert_close(actual, expected)


@given(in_chans=st.integers(4, 9))
@settings(deadline=None)
def test_no_channel_is_without_weight(in_chans: int) -> None:
    weight = spread_kernel(torch.ones(2, 3, 1, 1), in_chans)
    assert weight.shape == (2, in_chans, 1, 1)
    assert (weight > 0).all()


@pytest.mark.parametrize("name", ["resnet18", "resnet50d", "poolformer_s12", "poolformerv2_s12"])
def test_without_weights_that_need_it_the_fold_changes_nothing(name: str) -> None:
    models = []
    for normalised in (False, True):
        torch.manual_seed(0)
        models.append(create_model(name, 1, 2, normalised=normalised).eval())
    plain, folded = models
    assert (plain.normalised, folded.normalised) == (False, True)
    x = torch.rand(1, 1, 40, 36, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(folded(x), plain(x), rtol=0, atol=0)
    offsets = [key for key, _ in folded.named_buffers() if key.endswith("offset")]
    assert offsets == [f"network.{folded.first_conv}.offset"]
    assert [key for key, _ in folded.named_parameters()] == [k for k, _ in plain.named_parameters()]


def test_the_fold_is_built_on_the_meta_device_too() -> None:
    with torch.device("meta"):
        model = create_model("resnet18", normalised=True)
    assert model.get_buffer("network.conv1.offset").shape == (64, 1, 7, 7)


def test_the_fold_works_under_autocast() -> None:
    model = create_model("resnet10t", normalised=True).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.rand(1, 1, 32, 32))[-1].isfinite().all()


def test_a_first_convolution_that_cannot_be_folded_is_refused() -> None:
    # Its padding depends on the size of the image.
    with pytest.raises(ValueError, match="folded into a plain first convolution only"):
        create_model("tf_efficientnet_b0", normalised=True)
