"""Pools over slices: what they promise of order, weights and the classifier after them."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models2d.pooling import (
    AttentionPool,
    GruPool,
    PoolName,
    TransformerPool,
    make_classifier,
    make_pool,
    sinusoids,
)

NAMES: tuple[PoolName, ...] = get_args(PoolName)
ORDERED: tuple[PoolName, ...] = ("gru", "transformer")
UNORDERED: tuple[PoolName, ...] = ("mean", "max", "attention")
DIM = 6


def tokens(batch: int = 2, slices: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, slices, DIM, generator=generator, dtype=torch.float64)


def assert_same(actual: Tensor, expected: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(batch=st.integers(1, 3), slices=st.integers(1, 7), seed=st.integers(0, 99))
def test_weights_are_parts_of_one_and_shapes_are_declared(
    name: PoolName, batch: int, slices: int, seed: int
) -> None:
    torch.manual_seed(seed)
    pool = make_pool(name, DIM).double()
    features, states, weights = pool(tokens(batch, slices, seed), [slices])
    assert features.shape == (batch, pool.num_features)
    assert states.shape == (batch, slices, pool.num_features)
    assert weights.shape == (batch, slices)
    assert (weights >= 0).all()
    assert_same(weights.sum(1), torch.ones(batch, dtype=torch.float64))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "max"])
@settings(max_examples=8, deadline=None)
@given(slices=st.integers(1, 7), seed=st.integers(0, 99))
def test_logits_are_the_weighted_mean_of_slice_logits(
    name: PoolName, slices: int, seed: int
) -> None:
    torch.manual_seed(seed)
    pool = make_pool(name, DIM).double()
    classifier = make_classifier(pool.num_features, 3).double()
    nn.init.normal_(next(classifier.parameters()))
    features, states, weights = pool(tokens(2, slices, seed), [slices])
    mixed = (weights[..., None] * classifier(states)).sum(1)
    assert_same(classifier(features), mixed)


@pytest.mark.parametrize("name", UNORDERED)
@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(5)), seed=st.integers(0, 99))
def test_unordered_pools_do_not_see_the_order(name: PoolName, order: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    pool = make_pool(name, DIM).double()
    x = tokens(seed=seed)
    features, _, weights = pool(x, [5])
    shuffled = pool(x[:, order], [5])
    assert_same(shuffled.features, features)
    assert_same(shuffled.weights, weights[:, order])
    assert not pool.ordered


@pytest.mark.parametrize("name", ORDERED)
def test_ordered_pools_see_the_order(name: PoolName) -> None:
    torch.manual_seed(0)
    pool = make_pool(name, DIM).double()
    x = tokens()
    change = pool(x, [5]).features - pool(x.flip(1), [5]).features
    assert change.abs().max() > 1e-4
    assert pool.ordered


def test_mean_and_max_are_those_of_each_feature() -> None:
    x = tokens()
    mean, largest = make_pool("mean", DIM)(x, [5]), make_pool("max", DIM)(x, [5])
    assert_same(mean.features, x.mean(1))
    assert_same(largest.features, x.amax(1))


def test_max_weighs_a_slice_by_the_features_that_it_wins() -> None:
    x = torch.tensor([[[9.0, 0, 0, 0], [0, 9.0, 9.0, 0], [0, 0, 0, 9.0], [-1, -1, -1, -1]]])
    weights = make_pool("max", 4)(x, [4]).weights
    assert weights.tolist() == [[0.25, 0.5, 0.25, 0.0]]
    # Equal slices share nothing twice.
    assert make_pool("max", 4)(torch.zeros(1, 3, 4), [3]).weights.sum() == 1


@settings(max_examples=8, deadline=None)
@given(scale=st.floats(0.0, 1000.0), seed=st.integers(0, 99))
def test_attention_starts_near_the_mean_at_every_scale(scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    weights = AttentionPool(DIM).double()(scale * tokens(seed=seed), [5]).weights
    assert (weights * 5 > 0.3).all()
    assert (weights * 5 < 2.5).all()


def test_attention_finds_the_slice_that_speaks() -> None:
    torch.manual_seed(0)
    pool, classifier = AttentionPool(DIM), make_classifier(DIM, 2)
    x, labels = tokens(32, 5).float(), torch.arange(32) % 2
    places = torch.arange(32) % 5
    x[torch.arange(32), places] = 0.0
    x[torch.arange(32), places, labels] = 6.0
    parts = [*pool.parameters(), *classifier.parameters()]
    optimiser = torch.optim.Adam(parts, lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(classifier(pool(x, [5]).features), labels)
        torch.autograd.backward(loss)
        optimiser.step()
    weights = pool(x, [5]).weights
    assert (weights.argmax(1) == places).float().mean() > 0.9


@pytest.mark.parametrize("kind", [GruPool, TransformerPool])
def test_ordered_pools_tell_planes_apart(kind: type[GruPool] | type[TransformerPool]) -> None:
    torch.manual_seed(0)
    pool = kind(DIM, planes=3).double()
    x = tokens(slices=6)
    change = pool(x, [2, 2, 2]).features - pool(x, [4, 1, 1]).features
    assert change.abs().max() > 1e-6
    assert "planes.weight" in pool.state_dict()
    assert "planes.weight" not in kind(DIM).state_dict()


def test_positions_of_a_transformer_are_counted_in_each_plane() -> None:
    torch.manual_seed(0)
    pool = TransformerPool(DIM, planes=3).double()
    assert pool.planes.weight is not None
    with torch.no_grad():
        pool.planes.weight.zero_()
    x = tokens(slices=3)
    # One slice of each plane, all at position 0: only a vector of the plane tells them apart.
    assert_same(pool(x[:, [2, 0, 1]], [1, 1, 1]).features, pool(x, [1, 1, 1]).features)


def test_transformer_layers_start_with_weights_of_their_own() -> None:
    first, second = TransformerPool(DIM).layers
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: PoolName) -> None:
    torch.manual_seed(0)
    pool = make_pool(name, DIM, planes=3).double()
    features = pool(tokens(slices=6), [1, 2, 3]).features
    if not features.requires_grad:
        assert not list(pool.parameters())
        return
    torch.autograd.backward(features.pow(3).sum())
    for key, parameter in pool.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", NAMES)
def test_pools_have_no_randomness_of_their_own(name: PoolName) -> None:
    pool = make_pool(name, DIM).double().train()
    x = tokens()
    before = torch.get_rng_state()
    assert torch.equal(pool(x, [5]).features, pool(x, [5]).features)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_weights_sum_to_one_in_half_precision(name: PoolName) -> None:
    pool = make_pool(name, DIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = pool(tokens(slices=24).bfloat16(), [24]).weights
    torch.testing.assert_close(weights.float().sum(1), torch.ones(2), rtol=0, atol=1e-5)


def test_positions_differ_and_stay_in_range() -> None:
    table = sinusoids(50, 8, torch.zeros(1, dtype=torch.float64))
    assert table.shape == (50, 8)
    assert table.dtype == torch.float64
    assert table.abs().max() <= 1
    assert len({tuple(row) for row in table.tolist()}) == 50
    assert table[0].tolist() == [0.0] * 4 + [1.0] * 4


def test_classifier_starts_as_in_the_networks_for_volumes() -> None:
    torch.manual_seed(0)
    layer = make_classifier(1000, 3)
    assert isinstance(layer, nn.Linear)
    assert layer.bias.abs().max() == 0
    assert 0.018 < layer.weight.std() < 0.022
    assert isinstance(make_classifier(5, 0), nn.Identity)


def test_refuses_what_does_not_exist() -> None:
    name: PoolName = "median"  # type: ignore[assignment]  # what a config may hold
    with pytest.raises(ValueError, match=r"unknown pool 'median'.*mean, max, attention, gru"):
        make_pool(name, DIM)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        make_classifier(DIM, -1)
