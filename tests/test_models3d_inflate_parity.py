"""Inflation says what would break its promise, and refuses what cannot keep it."""

from typing import Any

import pytest
import torch
from test_models3d_inflate import (
    ALONG,
    AXES,
    MEAN,
    STD,
    along,
    assert_refused,
    flat_poolformer,
    flat_resnet,
    noise,
    poolformer,
    resnet,
)
from torch import nn
from torch.nn import functional

from models3d import VolumeModel, inflate


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixer": "identity"}, "mixer is not pool here"),
        ({"mixer": "conv"}, "mixer is not pool here"),
        ({"pool_window": 5}, r"pool_window is \(5, 5, 5\) here, 3 in the plane there"),
        ({"pool_window": [3, 1, 3]}, r"pool_window is \(3, 1, 3\) here"),
        ({"norm": "channel"}, "norm is not group here"),
        ({"norm": "batch"}, "norm is not group here"),
    ],
)
def test_blocks_that_mean_something_else_are_refused(options: dict[str, Any], message: str) -> None:
    assert_refused(poolformer(**options), flat_poolformer(), f"another architecture: .*{message}")


@pytest.mark.parametrize("axis", AXES)
def test_along_the_axis_a_pool_may_have_any_window(axis: int) -> None:
    network = poolformer(axis, pool_window=along(axis, 1, 3))
    assert inflate(network, flat_poolformer().state_dict(), "centre", axis).remarks == ()


@pytest.mark.parametrize("axis", AXES)
def test_strides_are_remarked_in_the_plane_alone(axis: int) -> None:
    flat = flat_poolformer().state_dict()
    free = poolformer(axis, (7, 1), strides=[along(axis, 1, 2)] * 3)
    assert inflate(free, flat, "centre", axis).remarks == ()
    fine = poolformer(axis, stem_stride=2, strides=[2, 1, 2])
    stem, step = inflate(fine, flat, "centre", axis).remarks
    assert stem.startswith("stem.conv has the in-plane strides (2, 2), (4, 4) in 2D")
    assert step.startswith("stages.2.downsample.conv has the in-plane strides (1, 1), (2, 2) in")
    table = inflate(
        resnet(stem_stride=1), flat_resnet("monai_resnet18").state_dict(), "centre", axis
    )
    assert table.remarks[0].startswith("conv1 has the in-plane strides (1, 1), (2, 2) in 2D")
    assert table.lines()[-1] == f"note: {table.remarks[-1]}"


@pytest.mark.parametrize("axis", AXES)
def test_mean_is_remarked_where_zeros_lie_beyond_the_axis(axis: int) -> None:
    flat = flat_poolformer().state_dict()
    (remark,) = inflate(poolformer(axis), flat, "mean", axis).remarks
    assert remark.startswith(f"mode mean with zeros as padding along {'XYZ'[axis]}")
    edge = poolformer(axis, padding=along(axis, "edge", "zeros"))
    assert inflate(edge, flat, "mean", axis).remarks == ()
    (remark,) = inflate(resnet(), flat_resnet("monai_resnet18").state_dict(), "mean", axis).remarks
    assert "mode mean with zeros" in remark


def test_edges_repeated_in_the_plane_are_remarked() -> None:
    table = inflate(poolformer(padding="edge"), flat_poolformer().state_dict())
    assert table.remarks == ("padding is edge in the plane, zeros in 2D: borders differ",)


def test_weights_that_are_not_finite_are_refused_by_name() -> None:
    for value in (torch.nan, torch.inf):
        flat = flat_poolformer()
        with torch.no_grad():
            flat.get_parameter("stem.conv.bias")[2] = value
        assert_refused(poolformer(), flat, r"not finite \(stem.conv.bias\); use weights")


def test_weights_of_one_channel_ignore_the_normalisation_of_three_colours() -> None:
    flat = flat_poolformer(in_chans=1).state_dict()
    plain, asked = poolformer(), poolformer()
    asked.load_state_dict(plain.state_dict())
    assert inflate(plain, flat).remarks == ()
    (remark,) = inflate(asked, flat, mean=MEAN, std=STD).remarks
    assert "for one channel, so the normalisation of 3 colours was ignored" in remark
    torch.testing.assert_close(dict(asked.state_dict()), dict(plain.state_dict()), rtol=0, atol=0)


def test_one_mean_for_one_channel_is_folded() -> None:
    flat = flat_poolformer(in_chans=1)
    network = poolformer()
    assert inflate(network, flat.state_dict(), mean=[0.5], std=[0.25]).remarks == ()
    image = noise(1, 1, 40, 40)
    ours = network.get_submodule("stem")(image.unsqueeze(-1).expand(-1, -1, -1, -1, ALONG))
    theirs = flat.get_submodule("stem")((image - 0.5) / 0.25)
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(ours[..., 1][inside], theirs[inside], rtol=0, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_offset_of_our_own_stem_becomes_a_constant(channels: int) -> None:
    cases: list[tuple[VolumeModel, nn.Module, tuple[str, ...], int]] = [
        (poolformer(), flat_poolformer(channels), ("stem",), 4),
        (resnet(), flat_resnet("monai_resnet18", in_chans=channels), ("conv1", "bn1"), 2),
    ]
    image = noise(1, 1, 40, 40)
    for network, flat, names, stride in cases:
        conv = "stem.conv" if names == ("stem",) else "conv1"
        kernel = flat.get_parameter(f"{conv}.weight")
        offset = 0.1 * noise(kernel.shape[0], 1, *kernel.shape[2:])
        tensors = flat.state_dict() | {f"{conv}.offset": offset}
        table = inflate(network, tensors, mean=MEAN, std=STD)
        assert "hold their own normalisation of the input (offset)" in table.remarks[0]
        assert f"{conv}.offset" not in table.left_out
        padding = kernel.shape[-1] // 2 - (1 if stride == 4 else 0)
        added = functional.conv2d(torch.ones(1, 1, 40, 40), offset, None, stride, padding)
        ours = image.unsqueeze(-1).expand(-1, -1, -1, -1, ALONG)
        for name in names:
            ours = network.get_submodule(name)(ours)
        theirs = flat.get_submodule(conv)(image.expand(-1, channels, -1, -1)) + added
        if "bn1" in names:
            theirs = flat.get_submodule("bn1")(theirs)
        inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
        torch.testing.assert_close(ours[..., 1][inside], theirs[inside], rtol=0, atol=1e-4)


def test_an_offset_of_another_kernel_is_refused() -> None:
    flat = flat_poolformer()
    flat.get_submodule("stem.conv").register_buffer("offset", torch.zeros(8, 1, 3, 3))
    assert_refused(poolformer(), flat, r"offset .* is \(8, 1, 3, 3\), which does not belong")
