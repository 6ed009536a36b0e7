"""Every network of the 2D zoo keeps the contract."""

import functools
import subprocess
import sys
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from models2d import ZooNetwork, create_model, is_model, list_models

CLASSES = 3
SHALLOW: dict[str, Any] = {"layers": [1, 1, 1, 1]}
FAMILIES = (
    "resnet10t",
    "resnet18",
    "resnet50",
    "resnet50_gn",
    "resnet50d",
    "resnetaa50",
    "resnetaa50d",
    "resnetblur18",
    "resnetrs50",
    "resnext50_32x4d",
    "seresnet50",
    "poolformer_s12",
    "poolformerv2_s12",
)
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
}


def build(name: str, **options: object) -> ZooNetwork:
    """Build a network with one block a stage where its name leaves the depth open."""
    torch.manual_seed(0)
    given: dict[str, Any] = options if name.startswith("poolformer") else SHALLOW | options
    return create_model(name, 1, CLASSES, **given)


@functools.cache
def shared(name: str) -> ZooNetwork:
    """Give a network in eval mode, for tests that leave it as it is."""
    return build(name).eval()


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def assert_same(actual: object, expected: object, atol: float = 0) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_networks_have_the_published_number_of_parameters(name: str, count: int) -> None:
    with torch.device("meta"):
        model = create_model(name, 3, 1000)
    assert sum(p.numel() for p in model.parameters()) == count


def test_poolformer_with_ten_classes_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = create_model("poolformer_s12", 3, 10)
    assert sum(p.numel() for p in model.parameters()) == 11_407_306


@pytest.mark.parametrize("name", list_models())
def test_each_name_declares_four_stages_and_a_classifier(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, 1, CLASSES)
    assert model.feature_info.reduction() == [(4, 4), (8, 8), (16, 16), (32, 32)]
    assert all(model.get_submodule(stage.module) for stage in model.feature_info)
    classifier = model.get_submodule(model.classifier_prefix.removesuffix("."))
    assert isinstance(classifier, torch.nn.Linear)
    assert classifier.in_features == model.num_features == model.feature_info.channels()[-1]
    assert model.get_parameter(f"network.{model.first_conv}.weight").shape[1] == 1
    assert is_model(name)


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_are_as_declared(name: str) -> None:
    model = shared(name)
    with torch.no_grad():
        *stages, logits = model(images(2, 1, 64, 96))
    expected = [
        (2, stage.channels, 64 // stage.reduction[0], 96 // stage.reduction[1])
        for stage in model.feature_info
    ]
    assert [tuple(stage.shape) for stage in stages] == expected
    assert logits.shape == (2, CLASSES)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = build(name)
    torch.autograd.backward(model(images(2, 1, 33, 64))[-1].square().sum())
    assert [key for key, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_those_of_timm_and_the_same_each_time(name: str) -> None:
    model, x = shared(name), images(2, 1, 64, 64)
    with torch.no_grad():
        *stages, logits = model(x)
        assert_same(logits, model.network(x))
        assert_same((*stages, logits), model(x))
        assert_same(model.forward_stages(x), tuple(stages))
        assert_same(model.forward_head(model.forward_features(x)), logits)
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)
    assert pooled.shape == (2, model.num_features)


@pytest.mark.parametrize("name", FAMILIES)
def test_takes_odd_sizes_and_single_images(name: str) -> None:
    model = shared(name)
    for size in ((35, 41), (67, 33)):
        with torch.no_grad():
            *stages, logits = model(images(1, 1, *size))
        assert logits.isfinite().all()
        assert [stage.shape[1] for stage in stages] == model.feature_info.channels()


@pytest.mark.parametrize("name", FAMILIES)
def test_takes_the_smallest_size_and_nothing_smaller(name: str) -> None:
    model = build(name).eval()
    rows, columns = model.min_size
    with torch.no_grad():
        assert model(images(1, 1, rows, columns))[-1].isfinite().all()
        assert model(images(1, 1, rows, 40))[-1].isfinite().all()
        with pytest.raises(ValueError, match=f"smaller than the minimum .* of {name}"):
            model(images(1, 1, rows - 1, columns))
        model.min_size = (0, 0)
        for size in ((rows - 1, 40), (40, columns - 1)):
            with pytest.raises(RuntimeError):
                model(images(1, 1, *size))


def test_refuses_other_images() -> None:
    model = shared("resnet18")
    with pytest.raises(ValueError, match="four dimensions, got"):
        model(images(1, 32, 32))
    with pytest.raises(ValueError, match=r"expected 1 input channel\(s\), got 3"):
        model(images(1, 3, 32, 32))


@pytest.mark.parametrize("name", ["resnet18", "poolformer_s12"])
def test_without_classes_the_pooled_features_come_out(name: str) -> None:
    model = build(name).eval()
    x = images(2, 1, 32, 32)
    with torch.no_grad():
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)
        model.reset_classifier(0)
        assert_same(model(x)[-1], pooled)
    assert not any(key.startswith(model.classifier_prefix) for key in model.state_dict())
    model.reset_classifier(7)
    assert model(x)[-1].shape == (2, 7)
    assert model.num_classes == 7
    with pytest.raises(ValueError, match=r"num_classes must be .* at least 0, got -1"):
        model.reset_classifier(-1)


@pytest.mark.parametrize("name", ["resnet18", "poolformer_s12"])
def test_chosen_stages_are_those_of_the_forward_pass(name: str) -> None:
    model, x = shared(name), images(1, 1, 32, 48)
    with torch.no_grad():
        *stages, _ = model(x)
        for indices, expected in ((None, [0, 1, 2, 3]), (2, [2, 3]), ([-1, 0, 3], [0, 3])):
            final, chosen = model.forward_intermediates(x, indices)
            assert_same(chosen, [stages[i] for i in expected])
            assert_same(final, model.forward_features(x))
    with pytest.raises(ValueError, match="no stage 4"):
        model.forward_intermediates(x, [4])
    with pytest.raises(ValueError, match="cannot take the last 5 stages"):
        model.forward_intermediates(x, 5)


@pytest.mark.parametrize("name", ["resnet18", "resnetblur18", "poolformer_s12"])
def test_checkpointing_changes_neither_gradients_nor_statistics(name: str) -> None:
    results = []
    for enable in (False, True):
        model = build(name, drop_path_rate=0.3)
        model.set_grad_checkpointing(enable)
        for step in range(2):
            torch.manual_seed(step)
            outputs = model(images(4, 1, 64, 64))
            torch.autograd.backward(sum((out.square().mean() for out in outputs), torch.zeros(())))
        gradients = {key: p.grad for key, p in model.named_parameters()}
        results.append((model.state_dict(), gradients))
    assert_same(results[1], results[0])


def test_checkpointing_can_be_switched_off_again() -> None:
    model = build("resnet18")
    model.set_grad_checkpointing()
    model.set_grad_checkpointing(False)
    model(images(2, 1, 32, 32))
    model.network(images(2, 1, 32, 32))
    assert model.state_dict()["network.bn1.num_batches_tracked"] == 2


@pytest.mark.parametrize("in_chans", [3, 5, 7])
def test_takes_neighbouring_slices_as_channels(in_chans: int) -> None:
    model = create_model("resnet10t", in_chans, 2).eval()
    assert model(images(1, in_chans, 32, 32))[-1].shape == (1, 2)


@pytest.mark.parametrize("name", ["resnet18", "poolformer_s12"])
def test_starts_as_timm_does(name: str) -> None:
    torch.manual_seed(3)
    model = create_model(name, 1, 5)
    torch.manual_seed(3)
    original = timm.create_model(name, in_chans=1, num_classes=5)
    assert_same(dict(model.network.state_dict()), dict(original.state_dict()))


def test_what_mends_odd_sizes_changes_nothing_on_even_ones() -> None:
    model = shared("resnetaa50")
    original = timm.create_model("resnetaa50", in_chans=1, num_classes=CLASSES, **SHALLOW).eval()
    original.load_state_dict(model.network.state_dict())
    x = images(1, 1, 64, 96)
    assert_same(model(x)[-1], original(x))
    with pytest.raises(RuntimeError):
        original(images(1, 1, 35, 41))


def test_a_resnet_exports() -> None:
    model = shared("resnet18")
    x = images(1, 1, 32, 32)
    exported: tuple[Tensor, ...] = torch.export.export(model, (x,)).module()(x)
    assert_same(exported, model(x), atol=1e-6)


@pytest.mark.parametrize("name", ["convnext_atto", "regnety_002", "resnet18.a1_in1k"])
def test_other_networks_of_timm_with_four_stages_are_taken(name: str) -> None:
    model = create_model(name, 1, CLASSES).eval()
    assert is_model(name)
    *stages, logits = model(images(1, 1, 64, 64))
    assert [tuple(stage.shape[2:]) for stage in stages] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert_same(logits, model.network(images(1, 1, 64, 64)))


def test_a_network_for_one_size_says_so() -> None:
    with torch.device("meta"):
        model = create_model("swin_tiny_patch4_window7_224")
        assert model.min_size == model.fixed_size == (224, 224)
        with pytest.raises(
            ValueError, match=r"images of \(224, 224\) pixels only, got \(256, 256\)"
        ):
            model(torch.empty(1, 1, 256, 256))


def test_a_network_without_four_stages_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not give four feature stages .* such as a ResNet"):
        create_model("vit_tiny_patch16_224")


@pytest.mark.parametrize("name", ["resnet51", "resnet18.nothing", "hf-hub:timm/resnet18", ""])
def test_an_unknown_name_is_answered_with_the_nearest(name: str) -> None:
    assert not is_model(name)
    with pytest.raises(ValueError, match=f"unknown 2D model '{name}'; nearest names: .*, .*, "):
        create_model(name)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"in_chans": 0}, "in_chans must be a whole number of at least 1, got 0"),
        ({"in_chans": True}, "in_chans must be a whole number"),
        ({"num_classes": -1}, "num_classes must be a whole number of at least 0, got -1"),
    ],
)
def test_impossible_numbers_are_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model("resnet18", **numbers)


def test_names_are_listed_by_pattern() -> None:
    assert list_models("poolformer_*") == [
        f"poolformer_{size}" for size in ("m36", "m48", "s12", "s24", "s36")
    ]
    assert list_models("nothing*") == []
    assert set(list_models()) <= set(timm.list_models())


def test_names_are_listed_without_timm() -> None:
    code = (
        "import sys, models2d; print(models2d.is_model(models2d.list_models()[0]), "
        "{'timm', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "True set()"
