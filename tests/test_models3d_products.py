"""Products are equal whichever library does them, and gradients of weights are summed up."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from models3d import products

SIZES = st.integers(1, 40)


@pytest.fixture(params=[True, False], ids=["onednn", "mkl"], scope="module")
def library(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each library in turn, on any CPU."""
    if request.param and not torch._C._has_mkldnn:
        pytest.skip("this torch has no oneDNN")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "_has_onednn", lambda: request.param)
        yield


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.usefixtures("library")
@settings(max_examples=30)
@given(rows=SIZES, width=SIZES, out=SIZES, turned=st.booleans(), shifted=st.booleans())
def test_a_linear_layer(rows: int, width: int, out: int, turned: bool, shifted: bool) -> None:
    x, bias = seeded(rows, width), seeded(out) if shifted else None
    weight = seeded(width, out).T if turned else seeded(out, width)
    expected = torch.nn.functional.linear(
        x.double(), weight.double(), None if bias is None else bias.double()
    )
    found = products.linear(x, weight, bias)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("library")
@settings(max_examples=30)
@given(samples=SIZES, out=SIZES, width=SIZES)
def test_the_gradient_of_its_weight_is_added(samples: int, out: int, width: int) -> None:
    columns, rows, before = seeded(samples, out), seeded(samples, width), seeded(out, width)
    total = before.clone()
    products.add_outer_(total, columns, rows)
    expected = before.double() + columns.double().T @ rows.double()
    torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("bias", [torch.arange(10.0)[::2], torch.ones(1).expand(5)])
def test_a_bias_may_lie_in_memory_in_any_way(bias: torch.Tensor) -> None:
    found = products.linear(torch.zeros(7, 3), torch.zeros(5, 3), bias)
    assert torch.equal(found, bias.expand(7, 5))


@pytest.mark.usefixtures("library")
def test_double_precision_stays_double() -> None:
    x, weight = seeded(3, 4).double(), seeded(5, 4).double()
    found = products.linear(x, weight)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, x @ weight.T)


@pytest.mark.usefixtures("library")
@settings(max_examples=40)
@given(
    rows=SIZES,
    width=SIZES,
    out=SIZES,
    turned=st.booleans(),
    shifted=st.booleans(),
    spread=st.booleans(),
    asked=st.sets(st.sampled_from([0, 1, 2]), min_size=1),
)
def test_gradients_that_are_recorded_are_those_of_a_product(
    rows: int, width: int, out: int, turned: bool, shifted: bool, spread: bool, asked: set[int]
) -> None:
    weight = seeded(width, out).T if turned else seeded(out, width)
    factors = [seeded(rows, width), weight, *([seeded(out)] if shifted else [])]
    chosen = sorted(asked & {*range(len(factors))}) or [0]
    arriving = seeded(1, 1).expand(rows, out) if spread else seeded(rows, out)

    found = []
    for layer, dtype in ((products.linear, torch.float32), (functional.linear, torch.float64)):
        given = [factor.to(dtype, copy=True) for factor in factors]
        wanted = [given[place].requires_grad_() for place in chosen]  # the others are frozen
        found.append(torch.autograd.grad(layer(*given), wanted, arriving.to(dtype)))
    for ours, true in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), true, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("frozen", "kept"), [(0, 9 * 4), (1, 5 * 4)])
def test_what_no_gradient_needs_is_not_kept(frozen: int, kept: int) -> None:
    factors = [seeded(9, 4), seeded(5, 4)]
    factors[1 - frozen].requires_grad_()
    found: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        products.linear(factors[0], factors[1])
    assert found == [kept]


@pytest.mark.usefixtures("library")
def test_an_empty_batch_has_an_empty_product() -> None:
    x, weight = torch.zeros(0, 4, requires_grad=True), seeded(5, 4).requires_grad_()
    product = products.linear(x, weight, torch.zeros(5))
    assert product.shape == (0, 5)
    by_x, by_weight = torch.autograd.grad(product.sum(), [x, weight])
    assert by_x.shape == (0, 4)
    assert torch.equal(by_weight, torch.zeros(5, 4))


def test_onednn_that_is_switched_off_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_has_onednn", lambda: True)
    assert not products._by_onednn(seeded(2, 2).double())
    was = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        assert not products._by_onednn(seeded(2, 2))
    finally:
        torch._C._set_mkldnn_enabled(was)
