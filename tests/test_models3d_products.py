"""Products are equal whichever library does them, and gradients of weights are summed up."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
@settings(max_examples=30)
@given(
    rows=SIZES,
    width=SIZES,
    out=SIZES,
    turned=st.booleans(),
    asked=st.sets(st.sampled_from(["x", "weight", "bias"]), min_size=1),
)
def test_gradients_that_are_recorded_are_those_of_a_product(
    rows: int, width: int, out: int, turned: bool, asked: set[str]
) -> None:
    weight = seeded(width, out).T if turned else seeded(out, width)
    factors = {"x": seeded(rows, width), "weight": weight, "bias": seeded(out)}
    for name in asked:
        factors[name].requires_grad_()
    after = seeded(rows, out)

    found = torch.autograd.grad(
        products.linear(*factors.values()), [factors[name] for name in sorted(asked)], after
    )
    exact = {name: factor.detach().double().requires_grad_() for name, factor in factors.items()}
    expected = torch.autograd.grad(
        torch.nn.functional.linear(*exact.values()),
        [exact[name] for name in sorted(asked)],
        after.double(),
    )
    for ours, true in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), true, rtol=1e-5, atol=1e-4)


def test_onednn_that_is_switched_off_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_has_onednn", lambda: True)
    assert not products._by_onednn(seeded(2, 2).double())
    was = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        assert not products._by_onednn(seeded(2, 2))
    finally:
        torch._C._set_mkldnn_enabled(was)
