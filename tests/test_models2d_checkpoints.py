"""Weights arrive from the files of every known author."""

from pathlib import Path

import pytest
import torch
from published_weights import (
    assert_close,
    fresh,
    images,
    poolformer_forward,
    rgb,
    saved,
    scatter,
    to_metaformer,
    to_poolformer,
)
from torch import Tensor, nn

from models2d import LoadTable, WeightsError, create_model, load_file, read_weights


def stages_of(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Give the four stages and the logits of a network of timm."""
    _, stages = network.forward_intermediates(x)  # type: ignore[operator]  # a method of timm
    return [*stages[-4:], network(x)]


@pytest.mark.parametrize("name", ["weights.pth", "weights.pth.tar", "weights.safetensors"])
def test_a_resnet_of_torchvision_becomes_one_for_grey_slices(name: str, tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    original = resnet18().eval()
    path = saved(scatter(original), tmp_path, name)
    model = create_model("resnet18", 1, 1000).eval()
    table = load_file(model, path)
    grey = images(2, 1, 40, 48)
    assert_close(model(grey)[-1], original(grey.expand(-1, 3, -1, -1)))
    assert table.converted == ("conv1.weight",)
    assert len(table.taken) == len(original.state_dict()) - 1
    assert (table.left_out, table.missing) == ((), ())
    assert table.source == f"{name} (layout: ResNet of torchvision or timm)"


@pytest.mark.parametrize("num_classes", [3, 0])
def test_a_classifier_for_other_classes_stays_behind(num_classes: int, tmp_path: Path) -> None:
    path = saved(rgb("resnet18").state_dict(), tmp_path)
    model = fresh("resnet18", 3, num_classes)
    table = load_file(model, path)
    assert table.left_out == ("fc.bias", "fc.weight")
    assert table.missing == (("fc.bias", "fc.weight") if num_classes else ())
    assert table.fresh_body == ()
    x = images(1, 3, 32, 32)
    assert_close(list(model(x)[:-1]), stages_of(rgb("resnet18"), x)[:-1])


def test_weights_without_a_classifier_or_counters_are_enough(tmp_path: Path) -> None:
    state = {
        key: tensor
        for key, tensor in rgb("resnet18").state_dict().items()
        if not key.startswith("fc.") and not key.endswith("num_batches_tracked")
    }
    table = load_file(fresh("resnet18", 3), saved(state, tmp_path))
    assert table.missing == ("fc.bias", "fc.weight")


def test_counters_stay_behind_where_norms_are_frozen(tmp_path: Path) -> None:
    model = fresh("resnet18", 3, norm_layer="frozenbatchnorm")
    table = load_file(model, saved(rgb("resnet18").state_dict(), tmp_path))
    assert "bn1.num_batches_tracked" in table.left_out
    x = images(1, 3, 32, 32)
    assert_close(list(model(x)), stages_of(rgb("resnet18"), x))


def test_a_poolformer_of_sail_sg_computes_what_its_authors_wrote(tmp_path: Path) -> None:
    published = to_poolformer(rgb("poolformer_s12").state_dict())
    assert "network.0.0.layer_scale_1" in published
    model = fresh("poolformer_s12", 3)
    table = load_file(model, saved({"state_dict": published}, tmp_path, "s12.pth.tar"))
    assert len(table.taken) == len(published) == len(model.state_dict())
    assert table.source.endswith("(layout: sail-sg PoolFormer)")
    x = images(2, 3, 40, 36)
    with torch.no_grad():
        assert_close(list(model(x)[:-1]), poolformer_forward(published, x))
    # The published head norms before it pools, timm's after; its tensors arrive all the same.
    for ours, theirs in (("norm.weight", "norm.weight"), ("fc.weight", "head.weight")):
        assert_close(model.get_parameter(f"network.head.{ours}"), published[theirs], atol=0)


def test_a_poolformer_v2_of_sail_sg_arrives_tensor_by_tensor(tmp_path: Path) -> None:
    original = rgb("poolformerv2_s12")
    published = to_metaformer(original.state_dict())
    assert published["stages.0.0.mlp.fc1.weight"].dim() == 2
    model = fresh("poolformerv2_s12", 3)
    table = load_file(model, saved(published, tmp_path))
    assert_close(dict(model.network.state_dict()), dict(original.state_dict()), atol=0)
    assert "stages.0.blocks.0.mlp.fc1.weight" in table.converted
    assert len(table.taken) + len(table.converted) == len(published)


@pytest.mark.parametrize("name", ["resnet18", "resnet50d", "poolformer_s12", "poolformerv2_s12"])
@pytest.mark.parametrize("in_chans", [1, 3, 5])
def test_folding_normalises_exactly_up_to_the_border(
    name: str, in_chans: int, tmp_path: Path
) -> None:
    original = rgb(name)
    model = fresh(name, in_chans, normalised=True)
    table = load_file(model, saved(original.state_dict(), tmp_path))
    assert table.converted == (f"{model.first_conv}.weight",)
    assert not any("offset" in line for line in table.lines())
    grey = images(2, 1, 39, 44)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.mean, model.std))
    with torch.no_grad():
        expected = stages_of(original, (grey - mean) / std)
        assert_close(list(model(grey.expand(-1, in_chans, -1, -1))), expected, atol=2e-5)


def test_weights_for_one_channel_are_taken_as_they_are(tmp_path: Path) -> None:
    model = fresh("resnet18", normalised=True)
    load_file(model, saved(rgb("resnet18").state_dict(), tmp_path))
    assert model.get_buffer("network.conv1.offset").abs().sum() > 0
    grey = fresh("resnet18")
    table = load_file(model, saved(grey.network.state_dict(), tmp_path))
    assert table.converted == ()
    x = images(1, 1, 32, 32)
    assert_close(model(x), grey(x), atol=0)


@pytest.mark.parametrize("normalised", [False, True])
def test_a_network_of_ours_reads_its_own_file(normalised: bool, tmp_path: Path) -> None:
    model = fresh("resnet18", 3, normalised=normalised)
    load_file(model, saved(rgb("resnet18").state_dict(), tmp_path))
    path = saved(model.state_dict(), tmp_path, "own.safetensors")
    again = fresh("resnet18", 3, normalised=normalised)
    table = load_file(again, path)
    assert (table.converted, table.left_out, table.missing) == ((), (), ())
    assert_close(dict(again.state_dict()), dict(model.state_dict()), atol=0)


def test_our_own_file_for_neighbours_is_not_taken_for_colours(tmp_path: Path) -> None:
    model = fresh("resnet18", 3)
    path = saved(model.state_dict(), tmp_path)
    weights = read_weights(path)
    assert (weights.layout, weights.own) == ("volclass", True)
    again = fresh("resnet18", 3)
    table = load_file(again, path)
    assert table.source == "weights.pth (layout: volclass)"
    assert (table.converted, table.missing) == ((), ())
    normalised = fresh("resnet18", 3, normalised=True)
    with pytest.raises(WeightsError, match=r"for raw input.*conv1.offset.*any_intensity=true"):
        load_file(normalised, path)
    with pytest.raises(WeightsError, match=r"for 3 input channel\(s\), the network for 1"):
        load_file(fresh("resnet18"), path)


def test_a_small_stem_leaves_the_common_first_convolution_behind(tmp_path: Path) -> None:
    model = fresh("resnet18", small_stem=True)
    start = model.get_parameter("network.conv1.weight").clone()
    table = load_file(model, saved(rgb("resnet18").state_dict(), tmp_path))
    assert (table.left_out, table.missing) == (("conv1.weight",), ("conv1.weight",))
    assert table.fresh_body == ("conv1.weight",)
    assert_close(model.get_parameter("network.conv1.weight"), start, atol=0)
    again = fresh("resnet18", small_stem=True)
    table = load_file(again, saved(model.state_dict(), tmp_path))
    assert (table.left_out, table.missing) == ((), ())


def test_half_precision_is_widened(tmp_path: Path) -> None:
    state = {
        k: v.half() if v.is_floating_point() else v
        for k, v in fresh("resnet18").state_dict().items()
    }
    model = fresh("resnet18")
    load_file(model, saved(state, tmp_path))
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_table_counts_and_names(tmp_path: Path) -> None:
    model = fresh("resnet18", 1, 5)
    lines = load_file(model, saved(rgb("resnet18").state_dict(), tmp_path)).lines()
    count = len(rgb("resnet18").state_dict()) - 3
    assert lines == [
        "weights from weights.pth (layout: ResNet of torchvision or timm): "
        f"{count} taken, 1 converted, 2 left out, 2 missing",
        "  converted: conv1.weight",
        "  left out: fc.bias, fc.weight",
        "  missing: fc.bias, fc.weight",
    ]
    many = LoadTable(("a",), (), tuple("abcdefgh"), (), "x").lines()
    assert many[1] == "  left out: a, b, c, d, e, f and 2 more"
