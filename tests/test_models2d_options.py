"""Each option of timm's networks has its effect, and none is passed over in silence."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from models2d import ZooNetwork, create_model

SHALLOW: dict[str, Any] = {"layers": [1, 1, 1, 1]}


def build(name: str = "resnet18", **options: object) -> ZooNetwork:
    torch.manual_seed(0)
    given: dict[str, Any] = SHALLOW | options
    return create_model(name, 1, 2, **given)


def on_meta(name: str, **options: object) -> ZooNetwork:
    given: dict[str, Any] = options
    with torch.device("meta"):
        return create_model(name, 1, 2, **given)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def kinds(model: nn.Module) -> set[type[nn.Module]]:
    return {type(module) for module in model.modules()}


def is_random(model: ZooNetwork) -> bool:
    """Tell whether two passes in training mode differ, and that two in eval mode do not."""
    x = images(4, 1, 64, 64)
    with torch.no_grad():
        first, second = (model(x)[-1] for _ in range(2))
        model.eval()
        torch.testing.assert_close(model(x)[-1], model(x)[-1], rtol=0, atol=0)
    return not torch.equal(first, second)


@pytest.mark.parametrize(
    ("stem", "widths"), [("deep", (32, 32, 64)), ("deep_tiered", (24, 32, 64))]
)
def test_stem_can_be_deep_and_tiered(stem: str, widths: tuple[int, ...]) -> None:
    model = build(stem_type=stem, stem_width=32)
    convs = [m for m in model.get_submodule("network.conv1").modules() if isinstance(m, nn.Conv2d)]
    assert tuple(conv.out_channels for conv in convs) == widths
    assert all(conv.kernel_size == (3, 3) for conv in convs)
    assert model.first_conv == "conv1.0"


def test_a_deep_stem_can_be_made_plain() -> None:
    model = build("resnet50d", stem_type="")
    assert model.first_conv == "conv1"
    assert model.get_parameter("network.conv1.weight").shape == (64, 1, 7, 7)


def test_shortcuts_can_pool_the_average() -> None:
    shortcut = build(avg_down=True).get_submodule("network.layer2.0.downsample")
    assert nn.AvgPool2d in kinds(shortcut)
    assert nn.AvgPool2d not in kinds(build())


def test_kernel_of_shortcuts_can_be_wider() -> None:
    weight = build(down_kernel_size=3).get_parameter("network.layer2.0.downsample.0.weight")
    assert weight.shape[2:] == (3, 3)


@pytest.mark.parametrize("attention", ["se", "ese", "eca", "cbam", "gc"])
def test_blocks_can_weigh_their_channels(attention: str) -> None:
    model = build(block_args={"attn_layer": attention})
    assert model.get_submodule("network.layer1.0.se") is not None
    assert model(images(2, 1, 64, 64))[-1].isfinite().all()


def test_squeeze_and_excitation_makes_the_named_network() -> None:
    plain = on_meta("resnet50", block_args={"attn_layer": "se"})
    named = on_meta("seresnet50")
    assert {k: v.shape for k, v in plain.state_dict().items()} == {
        k: v.shape for k, v in named.state_dict().items()
    }
    assert count(plain) > count(on_meta("resnet50"))


@pytest.mark.parametrize(
    ("option", "name"), [("blurpool", "resnetblur18"), ("avgpool", "resnetaa34d")]
)
def test_aliasing_can_be_prevented(option: str, name: str) -> None:
    with_option = build(aa_layer=option)
    assert kinds(with_option) - kinds(build()) <= kinds(build(name))
    plain, smooth = build().eval(), with_option.eval()
    x = images(1, 1, 64, 64)
    assert not torch.allclose(plain(x)[3], smooth(x)[3])


@pytest.mark.parametrize(("stride", "sides"), [(16, (4, 8, 16, 16)), (8, (4, 8, 8, 8))])
def test_dilation_keeps_the_output_stride(stride: int, sides: tuple[int, ...]) -> None:
    model = build(output_stride=stride).eval()
    assert model.feature_info.reduction() == [(side, side) for side in sides]
    shapes = [tuple(stage.shape[2:]) for stage in model(images(1, 1, 64, 96))[:-1]]
    assert shapes == [(64 // side, 96 // side) for side in sides]
    assert count(model) == count(build())


def test_stem_pooling_can_be_a_convolution() -> None:
    pool = build(replace_stem_pool=True).get_submodule("network.maxpool")
    assert nn.Conv2d in kinds(pool)
    assert nn.MaxPool2d not in kinds(pool)


def test_first_convolution_of_blocks_can_be_reduced() -> None:
    weight = build(block_reduce_first=2).get_parameter("network.layer1.0.conv1.weight")
    assert weight.shape[0] == 32


def test_width_and_groups_of_blocks_make_the_named_network() -> None:
    shapes = [
        {k: v.shape for k, v in model.state_dict().items()}
        for model in (
            on_meta("resnet50", cardinality=32, base_width=4),
            on_meta("resnext50_32x4d"),
        )
    ]
    assert shapes[0] == shapes[1]


def test_channels_of_stages_are_an_option() -> None:
    model = build(channels=[8, 16, 24, 32])
    assert model.feature_info.channels() == [8, 16, 24, 32]
    assert model.num_features == 32


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("resnet18", "drop_path_rate"),
        ("resnet18", "drop_block_rate"),
        ("resnet18", "drop_rate"),
        ("poolformer_s12", "drop_path_rate"),
        ("poolformer_s12", "drop_rate"),
        ("poolformer_s12", "proj_drop_rate"),
    ],
)
def test_dropping_is_random_in_training_only(name: str, option: str) -> None:
    shallow = {} if name.startswith("poolformer") else {**SHALLOW, "zero_init_last": False}
    torch.manual_seed(0)
    assert not is_random(create_model(name, 1, 2, **shallow))
    model = create_model(name, 1, 2, **{**shallow, option: 0.4})
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "layer_scale" in key:  # starts too small for the branches to be seen
                parameter.fill_(1.0)
    assert is_random(model)


@pytest.mark.parametrize("zero", [True, False])
def test_last_norm_of_blocks_can_start_at_zero(zero: bool) -> None:
    weight = build(zero_init_last=zero).get_parameter("network.layer1.0.bn2.weight")
    assert bool((weight == 0).all()) == zero


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("groupnorm", nn.GroupNorm),
        ("groupnorm1", nn.GroupNorm),
        ("layernorm2d", nn.LayerNorm),
        ("frozenbatchnorm", FrozenBatchNorm2d),
        ("batchnorm", nn.BatchNorm2d),
    ],
)
def test_norm_can_be_another(name: str, kind: type[nn.Module]) -> None:
    model = build(norm_layer=name)
    assert isinstance(model.get_submodule("network.layer1.0.bn1"), kind)
    assert model.has_batch_norm == (name == "batchnorm")
    assert model(images(2, 1, 64, 64))[-1].isfinite().all()


def test_frozen_norms_learn_nothing_and_silence_no_block() -> None:
    model = build(norm_layer="frozenbatchnorm")
    before = {key: value.clone() for key, value in model.named_buffers()}
    loss = model(images(2, 1, 64, 64))[-1].square().sum()
    torch.autograd.backward(loss)
    torch.testing.assert_close(dict(model.named_buffers()), before, rtol=0, atol=0)
    assert not any(".bn" in key for key, _ in model.named_parameters())
    gradient = model.get_parameter("network.layer1.0.conv1.weight").grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    with pytest.raises(ValueError, match=r"zero_init_last starts .* stays for ever"):
        build(norm_layer="frozenbatchnorm", zero_init_last=True)


def test_activation_can_be_another() -> None:
    assert nn.SiLU in kinds(build(act_layer="silu"))


def test_pooling_of_the_head_can_be_another() -> None:
    model = build(global_pool="catavgmax").eval()
    assert model.num_features == 2 * 512
    assert model(images(1, 1, 64, 64))[-1].shape == (1, 2)
    x = images(1, 1, 64, 64)
    assert not torch.allclose(build(global_pool="max").eval()(x)[-1], build().eval()(x)[-1])


def test_pool_of_a_poolformer_can_be_larger() -> None:
    torch.manual_seed(0)
    model = create_model("poolformer_s12", pool_size=5).eval()
    assert model.get_submodule("network.stages.0.blocks.0.token_mixer.pool").kernel_size == 5
    assert model(images(1, 1, 32, 32))[-1].isfinite().all()


@pytest.mark.parametrize("name", ["resnet18", "resnet50d", "resnetblur18", "resnetrs50"])
def test_a_small_stem_keeps_the_pixels_of_a_small_slice(name: str) -> None:
    model = build(name, small_stem=True).eval()
    assert model.small_stem
    assert model.feature_info.reduction() == [(1, 1), (2, 2), (4, 4), (8, 8)]
    shapes = [tuple(stage.shape[2:]) for stage in model(images(1, 1, 28, 28))[:-1]]
    assert shapes == [(28, 28), (14, 14), (7, 7), (4, 4)]
    conv = model.get_submodule(f"network.{model.first_conv}")
    assert isinstance(conv, nn.Conv2d)
    assert (conv.kernel_size, conv.stride) == ((3, 3), (1, 1))


def test_a_small_stem_goes_with_dilation_and_channels() -> None:
    model = create_model("resnet18", 5, 2, small_stem=True, output_stride=8, **SHALLOW).eval()
    assert model.feature_info.reduction() == [(1, 1), (2, 2), (2, 2), (2, 2)]
    assert model(images(1, 5, 28, 28))[3].shape == (1, 512, 14, 14)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"drop_pth": 0.1}, "no option 'drop_pth'; its options are .*small_stem"),
        ("resnet18", {"pretrained": True}, "no option 'pretrained'"),
        ("resnet18", {"checkpoint_path": "x.pth"}, "no option 'checkpoint_path'"),
        ("resnet18", {"features_only": True}, "no option 'features_only'"),
        ("resnet18", {"pool_size": 3}, "no option 'pool_size'"),
        ("poolformer_s12", {"depths": [1, 1, 1, 1]}, "no option 'depths'; its options are drop_"),
        ("poolformer_s12", {"stem_width": 32}, "no option 'stem_width'"),
        ("convformer_s18", {"pool_size": 3}, "no option 'pool_size'"),
        ("convnext_atto", {"stem_width": 32}, "no option 'stem_width'"),
    ],
)
def test_an_option_of_another_network_is_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=f"{name} has {message}"):
        on_meta(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"norm_layer": "batch"}, "norm_layer must be one of .*; got 'batch'"),
        ("resnet18", {"act_layer": 3}, "act_layer must be one of .*; got 3"),
        ("resnet18", {"aa_layer": "blur"}, "aa_layer must be one of 'blurpool', 'avgpool'"),
        ("resnet18", {"stem_type": "steep"}, "stem_type must be one of '', 'deep'"),
        ("resnet18", {"stem_width": 32}, "stem_width has no effect on resnet18: .* stem_type"),
        ("resnet18", {"output_stride": 12}, "output_stride must be 8, 16 or 32, got 12"),
        ("resnet18", {"output_stride": "8"}, "output_stride must be 8, 16 or 32, got '8'"),
        ("resnet18", {"cardinality": 2}, "cannot build resnet18 .* cardinality: BasicBlock only"),
        ("resnet18", {"cardinality": 0}, "cardinality must be a whole number of at least 1"),
        ("resnet18", {"down_kernel_size": 2}, "down_kernel_size must be an odd whole number"),
        ("resnet50d", {"down_kernel_size": 3}, "no effect on resnet50d: .* avg_down: false"),
        ("resnet18", {"avg_down": 1}, "avg_down must be true or false, got 1"),
        ("resnet18", {"drop_path_rate": 1.0}, "drop_path_rate must be .* below 1, got 1.0"),
        ("resnet18", {"drop_rate": True}, "drop_rate must be a number"),
        ("resnet18", {"global_pool": ""}, "global_pool must be one of"),
        ("resnet18", {"layers": [1, 1, 1]}, r"layers needs .* 4 stages, got \[1, 1, 1\]"),
        ("resnet18", {"channels": 64}, "channels needs .* got 64"),
        ("resnet18", {"block_args": {"se": True}}, "block_args takes .* key attn_layer"),
        ("resnet18", {"block_args": {"attn_layer": "s"}}, "block_args.attn_layer must be one of"),
        ("resnet18", {"aa_layer": None}, "option aa_layer of resnet18 is empty"),
        ("resnet18", {"small_stem": 1}, "small_stem must be true or false, got 1"),
        ("poolformer_s12", {"small_stem": True}, "small_stem is for ResNets; poolformer_s12"),
        ("resnet18", {"small_stem": True, "replace_stem_pool": True}, "choose one of them"),
        ("poolformer_s12", {"pool_size": 4}, "pool_size must be an odd whole number"),
        (
            "poolformer_s12",
            {"global_pool": "catavgmax"},
            "cannot build poolformer_s12 .* global_pool",
        ),
    ],
)
def test_an_impossible_value_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        on_meta(name, **options)
