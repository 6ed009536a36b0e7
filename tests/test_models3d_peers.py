"""Networks of MONAI and torchvision compute here what they compute in their own library."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models3d import DeepSupervision, VolumeModel, create_model

CLASSES = 3
SMALL: dict[str, dict[str, object]] = {
    "monai_resnet10": {"block_inplanes": (4, 8, 12, 16)},
    "monai_resnet18": {"block_inplanes": (4, 8, 12, 16)},
    "monai_resnet50": {"block_inplanes": (4, 8, 12, 16), "layers": (1, 2, 1, 1)},
    "monai_densenet121": {"init_features": 8, "growth_rate": 4, "block_config": (2, 3, 2, 2)},
    "monai_seresnet50": {"layers": (1, 1, 1, 1)},
    "torchvision_r3d18": {"layers": (1, 1, 1, 1)},
}
NAMES = tuple(SMALL)


def small(name: str) -> VolumeModel:
    torch.manual_seed(0)
    return create_model(name, 1, CLASSES, **SMALL[name])


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def batch(model: VolumeModel) -> Tensor:
    """Give two volumes whose last stage has 2, 1, 1 voxels."""
    x, y, z = model.feature_info[-1].reduction
    return noise(2, 1, 2 * x, y, z)


def monai_original(name: str) -> nn.Module:
    from monai.networks import nets

    resnets = {
        "monai_resnet10": nets.resnet10,
        "monai_resnet18": nets.resnet18,
        "monai_resnet50": nets.resnet50,
    }
    network: nn.Module
    if name in resnets:
        # Stride and shortcuts as in monai.networks.nets.ResNetFeatures("resnet10").
        options = {"n_input_channels": 1, "conv1_t_stride": 2, "bias_downsample": False}
        network = resnets[name](num_classes=CLASSES, **options)
    elif name == "monai_densenet121":
        network = nets.DenseNet121(spatial_dims=3, in_channels=1, out_channels=CLASSES)
    else:
        network = nets.SEResNet50(spatial_dims=3, in_channels=1, num_classes=CLASSES)
    return network


def torchvision_original() -> nn.Module:
    from torchvision.models.video import r3d_18

    network: nn.Module = r3d_18(num_classes=CLASSES)
    return network


def outputs_of_modules(network: nn.Module, names: list[str], x: Tensor) -> list[Tensor]:
    """Run the network and give what the named modules and, last, the network itself return."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            seen[name] = output.clone()

        return hook

    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    logits: Tensor = network(x)
    for handle in handles:
        handle.remove()
    return [*(seen[name] for name in names), logits]


@pytest.mark.parametrize("name", NAMES)
def test_stages_and_logits_are_those_of_the_original(name: str) -> None:
    torch.manual_seed(0)
    video = name == "torchvision_r3d18"
    original = torchvision_original() if video else monai_original(name)
    model = create_model(name, in_chans=3 if video else 1, num_classes=CLASSES)
    model.load_state_dict(original.state_dict())
    x = noise(2, model.in_chans, *((34, 30, 17) if video else (48, 34, 32)))
    modules = [stage.module for stage in model.feature_info]
    # The first pass updates the batch norms, so that the second one has statistics to use.
    for train in (True, False):
        original.train(train)
        model.train(train)
        with torch.no_grad():
            theirs = outputs_of_modules(original, modules, x.movedim(-1, 2) if video else x)
            ours = model(x)
        if video:
            theirs = [*(stage.movedim(2, -1) for stage in theirs[:-1]), theirs[-1]]
        torch.testing.assert_close(ours, tuple(theirs), rtol=0, atol=0)
    torch.testing.assert_close(model.state_dict(), original.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_smallest_volume_trains_and_nothing_smaller_would(name: str) -> None:
    model = small(name)
    smallest = model.min_size
    logits = model(noise(2, 1, *smallest))[-1]
    torch.autograd.backward(logits.square().sum())
    assert logits.isfinite().all()
    model.min_size = (1, 1, 1)
    for axis in range(3):
        size = [least - (place == axis) for place, least in enumerate(smallest)]
        with pytest.raises(RuntimeError if min(size) > 0 else ValueError):
            model(noise(2, 1, *size))


@pytest.mark.parametrize("name", NAMES)
def test_deep_supervision_reaches_every_parameter(name: str) -> None:
    model = small(name)
    supervised = DeepSupervision(model, [1, 2, 3, 4], num_classes=CLASSES)
    x = batch(model)
    stages, auxiliary, logits = supervised(x)
    assert all(out.shape == (2, CLASSES) for out in (*auxiliary.values(), logits))
    torch.autograd.backward(torch.stack([*auxiliary.values(), logits]).square().sum())
    assert [key for key, p in supervised.named_parameters() if p.grad is None] == []
    supervised.eval()
    stages, _, logits = supervised(x)
    torch.testing.assert_close((*stages, logits), supervised.model(x), rtol=0, atol=0)


def stage_runs(model: VolumeModel, x: Tensor) -> list[str]:
    """Train on a batch and give the stages in the order they ran, backward pass included."""
    runs: list[str] = []

    def note(key: str) -> Callable[[nn.Module, object], None]:
        return lambda module, inputs: runs.append(key)

    for stage in model.feature_info:
        model.get_submodule(stage.module).register_forward_pre_hook(note(stage.module))
    torch.autograd.backward(model.train()(x)[-1].square().sum())
    return runs


@pytest.mark.parametrize("name", NAMES)
def test_checkpointing_runs_stages_twice_and_counts_batches_once(name: str) -> None:
    plain, thrifty = small(name), small(name)
    thrifty.set_grad_checkpointing()
    x = batch(plain)
    once = stage_runs(plain, x)
    assert stage_runs(thrifty, x) == once + once[::-1]
    torch.testing.assert_close(thrifty.state_dict(), plain.state_dict(), rtol=0, atol=0)


def test_stem_of_a_resnet_is_an_option() -> None:
    model = small("monai_resnet10")
    finer = create_model(
        "monai_resnet10",
        1,
        CLASSES,
        stem_kernel=3,
        stem_stride=[2, 2, 1],
        **SMALL["monai_resnet10"],
    )
    assert model.feature_info.reduction()[0] == (4, 4, 4)
    assert finer.feature_info.reduction() == [(4, 4, 2), (8, 8, 4), (16, 16, 8), (32, 32, 16)]
    assert [tuple(out.shape[2:]) for out in finer(noise(2, 1, 64, 64, 32))[:-1]] == [
        (16, 16, 16),
        (8, 8, 8),
        (4, 4, 4),
        (2, 2, 2),
    ]


def test_slices_take_the_place_of_time() -> None:
    info = create_model("torchvision_r3d18", layers=(1, 1, 1, 1)).feature_info
    assert info.reduction() == [(2, 2, 1), (4, 4, 2), (8, 8, 4), (16, 16, 8)]


def test_last_norm_of_the_densenet_belongs_to_its_last_stage() -> None:
    model = small("monai_densenet121").eval()
    nn.init.constant_(model.get_parameter("features.norm5.bias"), 3.0)
    x = noise(1, 1, 32, 32, 32)
    raw = model(x)[:-1]
    _, normed = model.forward_intermediates(x, norm=True)
    torch.testing.assert_close(tuple(normed[:3]), raw[:3], rtol=0, atol=0)
    norm = model.get_submodule("features.norm5")
    torch.testing.assert_close(normed[3], norm(raw[3]), rtol=0, atol=0)
    assert not torch.equal(normed[3], raw[3])


@pytest.mark.parametrize("name", NAMES)
def test_without_classes_there_is_no_classifier(name: str) -> None:
    model = create_model(name, 1, 0, **SMALL[name]).eval()
    assert model(noise(2, 1, 32, 32, 32))[-1].shape == (2, model.num_features)
    assert not any(key.startswith(model.classifier_prefix) for key in model.state_dict())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("monai_resnet18", {"layers": [2, 2, 2]}, r"layers needs .* 4 stages, got \[2, 2, 2\]"),
        ("monai_resnet18", {"block_inplanes": 64}, "block_inplanes needs"),
        ("monai_resnet18", {"stem_stride": 0}, "stem_stride takes"),
        ("monai_resnet18", {"num_classes": -1}, "num_classes must be at least 0, got -1"),
        ("monai_densenet121", {"block_config": [1, 1, 0, 1]}, "block_config needs"),
        ("monai_densenet121", {"growth_rate": 0}, "growth_rate must be .* at least 1, got 0"),
        ("monai_densenet121", {"dropout_prob": 1.0}, r"dropout_prob .* got 1\.0"),
        ("monai_seresnet50", {"in_chans": 0}, "in_chans must be .* at least 1, got 0"),
        ("torchvision_r3d18", {"in_chans": 0}, "in_chans must be .* at least 1, got 0"),
    ],
)
def test_refuses_impossible_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        create_model(name, **options)


@pytest.mark.parametrize("name", ["monai_densenet121", "monai_seresnet50", "torchvision_r3d18"])
def test_a_fixed_stem_is_no_option(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} has no option 'stem_kernel'; its options are"):
        create_model(name, stem_kernel=3)


def test_names_are_listed_without_the_other_libraries() -> None:
    code = (
        "import sys, models3d; names = models3d.list_models(); "
        "print('monai_resnet10' in names, {'monai', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "True set()"
