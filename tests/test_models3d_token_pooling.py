"""Sums over windows and moments of tokens, read in few passes, are those of the definition."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from models3d.layers import Triple, window_counts, window_sum
from models3d.moments import moments_of
from models3d.token_functions import grid_of
from models3d.token_pooling import _counts, counts_of_windows, sums_of_windows

Extents = st.tuples(*[st.sampled_from((1, 3, 5))] * 3)
Grids = st.tuples(*[st.integers(1, 6)] * 3)


@settings(deadline=None, max_examples=40)
@given(grid=Grids, window=Extents, batch=st.integers(1, 3), channels=st.sampled_from((1, 3, 16)))
def test_sums_of_windows_are_those_of_shifted_copies(
    grid: Triple, window: Triple, batch: int, channels: int
) -> None:
    x = grid_of(torch.randn(batch, grid[0] * grid[1] * grid[2], channels), grid)
    expected = window_sum(x.double(), window)
    torch.testing.assert_close(sums_of_windows(x, window).double(), expected, rtol=1e-5, atol=1e-5)


@given(grid=Grids, window=Extents, dtype=st.sampled_from((torch.float32, torch.float64)))
def test_counts_of_windows_are_those_of_the_definition(
    grid: Triple, window: Triple, dtype: torch.dtype
) -> None:
    expected = window_counts(torch.zeros(1, 1, *grid, dtype=dtype), window)
    found = counts_of_windows(grid, window, dtype)
    assert found.dtype == dtype
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "mode", [torch.inference_mode, lambda: torch.device("meta"), FakeTensorMode]
)
def test_counts_that_were_first_asked_for_in_another_mode_serve_a_step(
    mode: Callable[[], AbstractContextManager[object]],
) -> None:
    _counts.cache_clear()
    with mode():
        counts_of_windows((2, 3, 4), (3, 3, 1), torch.float32)
    x = torch.rand(1, 1, 2, 3, 4, requires_grad=True)
    counts = counts_of_windows((2, 3, 4), (3, 3, 1), torch.float32)
    (gradient,) = torch.autograd.grad((x * counts).sum(), x)
    assert torch.equal(gradient[0, 0], window_counts(x, (3, 3, 1)))


def test_autocast_does_not_lower_the_precision_of_sums() -> None:
    x = torch.full((1, 2, 3, 3, 3), 1.001)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = sums_of_windows(x, (3, 3, 3))
    assert found.dtype == torch.float32
    assert found[0, 0, 1, 1, 1].item() == pytest.approx(27.027, abs=1e-4)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("tokens", [2048, 2049, 20_000])
def test_moments_of_large_samples_hold_far_from_zero(samples: int, tokens: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(samples, tokens, 64) + 300.0
    x[0] *= 2.0
    found = moments_of(nn.GroupNorm(1, 64), x)
    rows = x.double().flatten(1)
    expected = (rows.var(1, correction=0) + 1e-5).rsqrt()
    torch.testing.assert_close(found.mean[:, 0].double(), rows.mean(1), rtol=1e-6, atol=0.0)
    torch.testing.assert_close(found.inverse[:, 0].double(), expected, rtol=1e-5, atol=0.0)


def test_moments_of_a_large_constant_sample_are_those_of_a_constant() -> None:
    found = moments_of(nn.GroupNorm(1, 64), torch.full((1, 1 << 16, 64), 300.1))
    assert found.mean.item() == pytest.approx(300.1, rel=1e-6)
    # The variance is far below the 1e-5 that the norm adds to it.
    assert found.inverse.item() == pytest.approx(1e-5**-0.5, rel=1e-2)
