"""Inflated 2D weights give, on a volume that repeats a slice, what the 2D network gives."""

from collections.abc import Sequence
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from models3d import InflationMode, VolumeModel, create_model, inflate, inflate_kernel

CLASSES, ALONG = 5, 13
DIMS, WIDTHS = (8, 16, 24, 32), (64, 8, 12, 16)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
AXES = (0, 1, 2)
T = TypeVar("T")
MODES: tuple[InflationMode, ...] = ("centre", "mean")
# Extent and stride of the stem along the axis: as in the plane, and two for thick slices.
STEMS = ((7, 4), (3, 1), (1, 1))


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def randomised(network: nn.Module) -> nn.Module:
    """Draw every tensor, so that none is at a neutral value that would hide a mistake."""
    generator = torch.Generator().manual_seed(0)
    for tensor in network.state_dict().values():
        if tensor.dim() > 1:
            tensor.normal_(0, tensor[0].numel() ** -0.5, generator=generator)
        elif tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def flat_poolformer(in_chans: int = 3, classes: int = CLASSES, **options: object) -> nn.Module:
    from timm.layers import GroupNorm1
    from timm.models.metaformer import MetaFormer

    defaults: dict[str, object] = {"depths": (1, 1, 1, 1), "dims": DIMS, "mlp_bias": True}
    defaults |= {"norm_layers": GroupNorm1, "downsample_norm": None, "mlp_act": nn.GELU}
    defaults |= {"layer_scale_init_values": 1.0, "res_scale_init_values": None}
    network: nn.Module = MetaFormer(
        in_chans, classes, use_mlp_head=False, **{**defaults, **options}
    )
    return randomised(network)


def flat_resnet(
    name: str, layers: Sequence[int] = (1, 2, 1, 1), classes: int = CLASSES, **options: object
) -> nn.Module:
    from timm.models.resnet import BasicBlock, Bottleneck, ResNet

    block = Bottleneck if name == "monai_resnet50" else BasicBlock
    network: nn.Module = ResNet(block, layers, classes, channels=WIDTHS, **options)
    return randomised(network)


def flat_outputs(flat: nn.Module, image: Tensor) -> list[Tensor]:
    """Give the features of the four stages and the logits of a timm network."""
    resnet = hasattr(flat, "layer1")
    layers = [f"layer{i}" if resnet else f"stages.{i - 1}" for i in (1, 2, 3, 4)]
    for name in ("conv1", "bn1", "act1", "maxpool") if resnet else ("stem",):
        image = flat.get_submodule(name)(image)
    outputs = []
    for name in layers:
        image = flat.get_submodule(name)(image)
        outputs.append(image)
    if resnet:
        outputs.append(flat.get_submodule("fc")(image.mean((2, 3))))
    return outputs


def along(axis: int, value: T, others: T) -> list[T]:
    return [value if place == axis else others for place in AXES]


def poolformer(
    axis: int = 2, stem: tuple[int, int] = (7, 4), classes: int = CLASSES, **options: object
) -> VolumeModel:
    extent, stride = stem
    defaults: dict[str, object] = {"depths": (1, 1, 1, 1), "dims": DIMS}
    defaults |= {"stem_kernel": along(axis, extent, 7), "stem_stride": along(axis, stride, 4)}
    return create_model("poolformer3d_s12", 1, classes, **{**defaults, **options}).eval()


def resnet(name: str = "monai_resnet18", classes: int = CLASSES, **options: object) -> VolumeModel:
    defaults: dict[str, object] = {"layers": (1, 2, 1, 1), "block_inplanes": WIDTHS}
    return create_model(name, 1, classes, **{**defaults, **options}).eval()


def largest_difference(network: VolumeModel, flat: nn.Module, axis: int) -> float:
    """Compare on a volume that repeats a slice along an axis, over all stages and voxels."""
    image = noise(2, 1, 37, 34)
    volume = image.unsqueeze(2 + axis).repeat_interleave(ALONG, 2 + axis)
    with torch.no_grad():
        # Each channel sees the same image, as a network of one channel with the sum would.
        expected = flat_outputs(flat, image.expand(-1, 3, -1, -1))
        outputs = network(volume)
    differences = []
    for output, wanted in zip(outputs, expected, strict=False):
        assert output.shape[1] == wanted.shape[1]
        wanted = wanted.unsqueeze(2 + axis) if wanted.dim() == 4 else wanted
        differences.append((output - wanted).abs().max().item())
    assert len(differences) >= 4
    return max(differences)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("stem", STEMS)
def test_centre_gives_the_stages_of_the_2d_poolformer_everywhere(
    axis: int, stem: tuple[int, int]
) -> None:
    flat = flat_poolformer()
    for padding in ("zeros", "edge"):
        network = poolformer(axis, stem, padding=along(axis, padding, "zeros"))
        inflate(network, flat.state_dict(), "centre", axis)
        assert largest_difference(network, flat, axis) <= 1e-4


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("stem", [*STEMS, (4, 4)])
def test_mean_gives_them_with_edge_padding_along_the_axis(axis: int, stem: tuple[int, int]) -> None:
    flat = flat_poolformer()
    network = poolformer(axis, stem, padding=along(axis, "edge", "zeros"))
    inflate(network, flat.state_dict(), "mean", axis)
    assert largest_difference(network, flat, axis) <= 1e-4


def test_mean_with_zero_padding_leaks_from_the_border_into_every_slice() -> None:
    flat = flat_poolformer()
    network = poolformer()
    inflate(network, flat.state_dict(), "mean")
    image = noise(1, 1, 37, 34)
    with torch.no_grad():
        expected = flat_outputs(flat, image.expand(-1, 3, -1, -1))[0]
        first = network(image.unsqueeze(-1).expand(-1, -1, -1, -1, 29))[0]
    stem = network.get_submodule("stem")(image.unsqueeze(-1).expand(-1, -1, -1, -1, 29))
    flat_stem = flat.get_submodule("stem")(image.expand(-1, 3, -1, -1))
    # The stem is equal away from the border; the group norm behind it sees the whole volume.
    torch.testing.assert_close(stem[..., 3], flat_stem, rtol=0, atol=1e-4)
    assert (first - expected.unsqueeze(-1)).abs().amax((0, 1, 2, 3)).min() > 1e-2


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["monai_resnet18", "monai_resnet50"])
def test_centre_gives_stages_and_logits_of_the_2d_resnet_everywhere(name: str, axis: int) -> None:
    flat = flat_resnet(name)
    for extent, stride in ((7, 2), (3, 1), (1, 1)):
        kernel, strides = along(axis, extent, 7), along(axis, stride, 2)
        network = resnet(name, stem_kernel=kernel, stem_stride=strides)
        table = inflate(network, flat.state_dict(), "centre", axis)
        assert largest_difference(network, flat, axis) <= 1e-4
        assert table.left_out == table.missing == ()


kernels = st.tuples(*[st.integers(1, 3)] * 2, *[st.integers(1, 4)] * 2)


@settings(max_examples=60, deadline=None)
@given(kernels, st.sampled_from([1, 3, 5, 7]), st.sampled_from(MODES), st.sampled_from(AXES))
def test_taps_along_the_axis_sum_to_the_2d_kernel(
    shape: tuple[int, ...], extent: int, mode: InflationMode, axis: int
) -> None:
    kernel = torch.randn(shape, dtype=torch.float64)
    before = kernel.clone()
    inflated = inflate_kernel(kernel, extent, mode, axis)
    assert inflated.shape[2 + axis] == extent
    torch.testing.assert_close(inflated.sum(2 + axis), kernel, rtol=0, atol=1e-12)
    assert torch.equal(kernel, before)


@settings(max_examples=60, deadline=None)
@given(kernels, st.sampled_from([1, 3, 5, 7]), st.sampled_from(MODES), st.sampled_from(AXES))
def test_a_repeated_slice_gives_what_the_2d_convolution_gives(
    shape: tuple[int, ...], extent: int, mode: InflationMode, axis: int
) -> None:
    kernel = torch.randn(shape, dtype=torch.float64)
    image = torch.randn(2, shape[1], 6, 5, dtype=torch.float64)
    expected = functional.conv2d(image, kernel, padding=1).unsqueeze(2 + axis)
    # A centre needs no neighbours, so they may be zeros; a mean needs the slice repeated.
    repeated = 4 if mode == "centre" else 4 + 2 * (extent // 2)
    volume = image.unsqueeze(2 + axis).repeat_interleave(repeated, 2 + axis)
    padding = along(axis, extent // 2 if mode == "centre" else 0, 1)
    result = functional.conv3d(volume, inflate_kernel(kernel, extent, mode, axis), padding=padding)
    assert result.shape[2 + axis] == 4
    torch.testing.assert_close(result, expected.expand_as(result), rtol=0, atol=1e-12)


def test_normalisation_folds_into_the_stem_away_from_its_border() -> None:
    image = noise(2, 1, 40, 40)
    three = image.expand(-1, 3, -1, -1)
    normalised = (three - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    volume = image.unsqueeze(-1).expand(-1, -1, -1, -1, ALONG)
    cases: list[tuple[VolumeModel, nn.Module, tuple[str, ...]]] = [
        (poolformer(), flat_poolformer(), ("stem",)),
        (resnet(), flat_resnet("monai_resnet18"), ("conv1", "bn1")),
    ]
    for network, flat, names in cases:
        for mode in MODES:
            table = inflate(network, flat.state_dict(), mode, mean=MEAN, std=STD)
            ours, theirs = volume, normalised
            for name in names:
                ours, theirs = network.get_submodule(name)(ours), flat.get_submodule(name)(theirs)
            inside = ours[:, :, 2:-2, 2:-2, 1]
            if mode == "centre" or names == ("stem",):
                torch.testing.assert_close(inside, theirs[:, :, 2:-2, 2:-2], rtol=0, atol=1e-4)
            assert {"stem.conv.bias", "bn1.running_mean"} & set(table.converted)


def test_weights_for_as_many_channels_are_not_summed() -> None:
    flat = flat_poolformer(in_chans=2)
    options = {"depths": (1, 1, 1, 1), "dims": DIMS}
    network = create_model("poolformer3d_s12", 2, CLASSES, **options).eval()
    inflate(network, flat.state_dict())
    image = noise(1, 2, 37, 34)
    stage = network(image.unsqueeze(-1).expand(-1, -1, -1, -1, ALONG))[0]
    expected = flat_outputs(flat, image)[0]
    torch.testing.assert_close(stage[..., 0], expected, rtol=0, atol=1e-4)


def test_table_names_what_became_of_every_tensor() -> None:
    flat, network = flat_poolformer(classes=7).state_dict(), poolformer(feature_norm=True)
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    table = inflate(network, flat)
    after = network.state_dict()
    assert table.left_out == ("head.fc.weight", "head.fc.bias")
    norms = [name for name in fresh if name.startswith("feature_norms.")]
    assert set(table.missing) == {*norms, "head.fc.weight", "head.fc.bias"}
    assert {*table.taken, *table.converted, *table.missing} == set(fresh)
    assert all(torch.equal(after[name], flat[name]) for name in table.taken)
    assert all(torch.equal(after[name], fresh[name]) for name in table.missing)
    assert {"stem.conv.weight", "stages.0.blocks.0.mlp.fc1.weight"} <= set(table.converted)
    assert table.lines() == [
        f"inflated 2D weights: {len(table.taken)} taken, {len(table.converted)} converted, "
        "2 left out, 10 missing",
        "left out, of no use here: head.fc.weight, head.fc.bias",
        f"missing, so these start fresh: {', '.join(table.missing)}",
    ]


def test_a_classifier_is_taken_when_it_fits_and_may_be_lacking_on_either_side() -> None:
    flat = flat_poolformer().state_dict()
    assert {"head.fc.weight", "head.fc.bias"} <= set(inflate(poolformer(), flat).taken)
    table = inflate(poolformer(classes=0), flat)
    assert (table.left_out, table.missing) == (("head.fc.weight", "head.fc.bias"), ())
    table = inflate(poolformer(), flat_poolformer(classes=0).state_dict())
    assert (table.left_out, table.missing) == ((), ("head.fc.weight", "head.fc.bias"))


def test_a_shortcut_that_has_a_bias_gets_zeros() -> None:
    network, flat = resnet(), flat_resnet("monai_resnet18")
    network.set_submodule("layer2.0.downsample.0", nn.Conv3d(64, 8, 1, stride=2))
    table = inflate(network, flat.state_dict())
    assert "layer2.0.downsample.0.bias" in table.converted
    assert largest_difference(network, flat, 2) <= 1e-4


def test_old_files_need_not_count_batches() -> None:
    flat = flat_resnet("monai_resnet18").state_dict()
    counts = [name for name in flat if name.endswith("num_batches_tracked")]
    rest = {name: tensor for name, tensor in flat.items() if name not in counts}
    assert set(inflate(resnet(), rest).missing) == set(counts)


def test_half_precision_weights_keep_their_sum() -> None:
    flat = {name: tensor.half() for name, tensor in flat_poolformer().state_dict().items()}
    network = poolformer()
    inflate(network, flat, "mean")
    weight = network.get_parameter("stages.1.downsample.conv.weight").detach()
    expected = flat["stages.1.downsample.conv.weight"].float()
    torch.testing.assert_close(weight.sum(-1), expected, rtol=0, atol=1e-6)


def flat_poolformer_v2() -> nn.Module:
    from timm.models.metaformer import GroupNorm1NoBias, LayerNorm2dNoBias, StarReLU

    return flat_poolformer(
        norm_layers=GroupNorm1NoBias,
        downsample_norm=LayerNorm2dNoBias,
        mlp_act=StarReLU,
        mlp_bias=False,
        layer_scale_init_values=None,
        res_scale_init_values=(None, None, 1.0, 1.0),
    )


def assert_refused(
    network: VolumeModel,
    flat: nn.Module,
    message: str,
    options: dict[str, Any] | None = None,
) -> None:
    """Demand an error, and that it leaves the network as it was."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        inflate(network, flat.state_dict(), **(options or {}))
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)


def test_weights_of_another_poolformer_are_refused_by_what_differs() -> None:
    network = poolformer()
    cases = [
        (flat_poolformer(depths=(1, 2, 1, 1)), r"blocks .* \(1, 2, 1, 1\) .* \(1, 1, 1, 1\) here"),
        (
            flat_poolformer(dims=(4, 16, 24, 32)),
            r"stem.conv.weight is \(4, 3, 7, 7\) for \(8, 3, 7",
        ),
        (
            flat_poolformer(layer_scale_init_values=None),
            "lack stages.0.blocks.0.layer_scale1.scale",
        ),
        (flat_poolformer_v2(), r"lack .*bias.* no stem.norm.weight"),
        (flat_resnet("monai_resnet18"), r"no conv1.weight, bn1.weight"),
        (nn.Sequential(), "lack stem.conv.weight"),
    ]
    for flat, message in cases:
        assert_refused(network, flat, f"weights of another architecture: .*{message}")
    narrow = poolformer(mlp_ratio=2)
    assert_refused(
        narrow, flat_poolformer(), r"mlp.fc1.weight is \(32, 8, 1, 1\) for \(16, 8, 1, 1"
    )


def test_weights_of_another_resnet_are_refused_by_what_differs() -> None:
    network, name = resnet(), "monai_resnet18"
    cases = [
        (flat_resnet(name, (1, 2, 2, 1)), r"\(1, 2, 2, 1\) in the weights, \(1, 2, 1, 1\) here"),
        (flat_resnet("monai_resnet50"), r"network has no layer1.0.conv3.weight"),
        (flat_resnet(name, stem_type="deep", stem_width=32), "lack conv1.weight"),
        (flat_resnet(name, avg_down=True), r"lack layer2.0.downsample.0.weight"),
        (flat_poolformer(), "no stem.conv.weight"),
    ]
    for flat, message in cases:
        assert_refused(network, flat, f"weights of another architecture: .*{message}")
    groups = flat_resnet("monai_resnet50", cardinality=2, base_width=64)
    assert_refused(resnet("monai_resnet50"), groups, r"layer1.0.conv1.weight is \(128, 64, 1, 1\)")


def test_kernels_that_do_not_fit_are_refused_by_name() -> None:
    flat = flat_poolformer()
    for axis in AXES:
        other_plane = poolformer((axis + 1) % 3, (3, 1))
        assert_refused(other_plane, flat, r"stem.conv.weight is \(8, 3, 7, 7\)", {"axis": axis})
    even = poolformer(2, (4, 4))
    assert_refused(even, flat, "stem.conv.weight cannot .* axis 2: 4 taps have no middle one")
    two = create_model("poolformer3d_s12", 2, CLASSES, depths=(1, 1, 1, 1), dims=DIMS)
    assert_refused(two, flat, r"stem.conv.weight is \(8, 3, 7, 7\) for \(8, 2, 7, 7\)")


def test_a_damaged_classifier_is_refused() -> None:
    flat = flat_poolformer(classes=7)
    flat.set_submodule("head.fc", nn.Linear(DIMS[-1], 7, bias=False))
    assert_refused(poolformer(), flat, "lack head.fc.bias")
    flat.set_submodule("head.fc", nn.Linear(9, 7))
    assert_refused(poolformer(), flat, r"head.fc.weight is \(7, 9\) for \(5, 32\)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "max"}, "unknown mode 'max'; choose from centre, mean"),
        ({"axis": 3}, "axis must be 0, 1 or 2"),
        ({"mean": MEAN}, "mean and std belong together"),
        ({"std": STD}, "mean and std belong together"),
        ({"mean": (), "std": ()}, "one number for each of 3"),
        ({"mean": [0.5], "std": [0.2]}, r"one number for each of 3 .* got \[0.5\] and \[0.2\]"),
        ({"mean": MEAN, "std": (0.2, 0.0, 0.2)}, "std above 0"),
        ({"mean": (0.5, float("nan"), 0.5), "std": STD}, "mean must be finite"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    assert_refused(poolformer(), flat_poolformer(), message, options)


def test_impossible_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"four dimensions .* got \(2, 3, 3\)"):
        inflate_kernel(torch.ones(2, 3, 3), 3)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        inflate_kernel(torch.ones(2, 3, 3, 3), 0, "mean")
    with pytest.raises(ValueError, match="2 taps have no middle one"):
        inflate_kernel(torch.ones(2, 3, 3, 3), 2)


@pytest.mark.parametrize("name", ["monai_densenet121", "monai_seresnet50", "torchvision_r3d18"])
def test_networks_without_a_2d_twin_are_refused(name: str) -> None:
    with torch.device("meta"):
        network = create_model(name)
    with pytest.raises(ValueError, match="PoolFormer3d or a MONAI ResNet only"):
        inflate(network, flat_resnet("monai_resnet18").state_dict())


def test_edge_padding_repeats_the_outermost_voxels_along_its_axes_only() -> None:
    torch.manual_seed(0)
    edge = poolformer(padding=["edge", "zeros", "edge"])
    zeros = poolformer()
    zeros.load_state_dict(edge.state_dict())
    x = noise(1, 1, 11, 13, 15)
    stem, plain = edge.get_submodule("stem"), zeros.get_submodule("stem.conv")
    assert isinstance(plain, nn.Conv3d)
    padded = functional.pad(x, (2, 2, 0, 0, 2, 2), mode="replicate")
    expected = functional.conv3d(padded, plain.weight, plain.bias, 4, (0, 2, 0))
    torch.testing.assert_close(stem(x), expected, rtol=0, atol=1e-5)
    assert [part.shape for part in edge(x)] == [part.shape for part in zeros(x)]


def test_padding_with_zeros_is_the_default_and_edges_work_down_to_one_voxel() -> None:
    torch.manual_seed(0)
    network = poolformer(padding="zeros")
    default = poolformer()
    default.load_state_dict(network.state_dict())
    x = noise(1, 1, 16, 17, 18)
    torch.testing.assert_close(network(x), default(x), rtol=0, atol=0)
    edge = poolformer(padding="edge").train()
    assert edge.min_size == default.min_size == (3, 3, 3)
    torch.autograd.backward(edge(noise(2, 1, 3, 3, 3))[-1].square().sum())
    assert all(parameter.grad is not None for parameter in edge.parameters())


@pytest.mark.parametrize("padding", ["mirror", ["edge", "zeros"], ["edge", "zeros", "wrap"], 1])
def test_unknown_padding_is_refused(padding: object) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="padding takes zeros or edge, or"):
        create_model("poolformer3d_t", padding=padding)
