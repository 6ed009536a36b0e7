"""Focal loss, mixup and test-time views against their definitions."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from pipeline.training.mixup import mixed
from pipeline.training.task import ClassificationTask
from pipeline.training.views import mean_logits, symmetries

PLANES = [(0, 1), (0, 2), (1, 2)]


class Positional(nn.Module):
    """Logits that depend on where in the volume a value stands."""

    def __init__(self, side: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(side**3, 3, generator=generator))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x, x.flatten(1) @ self.weight


def losses(gamma: float | None, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (x,)

    task = ClassificationTask(Fixed(), weights, focal_gamma=gamma)
    result: dict[str, Tensor] = task(logits, labels)
    return result["total"]


def test_the_focal_loss_is_lins() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(9, 3), torch.arange(9) % 3
    weights = torch.tensor([0.5, 1.0, 2.0])
    p = logits.softmax(1)[torch.arange(9), labels]
    expected = (weights[labels] * (1 - p) ** 2 * -p.log()).sum()
    assert torch.allclose(losses(2.0, logits, labels, weights), expected, atol=1e-6)
    plain = functional.cross_entropy(logits, labels, weight=weights, reduction="sum")
    assert torch.allclose(losses(0.0, logits, labels, weights), plain)
    assert torch.allclose(losses(None, logits, labels, weights), plain)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_the_focal_loss_has_a_finite_gradient_where_the_answer_is_sure(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss = losses(gamma, logits, torch.tensor([0, 0]), torch.ones(2))
    torch.autograd.backward(loss)
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@given(st.integers(1, 9), st.floats(0.05, 5.0), st.integers(0, 99))
def test_mixup_blends_volumes_and_losses_alike(count: int, alpha: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 2, 2, 2, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator)
    blend, partners, shares = mixed(images, labels, alpha, seed, 7)
    again = mixed(images, labels, alpha, seed, 7)
    assert all(torch.equal(a, b) for a, b in zip((blend, partners, shares), again, strict=True))
    assert ((shares >= 0) & (shares <= 1)).all()
    assert sorted(partners.tolist()) == sorted(labels.tolist())
    # The same permutation made images and partners: some order of the batch explains both.
    for place in range(count):
        share = shares[place]
        fits = [
            torch.allclose(blend[place], share * images[place] + (1 - share) * other, atol=1e-6)
            for other, label in zip(images, labels, strict=True)
            if label == partners[place]
        ]
        assert any(fits)
    task = ClassificationTask(Positional(2), torch.tensor([1.0, 2.0, 3.0]), smoothing=0.1)
    parts = task(blend, labels)["cases"], task(blend, partners)["cases"]
    expected = shares * parts[0] + (1 - shares) * parts[1]
    assert torch.allclose(task(blend, labels, partners, shares)["cases"], expected, atol=1e-5)


def test_another_step_blends_otherwise() -> None:
    images, labels = torch.randn(16, 1, 2, 2, 2), torch.arange(16)
    shares = [mixed(images, labels, 0.4, 0, step, 0, 0)[2] for step in (1, 2)]
    assert not torch.equal(*shares)


@pytest.mark.parametrize(("planes", "views"), [([], 8), ([(0, 1)], 16), (PLANES, 48)])
def test_the_views_are_the_symmetries_of_the_grid(
    planes: list[tuple[int, int]], views: int
) -> None:
    volume = torch.arange(27.0).reshape(1, 1, 3, 3, 3)
    seen = {tuple(view(volume).flatten().tolist()) for view in symmetries(planes)}
    assert len(seen) == views
    assert torch.equal(symmetries(planes)[0](volume), volume)


def test_views_keep_the_axes_that_differ() -> None:
    volume = torch.zeros(1, 1, 4, 4, 2)
    assert {view(volume).shape for view in symmetries([(0, 1)])} == {volume.shape}


@pytest.mark.parametrize("planes", [[], PLANES])
def test_the_mean_over_all_views_knows_no_side(planes: list[tuple[int, int]]) -> None:
    network, volume = Positional(3), torch.randn(2, 1, 3, 3, 3)
    views = symmetries(planes)
    answers = [mean_logits(network, view(volume), views) for view in views]
    for one, other in itertools.pairwise(answers):
        assert torch.allclose(one, other, atol=1e-4)
    assert not torch.allclose(answers[0], mean_logits(network, volume, []), atol=1e-2)
