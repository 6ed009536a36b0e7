"""Loss, learning rate, averaged weights and the judge of epochs, each against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional

from pipeline.training.inference import negative_log_likelihood, softmax
from pipeline.training.optim import AveragedWeights, learning_rate, parameter_groups
from pipeline.training.state import TrainState
from pipeline.training.task import ClassificationTask, balanced_class_weights


class Plain(nn.Module):
    """Two stages and logits from the mean of a volume."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x, x, self.linear(x.mean((2, 3, 4)))


class Supervised(nn.Module):
    """The same with two auxiliary heads."""

    def __init__(self, model: Plain) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleList(nn.Linear(1, 3) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[tuple[Tensor, ...], dict[int, Tensor], Tensor]:
        *stages, logits = self.model(x)
        pooled = x.mean((2, 3, 4))
        return tuple(stages), {k + 2: head(pooled) for k, head in enumerate(self.heads)}, logits


def test_the_loss_is_a_sum_over_cases_so_that_batches_can_be_split() -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(6, 1, 2, 2, 2), torch.tensor([0, 1, 2, 2, 0, 1])
    weights = torch.tensor([0.5, 1.0, 2.0])
    task = ClassificationTask(Plain(), weights, smoothing=0.1)
    whole = task(images, labels)
    parts = [task(images[i : i + 2], labels[i : i + 2])["total"] for i in (0, 2, 4)]
    assert torch.allclose(whole["total"], torch.stack(parts).sum(), atol=1e-6)
    logits = task.network(images)[-1]
    expected = functional.cross_entropy(
        logits, labels, weight=weights, label_smoothing=0.1, reduction="sum"
    )
    assert torch.allclose(whole["total"], expected)
    assert torch.allclose(whole["cases"].sum(), expected)


def test_auxiliary_heads_add_their_weighted_losses() -> None:
    torch.manual_seed(0)
    network = Supervised(Plain())
    task = ClassificationTask(network, torch.ones(3), supervised=True, head_weight=0.3)
    images, labels = torch.randn(4, 1, 2, 2, 2), torch.tensor([0, 1, 2, 0])
    losses = task(images, labels)
    expected = losses["main"] + 0.3 * (losses["stage_2"] + losses["stage_3"])
    assert torch.allclose(losses["total"], expected)
    assert task.plain_network is network.model
    losses["total"].backward()
    assert all(parameter.grad is not None for parameter in task.parameters())


@given(st.lists(st.integers(0, 2), min_size=3, max_size=50).filter(lambda y: len(set(y)) == 3))
def test_class_weights_are_those_of_scikit_learn(labels: list[int]) -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=np.array(labels))
    assert np.allclose(balanced_class_weights(labels, 3).numpy(), expected)


@given(steps=st.integers(2, 500), warmup=st.floats(0, 1))
def test_the_learning_rate_rises_to_its_peak_and_falls(steps: int, warmup: float) -> None:
    rates = [learning_rate(step, steps, 2.0, warmup) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0.0 <= rate <= 2.0 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(2.0)


def test_only_matrices_and_kernels_decay() -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(2, 2))
    decaying, free = parameter_groups(network, 0.05)
    assert decaying["weight_decay"] == 0.05
    assert free["weight_decay"] == 0.0
    assert {p.ndim for p in decaying["params"]} == {2, 5}  # type: ignore[attr-defined]
    assert {p.ndim for p in free["params"]} == {1}  # type: ignore[attr-defined]


def test_averaged_weights_follow_their_definition() -> None:
    network = nn.BatchNorm1d(1)
    averaged = AveragedWeights(network, 0.9)
    expected, value = 1.0, 1.0
    for update in range(30):
        value = math.sin(update)
        with torch.no_grad():
            network.weight.fill_(value)
            tracked = network.num_batches_tracked
            assert tracked is not None
            tracked.fill_(update)
        averaged.update(network)
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * value
    assert float(averaged.tensors["weight"]) == pytest.approx(expected, abs=1e-6)
    assert int(averaged.tensors["num_batches_tracked"]) == 29
    with averaged.in_place_of(network):
        assert torch.equal(network.weight, averaged.tensors["weight"])
    assert network.weight.item() == pytest.approx(value)


def test_a_decay_of_zero_is_the_network_itself() -> None:
    network = nn.Linear(2, 2)
    averaged = AveragedWeights(network, 0.0)
    with torch.no_grad():
        network.weight.add_(0.1)
    averaged.update(network)
    assert torch.equal(averaged.tensors["weight"], network.weight)


def test_the_judge_keeps_the_best_and_counts_patience() -> None:
    state = TrainState()
    verdicts = []
    for auroc, loss in [(0.6, 0.7), (0.8, 0.6), (0.8, 0.5), (0.7, 0.1), (None, 0.2)]:
        state.epoch += 1
        verdicts.append(state.judge("auroc", auroc, loss))
    assert verdicts == [True, True, True, False, False]
    assert (state.best_epoch, state.stale) == (3, 2)
    by_loss = TrainState()
    assert [by_loss.judge("loss", None, loss) for loss in (0.5, 0.6, 0.4)] == [True, False, True]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.tuples(*[st.floats(-8, 8)] * 3)),
        min_size=1,
        max_size=20,
    )
)
def test_probabilities_and_loss_agree_with_scikit_learn(
    cases: list[tuple[int, tuple[float, float, float]]],
) -> None:
    labels = np.array([label for label, _ in cases])
    logits = np.array([row for _, row in cases])
    probabilities = softmax(logits)
    assert np.allclose(probabilities.sum(axis=1), 1.0)
    ours = negative_log_likelihood(logits, labels)
    assert ours == pytest.approx(
        log_loss(labels, np.clip(probabilities, 1e-15, 1), labels=[0, 1, 2]), abs=1e-6
    )
