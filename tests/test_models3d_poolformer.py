"""PoolFormer3d computes what the published network computes, in every option."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from models3d import PoolFormer3d, convert_reference_state_dict, create_model
from models3d.layers import (
    ConvMixer,
    DropPath,
    LayerScale,
    MixerName,
    NormName,
    PerAxis,
    PoolMixer,
    average_pool,
)

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / os.environ.get("VOLCLASS_DATA", "../shared/data")
GOLDEN = DATA.parent / "golden" / "poolformer3d_reference.safetensors"
needs_golden = pytest.mark.skipif(not GOLDEN.is_file(), reason=f"no reference values at {GOLDEN}")

PARAMETERS = {
    "s12": 15_453_776,
    "s24": 24_927_568,
    "s36": 34_401_360,
    "m36": 62_697_232,
    "m48": 79_998_160,
}


def tiny(
    *,
    strides: int | list[PerAxis] = 2,
    stem_stride: PerAxis = 2,
    mixer: MixerName = "pool",
    pool_window: PerAxis = 3,
    norm: NormName = "group",
    mlp_ratio: float | list[float] = 2.0,
    layer_scale: float | None = 0.5,
    drop_path: float = 0.0,
    dropout: float = 0.0,
    feature_norm: bool = False,
) -> PoolFormer3d:
    torch.manual_seed(0)
    return PoolFormer3d(
        (1, 1, 2, 1),
        (4, 6, 8, 10),
        num_classes=3,
        stem_kernel=3,
        stem_stride=stem_stride,
        strides=strides,
        mixer=mixer,
        pool_window=pool_window,
        norm=norm,
        mlp_ratio=mlp_ratio,
        layer_scale=layer_scale,
        drop_path=drop_path,
        dropout=dropout,
        feature_norm=feature_norm,
    )


def reference_tensors() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give the published network's weights, and its input, stages and logits."""
    tensors = load_file(GOLDEN)
    state = {key.removeprefix("state."): t for key, t in tensors.items() if "state." in key}
    return state, {key: t for key, t in tensors.items() if "state." not in key}


def largest_difference() -> float:
    """Compare stages and logits with the published network's; give the largest difference."""
    state, values = reference_tensors()
    model = PoolFormer3d((2, 2, 3, 2), (8, 16, 24, 32), num_classes=5).eval()
    model.load_state_dict(convert_reference_state_dict(state))
    with torch.no_grad():
        outputs = model(values["input"])
    names = ("stage_1", "stage_2", "stage_3", "stage_4", "logits")
    pairs = zip(names, outputs, strict=True)
    return max((out - values[name]).abs().max().item() for name, out in pairs)


@needs_golden
def test_equals_the_published_network() -> None:
    difference = largest_difference()
    print(f"largest difference to the published network: {difference:.2e}")
    assert difference <= 1e-5, f"largest difference {difference:.2e}"


@needs_golden
def test_reference_weights_with_wrong_keys_are_refused_by_name() -> None:
    state, _ = reference_tensors()
    weight = state.pop("network.2.1.mlp.fc2.weight")
    del state["head.bias"]
    with pytest.raises(ValueError, match=r"missing keys: head.bias, network.2.1.mlp.fc2.weight"):
        convert_reference_state_dict(state)
    state["network.2.1.mlp.fc3.weight"] = weight
    with pytest.raises(ValueError, match=r"unknown keys: network.2.1.mlp.fc3.weight; missing"):
        convert_reference_state_dict(state)


@needs_golden
def test_reference_weights_without_layer_scale_are_understood() -> None:
    state, _ = reference_tensors()
    plain = {key: tensor for key, tensor in state.items() if "layer_scale" not in key}
    model = PoolFormer3d((2, 2, 3, 2), (8, 16, 24, 32), num_classes=5, layer_scale=None)
    report = model.load_state_dict(convert_reference_state_dict(plain))
    assert report.missing_keys == report.unexpected_keys == []


@needs_golden
def test_reference_weights_without_a_whole_stage_are_refused() -> None:
    state, _ = reference_tensors()
    for lost in ("network.2.", "network.5.", "network.6."):
        rest = {key: tensor for key, tensor in state.items() if not key.startswith(lost)}
        with pytest.raises(ValueError, match=f"missing keys: {lost}"):
            convert_reference_state_dict(rest)


def test_no_weights_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match=r"missing keys: head\.bias"):
        convert_reference_state_dict({})


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameter_counts(size: str) -> None:
    with torch.device("meta"):
        model = create_model(f"poolformer3d_{size}", num_classes=400)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[size]


def test_stage_shapes_of_the_published_network() -> None:
    with torch.device("meta"):
        outputs = create_model("poolformer3d_s12", num_classes=400)(torch.empty(4, 1, 96, 128, 96))
    assert [tuple(out.shape) for out in outputs] == [
        (4, 64, 24, 32, 24),
        (4, 128, 12, 16, 12),
        (4, 320, 6, 8, 6),
        (4, 512, 3, 4, 3),
        (4, 400),
    ]


def test_nano_has_the_proportions_of_the_trial() -> None:
    model = create_model("poolformer3d_n").eval()
    *stages, _ = model(torch.randn(1, 1, 28, 28, 28))
    assert [tuple(s.shape[1:]) for s in stages] == [(24, *[14] * 3), (48, *[7] * 3), (96, *[4] * 3)]
    assert sum(p.numel() for p in model.parameters()) == 255_842
    assert not any(isinstance(m, LayerScale | nn.GroupNorm) for m in model.modules())
    state = model.state_dict()
    assert "head.norm.running_mean" in state
    assert state["stages.1.blocks.0.mlp.fc1.weight"].shape[:2] == (96, 48)


def test_an_option_replaces_what_the_size_says() -> None:
    model = create_model("poolformer3d_n", norm="group", mlp_ratio=4, layer_scale=0.1)
    assert any(isinstance(m, LayerScale) for m in model.modules())
    assert not model.has_batch_norm
    assert model.state_dict()["stages.0.blocks.0.mlp.fc1.weight"].shape[0] == 96


extents = st.tuples(*[st.integers(1, 9)] * 3)
windows = st.tuples(*[st.sampled_from([1, 3, 5, 7])] * 3)


@settings(max_examples=60, deadline=None)
@given(size=extents, window=windows)
def test_pooling_averages_over_the_voxels_that_exist(
    size: tuple[int, int, int], window: tuple[int, int, int]
) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    pooled = average_pool(x, window)
    expected = torch.empty_like(x)
    for i, j, k in torch.cartesian_prod(*(torch.arange(n) for n in size)).view(-1, 3).tolist():
        a, b, c = (
            slice(max(0, at - extent // 2), at + extent // 2 + 1)
            for at, extent in zip((i, j, k), window, strict=True)
        )
        expected[:, :, i, j, k] = x.detach()[:, :, a, b, c].mean(dim=(2, 3, 4))
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    torch.testing.assert_close(gradient.sum().item(), float(x.numel()))


@pytest.mark.parametrize("window", [(3, 3, 3), (5, 3, 1)])
def test_pooling_equals_avg_pool_with_gradients(window: tuple[int, int, int]) -> None:
    x = torch.randn(2, 4, 7, 8, 9, requires_grad=True)
    padding = (window[0] // 2, window[1] // 2, window[2] // 2)
    reference = nn.AvgPool3d(window, stride=1, padding=padding, count_include_pad=False)
    ours, theirs = PoolMixer(window)(x), reference(x) - x
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    weight = torch.randn_like(x)
    (from_ours,) = torch.autograd.grad((ours * weight).sum(), x)
    (from_theirs,) = torch.autograd.grad((theirs * weight).sum(), x)
    torch.testing.assert_close(from_ours, from_theirs, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_mixing_is_zero_on_one_voxel(dtype: torch.dtype) -> None:
    assert not PoolMixer((3, 5, 7))(torch.randn(2, 4, 1, 1, 1).to(dtype)).any()


def test_pooling_window_has_a_centre() -> None:
    with pytest.raises(ValueError, match="odd extents"):
        tiny(pool_window=(3, 3, 2))
    with pytest.raises(ValueError, match="no effect with mixer='conv'"):
        tiny(mixer="conv", pool_window=5)


def test_mixers() -> None:
    x = torch.randn(1, 1, 16, 16, 16)
    outputs = {name: tiny(mixer=name)(x)[-1] for name in ("pool", "identity", "conv")}
    assert not torch.equal(outputs["pool"], outputs["identity"])
    block = tiny(mixer="identity").get_submodule("stages.0.blocks.0")
    n = torch.randn(1, 4, 3, 3, 3)
    assert torch.equal(block.get_submodule("token_mixer")(n), n)
    conv = tiny(mixer="conv").get_submodule("stages.2.blocks.1.token_mixer")
    assert isinstance(conv, ConvMixer)
    assert conv.conv.weight.shape == (8, 1, 3, 3, 3)


@pytest.mark.parametrize("shape", [(2, 3, 5, 4, 6), (1, 3, 1, 1, 1), (2, 3, 2, 1, 7)])
def test_the_mixing_convolution_is_a_convolution_in_both_passes(shape: tuple[int, ...]) -> None:
    mixer = ConvMixer(3)
    x = torch.randn(shape, requires_grad=True)
    asked = (x, *mixer.parameters())
    weight = torch.randn(shape)
    outputs = mixer(x), mixer.conv(x)
    assert torch.allclose(*outputs, atol=1e-5)
    assert torch.equal(mixer(x.detach()), mixer.conv(x.detach()))
    found, expected = (torch.autograd.grad((out * weight).sum(), asked) for out in outputs)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("norm", ["group", "channel", "batch"])
def test_norms_train_and_checkpoint_alike(norm: NormName) -> None:
    states = []
    for enable in (False, True):
        model = tiny(norm=norm).train()
        model.set_grad_checkpointing(enable)
        x = torch.randn(2, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1))
        torch.autograd.backward(model(x)[-1].square().sum())
        gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
        # The state holds the running averages of batch norm too.
        states.append((model.state_dict(), gradients))
    assert states[0][1].keys() == {key for key, _ in tiny(norm=norm).named_parameters()}
    torch.testing.assert_close(states[1], states[0], rtol=1e-5, atol=1e-6)


def test_channel_norm_looks_at_each_voxel_alone() -> None:
    norm = tiny(norm="channel").get_submodule("stages.0.blocks.0.norm1")
    normed: Tensor = norm(torch.randn(2, 4, 3, 5, 2))
    torch.testing.assert_close(normed.mean(1), torch.zeros(2, 3, 5, 2), rtol=0, atol=1e-6)


def test_strides_and_stem_per_axis() -> None:
    model = tiny(stem_stride=(2, 2, 1), strides=[2, 2, [2, 2, 1]])
    reductions = [(2, 2, 1), (4, 4, 2), (8, 8, 4), (16, 16, 4)]
    assert model.feature_info.reduction() == reductions
    *stages, _ = model(torch.randn(1, 1, 32, 48, 8))
    assert [tuple(stage.shape[2:]) for stage in stages] == [
        (16, 24, 8),
        (8, 12, 4),
        (4, 6, 2),
        (2, 3, 2),
    ]


def test_smallest_volume_follows_from_the_stem() -> None:
    assert PoolFormer3d((1,), (4,)).min_size == (3, 3, 3)
    model = PoolFormer3d((1,), (4,), stem_kernel=(7, 7, 3), stem_stride=(4, 4, 1))
    assert model.min_size == (3, 3, 1)
    with pytest.raises(ValueError, match=r"\(3, 2, 1\) voxels.*minimum \(3, 3, 1\)"):
        model(torch.randn(1, 1, 3, 2, 1))


def test_layer_scale_on_and_off() -> None:
    scales = [m for m in tiny(layer_scale=0.25).modules() if isinstance(m, LayerScale)]
    assert len(scales) == 10
    assert all(bool((m.scale == 0.25).all()) for m in scales)
    without = tiny(layer_scale=None)
    assert not any("layer_scale" in key for key in without.state_dict())
    x = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(without(x), tiny(layer_scale=1.0)(x))


def test_drop_path_grows_linearly_over_all_blocks() -> None:
    rates = [m.rate for m in tiny(drop_path=0.4).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([rate for i in range(5) for rate in (0.1 * i, 0.1 * i)])


def test_drop_path_drops_whole_cases_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(4000, 2, 1, 1, 1)).flatten(1)
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)


def test_random_layers_rest_in_evaluation() -> None:
    x = torch.randn(2, 1, 16, 16, 16)
    noisy, plain = tiny(drop_path=0.5, dropout=0.5), tiny()
    assert not torch.equal(noisy.train()(x)[-1], noisy(x)[-1])
    torch.testing.assert_close(noisy.eval()(x), plain(x), rtol=0, atol=0)


def test_mlp_ratio_per_stage() -> None:
    state = tiny(mlp_ratio=[1, 2, 3, 0.5]).state_dict()
    widths = [state[f"stages.{i}.blocks.0.mlp.fc1.weight"].shape[0] for i in range(4)]
    assert widths == [4, 12, 24, 5]


def test_init_of_mlp_and_head() -> None:
    torch.manual_seed(0)
    state = PoolFormer3d((1, 1), (64, 128), num_classes=400).state_dict()
    for key in ("stages.1.blocks.0.mlp.fc1", "stages.1.blocks.0.mlp.fc2", "head.fc"):
        assert state[f"{key}.weight"].std().item() == pytest.approx(0.02, rel=0.05)
        assert not state[f"{key}.bias"].any()


def test_features_raw_or_each_with_a_norm_of_its_own() -> None:
    raw, normed = tiny(), tiny(feature_norm=True)
    assert not any("feature_norms" in key for key in raw.state_dict())
    normed.load_state_dict(raw.state_dict(), strict=False)
    x = torch.randn(2, 1, 32, 32, 32)
    *raw_stages, raw_logits = raw(x)
    *stages, logits = normed(x)
    torch.testing.assert_close(logits, raw_logits, rtol=0, atol=0)
    for stage, raw_stage in zip(stages, raw_stages, strict=True):
        expected = nn.functional.group_norm(raw_stage, 1)
        torch.testing.assert_close(stage, expected)
    _, chosen = normed.forward_intermediates(x, indices=[1], norm=True)
    torch.testing.assert_close(chosen[0], stages[1], rtol=0, atol=0)


def test_options_out_of_range_are_refused() -> None:
    cases: list[tuple[dict[str, object], str]] = [
        ({"dims": (4, 8)}, "depths and dims"),
        ({"depths": (1, 0, 1, 1)}, "depths and dims"),
        ({"strides": [2, 2]}, "strides needs 3 entries"),
        ({"strides": [2, 2, [2, 2]]}, "strides takes"),
        ({"stem_kernel": 0}, "stem_kernel takes"),
        ({"mlp_ratio": [4, 4]}, "mlp_ratio needs"),
        ({"mlp_ratio": 0}, "without channels"),
        ({"mixer": "attention"}, "choose from pool, identity, conv"),
        ({"norm": "instance"}, "choose from group, channel, batch"),
        ({"drop_path": 1.0}, "drop_path must be"),
        ({"dropout": -0.1}, "dropout must be"),
    ]
    for options, message in cases:
        with torch.device("meta"), pytest.raises(ValueError, match=message):
            create_model("poolformer3d_t", 1, 2, **options)
    with pytest.raises(ValueError, match="in_chans"):
        create_model("poolformer3d_t", in_chans=0)
    with pytest.raises(ValueError, match="num_classes"):
        create_model("poolformer3d_t", num_classes=-1)


@pytest.mark.parametrize("strides", [3, 4, [3, 2, (1, 2, 4)]])
def test_any_stride_works_down_to_the_smallest_volume(strides: int | list[PerAxis]) -> None:
    model = PoolFormer3d((1, 1, 1, 1), (4, 4, 4, 4), stem_kernel=3, stem_stride=2, strides=strides)
    for size in (model.min_size, (16, 17, 5)):
        *stages, logits = model(torch.randn(2, 1, *size))
        assert len(stages) == 4
        assert logits.shape == (2, 2)


def test_layer_scale_is_switched_off_by_none_and_false() -> None:
    for off in (None, False):
        names = dict(PoolFormer3d((1,), (4,), layer_scale=off).named_parameters())
        assert not [name for name in names if "layer_scale" in name]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("layer_scale", 0.0),
        ("layer_scale", True),
        ("mlp_ratio", [1, "x"]),
        ("pool_window", 2.5),
        ("drop_path", "much"),
    ],
)
def test_an_option_of_the_wrong_kind_is_named(option: str, value: object) -> None:
    build: Callable[..., nn.Module] = create_model
    with pytest.raises(ValueError, match=option):
        build("poolformer3d_t", **{option: value})
