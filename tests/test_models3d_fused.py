"""Late fusion: a longer head that may read covariates beside the pooled features."""

import copy

import pytest
import torch
from torch import Tensor, nn

import models2d
from models2d.slices import SliceClassifier
from models3d import DeepSupervision, FusedClassifier, MultiStage, PoolFormer3d


def network(num_classes: int = 0) -> PoolFormer3d:
    torch.manual_seed(0)
    return PoolFormer3d((1, 1, 1), (4, 6, 8), 1, num_classes, stem_kernel=3, stem_stride=2)


def volume() -> Tensor:
    return torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))


def test_logits_read_pooled_features_and_covariates() -> None:
    model = FusedClassifier(network(), 3, covariates=2, hidden=(5, 4), dropout=0.5).eval()
    x, covariates = volume(), torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    *stages, logits = model(x, covariates)
    *expected, pooled = network().eval()(x)
    torch.testing.assert_close(stages, expected, rtol=0, atol=0)
    vector = torch.cat((pooled, covariates), dim=1)
    assert [type(layer) for layer in model.head] == [
        *(nn.Linear, nn.GELU, nn.Dropout) * 2,
        nn.Linear,
    ]
    torch.testing.assert_close(model.head(vector), logits, rtol=0, atol=0)
    assert model.num_features == 10
    changed = model(x, covariates + 1)[-1]
    assert not torch.allclose(changed, logits)


def test_without_covariates_it_is_a_longer_head() -> None:
    model = FusedClassifier(network(), 2, hidden=[7])
    assert model(volume())[-1].shape == (2, 2)
    linear = FusedClassifier(network(), 2)
    assert [type(layer) for layer in linear.head] == [nn.Linear]


def test_logits_are_no_probabilities() -> None:
    model = FusedClassifier(network(), 2, covariates=1, hidden=(4,))
    logits = model(volume(), 1000 * torch.ones(2, 1))[-1]
    assert not torch.allclose(logits.sum(1), torch.ones(2))


def test_dropout_spares_the_covariates() -> None:
    model = FusedClassifier(network(), 0, covariates=3, dropout=0.9)
    vector = model(volume(), torch.ones(2, 3))[-1]
    assert torch.equal(vector[:, -3:], torch.ones(2, 3))
    assert (vector[:, :-3] == 0).any()
    assert model.hidden == ()
    assert torch.equal(model.eval()(volume(), torch.ones(2, 3))[-1][:, :-3] == 0, torch.zeros(2, 8))


@pytest.mark.parametrize(
    ("covariates", "given", "message"),
    [
        (2, None, "covariates are missing: the head reads 2"),
        (2, (2, 3), r"shape \(2, 2\), got \(2, 3\)"),
        (2, (1, 2), r"shape \(2, 2\), got \(1, 2\)"),
        (2, (2,), r"shape \(2, 2\), got \(2,\)"),
        (0, (2, 1), "built for none"),
        (0, (2, 0), "built for none"),
    ],
)
def test_covariates_that_do_not_fit_are_refused(
    covariates: int, given: tuple[int, ...] | None, message: str
) -> None:
    model = FusedClassifier(network(), 2, covariates)
    values = None if given is None else torch.zeros(given)
    with pytest.raises(ValueError, match=message):
        model(volume(), values)
    with pytest.raises(ValueError, match=message):
        model.forward_head(model.forward_features(volume()), values)
    with pytest.raises(ValueError, match=message):
        DeepSupervision(model, [1], 2)(volume(), values)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one for 3 classes: build it with num_classes=0"):
        FusedClassifier(network(3), 2)
    cases: list[tuple[dict[str, object], str]] = [
        ({"covariates": -1}, "covariates must be a whole number"),
        ({"covariates": 1.5}, "covariates must be a whole number"),
        ({"hidden": (4, 0)}, "hidden takes a list"),
        ({"hidden": 4}, "hidden takes a list"),
        ({"dropout": 1}, "dropout must be at least 0 and below 1"),
        ({"num_classes": -1}, "num_classes must be at least 0"),
        ({"num_classes": -1, "hidden": (4,)}, "num_classes must be at least 0"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            FusedClassifier(network(), **({"num_classes": 2} | options))  # type: ignore[arg-type]


def test_it_keeps_the_contract() -> None:
    inner = network()
    model = FusedClassifier(inner, 3, covariates=1, hidden=(4,)).eval()
    assert (model.in_chans, model.min_size, model.num_classes) == (1, (1, 1, 1), 3)
    assert model.feature_info.channels() == [4, 6, 8]
    assert {stage.module for stage in model.feature_info} <= dict(model.named_modules()).keys()
    assert not model.has_batch_norm
    assert FusedClassifier(MultiStage(network(), 0), 2).has_batch_norm
    x, age = volume(), torch.ones(2, 1)
    *stages, logits = model(x, age)
    torch.testing.assert_close(model.forward_stages(x), tuple(stages), rtol=0, atol=0)
    final, chosen = model.forward_intermediates(x, [1])
    torch.testing.assert_close([final, *chosen], [stages[-1], stages[1]], rtol=0, atol=0)
    torch.testing.assert_close(model.forward_head(final, age), logits, rtol=0, atol=0)
    assert model.forward_head(final, age, pre_logits=True).shape == (2, model.num_features)


def test_all_of_the_head_is_replaced_with_the_classifier() -> None:
    model = FusedClassifier(network(), 3, covariates=1, hidden=(4,))
    before = copy.deepcopy(model.state_dict())
    model.reset_classifier(5)
    after = model.state_dict()
    changed = {k for k in before if before[k].shape != after[k].shape}
    changed |= {k for k in before if k not in changed and not torch.equal(before[k], after[k])}
    assert changed == {"head.0.weight", "head.3.weight", "head.3.bias"}
    assert all(name.startswith(model.classifier_prefix) for name in changed)
    assert model(volume(), torch.ones(2, 1))[-1].shape == (2, 5)
    model.reset_classifier(0)
    assert not any(name.startswith("head.") for name in model.state_dict())
    assert model(volume(), torch.ones(2, 1))[-1].shape == (2, model.num_features)
    with pytest.raises(ValueError, match="-1"):
        model.reset_classifier(-1)


def test_every_parameter_gets_a_gradient_also_with_checkpointing() -> None:
    results = []
    for enable in (False, True):
        model = FusedClassifier(network(), 3, covariates=2, hidden=(6,))
        model.set_grad_checkpointing(enable)
        torch.autograd.backward((model(volume(), torch.ones(2, 2))[-1] - 1).square().sum())
        results.append([p.grad for p in model.parameters()])
    assert None not in results[0]
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-6)


def test_networks_of_all_kinds_are_taken() -> None:
    flat = models2d.create_model("resnet10t", 1, 0, layers=(1, 1, 1, 1), channels=(8, 8, 8, 8))
    age = torch.ones(2, 1)
    volumes = torch.randn(2, 1, 32, 32, 3)
    assert FusedClassifier(flat, 2, 1)(volumes[..., 0], age)[-1].shape == (2, 2)
    sliced = SliceClassifier(flat, 0)
    assert FusedClassifier(sliced, 2, 1)(volumes, age)[-1].shape == (2, 2)
    vectors = sliced.embed(volumes)
    assert FusedClassifier(SliceClassifier(flat, 0, frozen=True), 2, 1)(vectors, age)[-1].shape == (
        2,
        2,
    )
    multi = FusedClassifier(MultiStage(network(), 0), 2, 1)
    assert multi.num_features == 3 * 18 + 1
    assert multi(volume(), age)[-1].shape == (2, 2)
    with pytest.raises(ValueError, match="reads several stages"):
        multi.forward_head(multi.forward_features(volume()), age)


def test_exports_copies_and_builds_on_meta() -> None:
    model = FusedClassifier(network(), 3, covariates=2, hidden=(6,)).eval()
    inputs = (volume(), torch.ones(2, 2))
    exported: tuple[Tensor, ...] = torch.export.export(model, inputs).module()(*inputs)
    torch.testing.assert_close(exported, model(*inputs), rtol=0, atol=1e-6)
    torch.testing.assert_close(copy.deepcopy(model)(*inputs), model(*inputs), rtol=0, atol=0)
    with torch.device("meta"):
        on_meta = FusedClassifier(network(), 3, covariates=2, hidden=(6,))
        assert on_meta(torch.empty(2, 1, 16, 16, 16), torch.empty(2, 2))[-1].shape == (2, 3)


def test_covariates_join_under_autocast() -> None:
    model = FusedClassifier(network(), 3, covariates=2).eval()
    inputs = (volume(), torch.ones(2, 2, dtype=torch.float64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(*inputs)[-1]
    torch.testing.assert_close(logits.float(), model(*inputs)[-1], rtol=0.1, atol=0.05)
