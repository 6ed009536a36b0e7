"""Sizes that a network does not take are refused before anything is computed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models2d import Axis, SliceClassifier, create_model
from models2d.sizes import shapes_of, try_image


def on_meta(
    name: str = "resnet10t", axis: Axis = "axial", count: int | None = None
) -> SliceClassifier:
    with torch.device("meta"):
        return SliceClassifier(create_model(name, 1, 0), 2, axis=axis, count=count)


MULTIPLES = on_meta("hrnet_w18_small")


def test_shapes_are_those_of_images_that_are_not_square() -> None:
    conv = nn.Conv2d(2, 5, 3, stride=2)
    assert try_image(conv, 2, (9, 5)) == ((1, 5, 4, 2),)
    assert shapes_of(conv, 2, 2) is None
    assert conv.weight.device.type == "cpu"


@settings(max_examples=10, deadline=None)
@given(st.integers(32, 100), st.integers(32, 100))
def test_a_size_is_refused_if_and_only_if_the_network_fails(rows: int, columns: int) -> None:
    passes = rows % 32 == 0 and columns % 32 == 0
    try:
        try_image(MULTIPLES.network, 1, (rows, columns))
    except RuntimeError:
        with pytest.raises(ValueError, match=rf"images of \({rows}, {columns}\) pixels .*example"):
            MULTIPLES.check_size((rows, columns, 4))
        assert not passes
    else:
        MULTIPLES.check_size((rows, columns, 4))


@pytest.mark.parametrize(
    ("axis", "size", "plane", "pixels"),
    [
        ("axial", (33, 64, 4), "axial", (33, 64)),
        ("coronal", (33, 4, 64), "coronal", (33, 64)),
        ("sagittal", (4, 33, 64), "sagittal", (33, 64)),
        ("all", (32, 64, 40), "sagittal", (64, 40)),
    ],
)
def test_the_refusal_names_slices_network_and_remedy(
    axis: Axis, size: tuple[int, int, int], plane: str, pixels: tuple[int, int]
) -> None:
    model = on_meta("hrnet_w18_small", axis)
    with pytest.raises(ValueError, match=r"preprocess\.size that gives, for example, ") as caught:
        model.check_size(size)
    told = str(caught.value)
    assert told.startswith(f"the {plane} slices of a volume of {size} voxels do not fit: hrnet_w18")
    assert f"cannot take images of {pixels} pixels" in told
    assert told.endswith("(64, 64), or choose another network")


def test_a_size_that_is_proposed_passes_where_timm_knows_only_one() -> None:
    model = on_meta("hiera_tiny_224")
    with pytest.raises(ValueError, match=r"for example, \(224, 224\)"):
        model.check_size((64, 64, 4))
    model.check_size((224, 224, 4))


def test_networks_of_one_size_say_so() -> None:
    model = on_meta("swin_tiny_patch4_window7_224")
    with pytest.raises(ValueError, match=r"takes images of \(224, 224\) pixels only, got \(64, 64"):
        model.check_size((64, 64, 4))
    model.check_size((224, 224, 4))


def test_too_few_slices_and_too_small_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="6 axial slices asked for"):
        on_meta(count=6).check_size((64, 64, 5))
    with pytest.raises(ValueError, match=r"\(2, 2\) pixels is smaller than the minimum \(3, 3\)"):
        on_meta("poolformer_s12").check_size((2, 2, 5))


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal", "all"])
def test_sizes_that_pass_leave_a_network_with_values_as_it_was(axis: Axis) -> None:
    model = SliceClassifier(create_model("resnet10t", 1, 0), 2, axis=axis).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.check_size((20, 18, 16))
    assert model.training
    assert model.network.network.training
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
