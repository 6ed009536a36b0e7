"""The multi-stage head goes around any network that shows its stages, of both packages."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import models2d
from models2d.slices import SliceClassifier
from models2d.slicing import Axis
from models3d import DeepSupervision, MultiStage, PoolFormer3d, VolumeModel, create_model
from models3d.multi_stage import StagedNetwork
from models3d.stage_head import PoolingName, StagesName, foreground_of


def poolformer(num_classes: int = 0, feature_norm: bool = False) -> PoolFormer3d:
    torch.manual_seed(0)
    return PoolFormer3d(
        (1, 1, 1),
        (4, 6, 8),
        1,
        num_classes,
        stem_kernel=3,
        stem_stride=2,
        feature_norm=feature_norm,
    )


def resnet() -> VolumeModel:
    return create_model("monai_resnet10", num_classes=0, block_inplanes=(4, 6, 8, 10))


def densenet() -> VolumeModel:
    return create_model(
        "monai_densenet121", 1, 0, init_features=8, growth_rate=4, block_config=(1, 1, 1, 1)
    )


def flat(in_chans: int = 1) -> models2d.ZooNetwork:
    torch.manual_seed(0)
    return models2d.create_model(
        "resnet10t", in_chans, 0, layers=(1, 1, 1, 1), channels=(8, 8, 8, 8)
    )


def slices(axis: Axis = "axial", frozen: bool = False) -> SliceClassifier:
    return SliceClassifier(flat(), 0, axis=axis, frozen=frozen)


def volume(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


VOLUMES: dict[str, tuple[Callable[[], StagedNetwork], tuple[int, ...]]] = {
    "poolformer": (poolformer, (2, 1, 16, 16, 16)),
    "resnet": (resnet, (2, 1, 32, 32, 32)),
    "densenet": (densenet, (2, 1, 32, 32, 32)),
    "slices": (slices, (2, 1, 32, 32, 3)),
    "images": (flat, (2, 1, 32, 32)),
}


@pytest.mark.parametrize("name", VOLUMES)
def test_stages_stay_those_of_the_network_and_the_logits_read_them(name: str) -> None:
    make, shape = VOLUMES[name]
    network = make()
    model = MultiStage(network, 3, foreground=True).eval()
    x = volume(*shape)
    *stages, logits = model(x)
    *expected, _ = network(x)
    torch.testing.assert_close(stages, expected, rtol=0, atol=0)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(model.head(stages, foreground_of(x)), logits, rtol=0, atol=0)
    assert model.num_features == 3 * sum(stage.shape[1] for stage in stages)
    assert model.feature_info.channels() == [stage.shape[1] for stage in stages]
    modules = dict(model.named_modules())
    assert all(stage.module in modules for stage in model.feature_info)


@pytest.mark.parametrize("name", VOLUMES)
def test_every_parameter_that_wants_a_gradient_gets_one_from_the_logits(name: str) -> None:
    make, shape = VOLUMES[name]
    model = MultiStage(make(), 3).train()
    before = {key: buffer.clone() for key, buffer in model.named_buffers()}
    torch.autograd.backward((model(volume(*shape))[-1] - 1).square().sum())
    without = {key for key, p in model.network.named_parameters() if p.grad is None}
    assert without == set(model.unused)
    assert all(not model.network.get_parameter(key).requires_grad for key in without)
    assert all(p.grad is not None for p in model.head.parameters())
    assert any(not torch.equal(before[key], buffer) for key, buffer in model.named_buffers())


def test_what_only_the_old_head_needs_is_named() -> None:
    assert MultiStage(poolformer(), 2).unused == ("head.norm.weight", "head.norm.bias")
    assert MultiStage(resnet(), 2).unused == ()
    assert MultiStage(densenet(), 2).unused == ("features.norm5.weight", "features.norm5.bias")
    assert set(MultiStage(slices(), 2).unused) == {
        *("pool.value.weight", "pool.value.bias", "pool.gate.weight", "pool.gate.bias"),
        "pool.score.weight",
    }
    assert MultiStage(flat(), 2).unused == ()


def test_a_frozen_network_stays_as_it_is() -> None:
    model = MultiStage(slices(frozen=True), 2).train()
    torch.autograd.backward(model(volume(2, 1, 32, 32, 3))[-1].sum())
    assert all(p.grad is None for p in model.network.parameters())
    assert all(p.grad is not None for p in model.head.parameters())


def test_looking_for_the_unused_leaves_network_and_randomness_alone() -> None:
    network = densenet()
    network.set_grad_checkpointing(True)
    before = copy.deepcopy(network.state_dict())
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with torch.device("meta"):
        MultiStage(network, 2)
    assert torch.equal(torch.rand(3), expected)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert network.training


def test_norms_of_handed_out_stages_keep_learning() -> None:
    model = MultiStage(poolformer(feature_norm=True), 2)
    assert all("feature_norms" not in name for name in model.unused)
    x = volume(2, 1, 16, 16, 16)
    torch.testing.assert_close(model(x)[:-1], poolformer(feature_norm=True)(x)[:-1])


def test_it_equals_the_head_of_poolformer_itself() -> None:
    torch.manual_seed(0)
    own = PoolFormer3d(
        (1, 1, 1), (4, 6, 8), 1, 3, stem_kernel=3, stem_stride=2, head_stages="all",
        head_pool="stats", head_foreground=True,
    ).eval()  # fmt: skip
    wrapped = MultiStage(poolformer(), 3, foreground=True, norm="group").eval()
    state = own.state_dict()
    wrapped.head.load_state_dict({k[5:]: v for k, v in state.items() if k.startswith("head.")})
    wrapped.network.load_state_dict(state, strict=False)
    x = volume(2, 1, 16, 16, 16)
    torch.testing.assert_close(wrapped(x), own(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("stages", "pool", "features"),
    [("all", "mean", 18), ("all", "stats", 54), ("last", "mean", 8), ("last", "stats", 24)],
)
def test_stages_and_pool_decide_the_features(
    stages: StagesName, pool: PoolingName, features: int
) -> None:
    model = MultiStage(poolformer(), 0, stages, pool).eval()
    x = volume(2, 1, 16, 16, 16)
    assert model(x)[-1].shape == (2, features)
    assert model.num_features == features
    if stages == "last":
        last = model.forward_features(x)
        torch.testing.assert_close(model.forward_head(last), model(x)[-1], rtol=0, atol=0)
    else:
        with pytest.raises(ValueError, match=r"reads several stages.*call the model"):
            model.forward_head(model.forward_features(x))


def test_it_keeps_the_rest_of_the_contract() -> None:
    network = poolformer()
    model = MultiStage(network, 3).eval()
    assert (model.in_chans, model.min_size, model.num_classes) == (1, (1, 1, 1), 3)
    assert model.feature_info.reduction() == network.feature_info.reduction()
    x = volume(2, 1, 16, 16, 16)
    *stages, _ = model(x)
    final, chosen = model.forward_intermediates(x, [0, -1])
    torch.testing.assert_close([final, *chosen], [stages[-1], stages[0], stages[-1]])
    _, normed = model.forward_intermediates(x, 1, norm=True)
    torch.testing.assert_close(normed[0], model.head.normalise(-1, stages[-1]))
    before = {key: value.shape for key, value in model.state_dict().items()}
    model.reset_classifier(5)
    changed = {k for k, value in model.state_dict().items() if value.shape != before[k]}
    assert changed == {k for k in before if k.startswith(model.classifier_prefix)}
    assert model(x)[-1].shape == (2, model.num_classes) == (2, 5)


def test_batch_norm_is_declared_for_the_head_and_the_network() -> None:
    assert MultiStage(poolformer(), 2).has_batch_norm
    assert not MultiStage(poolformer(), 2, "last", "mean", norm="group").has_batch_norm
    assert MultiStage(resnet(), 2, "last", "mean", norm="group").has_batch_norm
    assert not MultiStage(slices(frozen=True), 2, "last", "mean", norm="group").has_batch_norm


def test_checkpointing_reaches_the_network() -> None:
    results = []
    for enable in (False, True):
        model = MultiStage(poolformer(), 3)
        torch.manual_seed(1)
        model.reset_classifier(3)
        model.set_grad_checkpointing(enable)
        outputs = model(volume(2, 1, 16, 16, 16))
        torch.autograd.backward((outputs[-1] - 1).square().sum())
        results.append([p.grad for p in model.parameters() if p.grad is not None])
        assert vars(model.network.get_submodule("stages.0"))["grad_checkpointing"] is enable
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["poolformer", "slices", "images"])
def test_exports_copies_and_builds_on_meta(name: str) -> None:
    make, shape = VOLUMES[name]
    model = MultiStage(make(), 3, foreground=True).eval()
    x = volume(*shape)
    exported: tuple[Tensor, ...] = torch.export.export(model, (x,)).module()(x)
    torch.testing.assert_close(exported, model(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(copy.deepcopy(model)(x), model(x), rtol=0, atol=0)
    if name == "poolformer":
        with torch.device("meta"):
            on_meta = MultiStage(make(), 3, foreground=True)
            assert on_meta(torch.empty(shape))[-1].shape == (2, 3)


def test_deep_supervision_takes_it() -> None:
    _, heads, logits = DeepSupervision(MultiStage(poolformer(), 3), [1, 3], 3)(
        volume(2, 1, 16, 16, 16)
    )
    assert [head.shape for head in heads.values()] == [logits.shape] * 2


def test_volumes_and_images_that_the_network_refuses_are_refused() -> None:
    cases: list[tuple[StagedNetwork, tuple[int, ...], str]] = [
        (poolformer(), (1, 2, 8, 8, 8), "1 input channel"),
        (slices(), (2, 3, 8), "five dimensions"),
        (flat(), (1, 1, 8, 8, 8), "four dimensions"),
    ]
    for network, shape, message in cases:
        model = MultiStage(network, 2)
        for run in (model, model.check_volume):
            with pytest.raises(ValueError, match=message):
                run(torch.empty(shape))


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one for 3 classes: build it with num_classes=0"):
        MultiStage(poolformer(3), 2)
    with pytest.raises(ValueError, match="no common grid, so no foreground"):
        MultiStage(slices("all"), 2, foreground=True)
    assert isinstance(MultiStage(slices("all"), 2), nn.Module)
    with pytest.raises(ValueError, match="dropout must be"):
        MultiStage(poolformer(), 2, dropout=1.0)
    with pytest.raises(ValueError, match="num_classes"):
        MultiStage(poolformer(), -1)
