"""The pyramid stem adds average pools of the volume to the strided convolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from models3d import PoolFormer3d, create_model
from models3d.layers import BorderName, Triple
from models3d.stem import PyramidStem, make_stem

per_axis = st.tuples(*[st.integers(1, 4)] * 3)
kernels = st.tuples(*[st.integers(1, 7)] * 3)
sizes = st.tuples(*[st.integers(1, 15)] * 3)


def pyramid(
    kernel: Triple = (3, 3, 3),
    stride: Triple = (2, 2, 2),
    border: BorderName = "zeros",
    in_chans: int = 1,
    windows: tuple[int | Triple, ...] = (3, (5, 1, 9)),
) -> PyramidStem:
    torch.manual_seed(0)
    borders = (border, border, border)
    stem = make_stem("pyramid", in_chans, 4, kernel, stride, borders, windows)
    assert isinstance(stem, PyramidStem)
    return stem


def average_around(x: Tensor, centre: Triple, window: Triple) -> Tensor:
    a, b, c = (
        slice(max(0, at - extent // 2), at + extent // 2 + 1)
        for at, extent in zip(centre, window, strict=True)
    )
    return x[:, :, a, b, c].mean((2, 3, 4))


@settings(max_examples=60, deadline=None)
@given(kernel=kernels, stride=per_axis, size=sizes, border=st.sampled_from(["zeros", "edge"]))
def test_pools_lie_around_the_centres_of_the_kernel(
    kernel: Triple, stride: Triple, size: Triple, border: BorderName
) -> None:
    stem = pyramid(kernel, stride, border, in_chans=2)
    x, y, z = (max(n, least) for n, least in zip(size, stem.min_size, strict=True))
    volume = torch.randn(2, 2, x, y, z)
    embedded = stem(volume)
    grid = embedded.shape[2:]
    assert embedded.shape == super(PyramidStem, stem).forward(volume).shape
    pools = stem.pools(volume, grid)
    padded = [max(0, (k - s + 1) // 2) for k, s in zip(kernel, stride, strict=True)]
    for i, j, k in torch.cartesian_prod(*(torch.arange(n) for n in grid)).view(-1, 3).tolist():
        a, b, c = (
            min(max(at * s + (extent - 1) // 2 - pad, 0), n - 1)
            for at, s, extent, pad, n in zip(
                (i, j, k), stride, kernel, padded, (x, y, z), strict=True
            )
        )
        parts = [average_around(volume, (a, b, c), window) for window in stem.windows]
        torch.testing.assert_close(pools[:, :, i, j, k], torch.cat(parts, dim=1))


def test_pools_of_the_default_windows_equal_avg_pool() -> None:
    stem = create_model("poolformer3d_n", stem_kind="pyramid").get_submodule("stem")
    assert isinstance(stem, PyramidStem)
    x = torch.randn(2, 1, 28, 28, 28)
    expected = [
        functional.avg_pool3d(x, n, 2, n // 2, count_include_pad=False) for n in (3, 5, 9, 13)
    ]
    torch.testing.assert_close(stem.pools(x, (14, 14, 14)), torch.cat(expected, dim=1))


def test_output_is_the_convolution_plus_a_pointwise_one_of_the_pools() -> None:
    stem = pyramid(in_chans=2)
    x = torch.randn(2, 2, 9, 8, 7)
    expected = stem.conv(x) + stem.mix(stem.pools(x, (5, 4, 4)))
    torch.testing.assert_close(stem(x), expected)


def test_the_convolution_keeps_its_name_and_the_smallest_volume() -> None:
    plain = PoolFormer3d((1,), (4,))
    wide = PoolFormer3d((1,), (4,), stem_kind="pyramid")
    assert wide.min_size == plain.min_size == (3, 3, 3)
    assert set(wide.state_dict()) - set(plain.state_dict()) == {"stem.mix.weight"}
    assert wide(torch.randn(1, 1, 3, 4, 5))[-1].isfinite().all()


def test_the_input_gets_a_gradient_only_if_it_wants_one() -> None:
    stem = pyramid()
    x = torch.randn(1, 1, 8, 8, 8)
    assert not stem.pools(x, (4, 4, 4)).requires_grad
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(stem(x).sum(), x)
    assert gradient.shape == x.shape
    small = torch.randn(1, 1, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stem.double(), (small,))


def test_runs_in_half_precision_and_double() -> None:
    x = torch.randn(1, 1, 8, 8, 8)
    stem = pyramid()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = stem(x)
    torch.testing.assert_close(rough.float(), stem(x), rtol=0.1, atol=0.05)
    assert stem.double()(x.double()).dtype == torch.float64


def test_windows_that_do_not_fit_are_refused() -> None:
    cases: list[tuple[object, str]] = [
        ((3, 4), "odd extents"),
        ((3, (5, 5, 2)), "odd extents"),
        ((), "at least one window, got"),
        (5, "at least one window, got 5"),
        ((3, 0), "stem_windows takes a whole number"),
        ((3, (5, 5)), "stem_windows takes a whole number"),
        (("x",), "stem_windows takes a whole number"),
        ((3, (3, 3, 3)), "twice"),
    ]
    for windows, message in cases:
        with pytest.raises(ValueError, match=message):
            create_model("poolformer3d_n", stem_kind="pyramid", stem_windows=windows)
    with pytest.raises(ValueError, match="no effect with stem_kind='conv'"):
        create_model("poolformer3d_n", stem_windows=(3, 5))
    with pytest.raises(ValueError, match="choose from conv, pyramid"):
        create_model("poolformer3d_n", stem_kind="pools")
    create_model("poolformer3d_n", stem_windows=[3, 5, 9, 13])
