"""The plain 3D U-Net is MONAI's, for volumes of any size."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models3d import UNet3d, unet3d

WIDTHS = (2, 4, 6, 8, 10)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def small(dropout: float = 0.0) -> UNet3d:
    torch.manual_seed(0)
    return unet3d(1, 3, WIDTHS, dropout=dropout)


def expected_count(widths: tuple[int, ...], in_chans: int, out_channels: int) -> int:
    """Count the parameters of MONAI's network by hand: convolutions with bias, and norms."""

    def conv(dim: int, width: int, voxels: int) -> int:
        return voxels * dim * width + width

    def pair(dim: int, width: int) -> int:
        return conv(dim, width, 27) + conv(width, width, 27) + 4 * width

    down = sum(pair(*dims) for dims in zip((in_chans, *widths), widths, strict=False))
    up = conv(widths[0], out_channels, 1)
    for level in range(4):
        # All steps up halve the channels but the last one.
        grown = widths[level + 1] // (1 if level == 0 else 2)
        up += conv(widths[level + 1], grown, 8) + pair(widths[level] + grown, widths[level])
    return down + up


def test_parameters_are_counted() -> None:
    with torch.device("meta"):
        networks = {(32, 64, 128, 256, 512): unet3d(), WIDTHS: unet3d(1, 2, WIDTHS)}
    for widths, network in networks.items():
        count = sum(parameter.numel() for parameter in network.parameters())
        assert count == expected_count(widths, 1, 2)
    assert expected_count((32, 64, 128, 256, 512), 1, 2) == 22_625_314


def test_is_the_network_of_monai() -> None:
    from monai.networks.nets import BasicUNet

    norm = ("group", {"num_groups": 1})
    original: nn.Module = BasicUNet(3, 1, 3, features=(*WIDTHS, WIDTHS[0]), norm=norm)
    network = small()
    network.network.load_state_dict(original.state_dict())
    x = noise(2, 1, 17, 32, 16)
    torch.testing.assert_close(network(x), original(x), rtol=0, atol=0)


@settings(max_examples=10, deadline=None)
@given(size=st.tuples(*[st.integers(1, 34)] * 3), batch=st.integers(1, 2))
def test_every_size_comes_back(size: tuple[int, int, int], batch: int) -> None:
    decoded = small()(noise(batch, 1, *size))
    assert decoded.shape == (batch, 3, *size)
    assert decoded.isfinite().all()


@pytest.mark.parametrize("size", [(16, 16, 16), (28, 28, 28), (5, 19, 1)])
def test_gradient_reaches_every_parameter_also_from_one_case(size: tuple[int, int, int]) -> None:
    network = small().train()
    x = noise(1, 1, *size)
    before = x.clone()
    torch.autograd.backward(network(x).square().mean())
    assert torch.equal(x, before)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_a_short_axis_is_continued_by_its_last_voxel() -> None:
    network, x = small(), noise(1, 1, 16, 16, 10)
    longer = torch.cat([x, x[..., -1:].expand(-1, -1, -1, -1, 6)], dim=-1)
    torch.testing.assert_close(network(x), network(longer)[..., :10], rtol=0, atol=0)


def test_cases_of_a_batch_do_not_influence_each_other() -> None:
    network, x = small().double(), noise(2, 1, 20, 16, 16).double()
    alone = torch.cat([network(x[:1]), network(x[1:])])
    torch.testing.assert_close(alone, network(x), rtol=0, atol=1e-9)


def test_dropout_works_in_training_only() -> None:
    network, x = small(dropout=0.5), noise(1, 1, 16, 16, 16)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_chans": 0}, "in_chans must be at least 1, got 0"),
        ({"out_channels": 0}, "out_channels must be at least 1, got 0"),
        ({"widths": (2, 4, 8, 16)}, r"widths needs 5 numbers of at least 2, got \(2, 4, 8, 16\)"),
        ({"widths": (2, 4, 8, 16, 1)}, "widths needs 5 numbers of at least 2"),
        ({"dropout": 1.0}, r"dropout must be at least 0 and below 1, got 1\.0"),
    ],
)
def test_refuses_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unet3d(**options)


@pytest.mark.parametrize("shape", [(1, 16, 16, 16), (1, 2, 16, 16, 16), (0, 1, 16, 16, 16)])
def test_refuses_what_is_no_such_batch(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected a batch \(B, 1, X, Y, Z\), got"):
        small()(torch.zeros(shape))


def test_monai_is_imported_where_a_network_is_built() -> None:
    code = "import sys, models3d.unet; print('monai' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "False"
