"""Every registered 3D network keeps the contract; registering one is getting it tested."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models3d import VolumeModel, create_model, list_models

# Options that change what head and stem read, under a name of their own.
VARIANTS: dict[str, dict[str, object]] = {
    "poolformer3d_t+all": {"head_stages": "all", "head_pool": "stats", "head_foreground": True},
    "poolformer3d_n+all": {"head_stages": "all", "stem_kind": "pyramid"},
    "poolformer3d_s12+stats": {"head_pool": "stats", "stem_kind": "pyramid"},
}
NAMES = [*list_models(), *VARIANTS]
CLASSES = 3
# Their channels are fixed, so tests take fewer blocks and smaller volumes.
WIDE = ("monai_seresnet50", "torchvision_r3d18")


def small_options(name: str, shallow: bool = False) -> dict[str, object]:
    """Shrink the channels, if asked the depths too, and keep the registered stem and strides."""
    name = name.partition("+")[0]
    stages = 3 if name == "poolformer3d_n" else 4
    dims, ones = (4, 8, 12, 16)[:stages], (1, 1, 1, 1)[:stages]
    options: dict[str, object] = {"layers": ones}
    if name.startswith("monai_resnet"):
        options = {"block_inplanes": dims} | (options if shallow else {})
    elif name == "monai_densenet121":
        depths = ones if shallow else (2, 3, 3, 2)
        options = {"init_features": 8, "growth_rate": 4, "block_config": depths}
    elif name not in WIDE:
        options = {} if name == "poolformer3d_t" else {"dims": dims}
        options |= {"depths": ones} if shallow else {}
    return options


def create(name: str, in_chans: int = 1, options: dict[str, object] | None = None) -> VolumeModel:
    options = (options or {}) | VARIANTS.get(name, {})
    return create_model(name.partition("+")[0], in_chans, CLASSES, **options)


def build(name: str, in_chans: int = 1, shallow: bool = False) -> VolumeModel:
    torch.manual_seed(0)
    model = create(name, in_chans, small_options(name, shallow))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            # A layer scale near zero would hide what the blocks do from every comparison.
            if "layer_scale" in key:
                parameter.fill_(0.5)
    return model


def grid(model: VolumeModel, voxels: int | None = None) -> tuple[int, ...]:
    """Give the size of a volume whose last stage has ``voxels`` voxels along each axis.

    By default 2, but 2, 1, 1 for a wide network.
    """
    last = model.feature_info[-1]
    counts = (2, 1, 1) if last.channels >= 512 else (2, 2, 2)
    if voxels is not None:
        counts = (voxels, voxels, voxels)
    return tuple(n * reduction for n, reduction in zip(counts, last.reduction, strict=True))


def volume(model: VolumeModel, size: tuple[int, ...], batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, model.in_chans, *size, generator=generator)


def assert_same(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], atol: float) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", NAMES)
def test_full_size_on_meta_gives_the_declared_stages(name: str) -> None:
    with torch.device("meta"):
        model = create(name)
        size = grid(model, 3)
        *stages, logits = model(torch.empty(2, 1, *size))
    info = model.feature_info
    assert [stage.shape[1] for stage in stages] == info.channels()
    for stage, reduction in zip(stages, info.reduction(), strict=True):
        assert tuple(stage.shape[2:]) == tuple(n // r for n, r in zip(size, reduction, strict=True))
    assert logits.shape == (2, CLASSES)
    assert {name for name, _ in model.named_modules()} >= {stage.module for stage in info}


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = build(name)
    *stages, logits = model(volume(model, grid(model)))
    # Shifted: a batch norm over two cases makes logits of opposite sign, whose squares cancel.
    loss = (logits - 1).square().sum() + sum(stage.square().mean() for stage in stages)
    torch.autograd.backward(torch.as_tensor(loss))
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # Pooling minus identity cancels every constant, so this bias can have no effect.
        if not (name.startswith("poolformer3d_") and key.endswith("norm1.bias")):
            assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_is_deterministic_and_leaves_the_input_alone(name: str) -> None:
    model = build(name).eval()
    x = volume(model, grid(model))
    before = x.clone()
    assert_same(model(x), model(x), atol=0)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_cases_of_a_batch_do_not_influence_each_other(name: str) -> None:
    # In double precision, as convolutions round differently for batches of different size.
    model = build(name).eval().double()
    x = volume(model, grid(model), batch=3).double()
    together = model(x)
    outputs = [model(x[i : i + 1]) for i in range(3)]
    alone = tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))
    assert_same(alone, together, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_the_forward_pass_agree(name: str) -> None:
    model = build(name).eval()
    x = volume(model, grid(model))
    *stages, logits = model(x)
    features = model.forward_features(x)
    assert_same((features,), (stages[-1],), atol=0)
    if name.endswith("+all"):
        with pytest.raises(ValueError, match=r"reads several stages.*call the model"):
            model.forward_head(features)
    else:
        assert_same((model.forward_head(features),), (logits,), atol=0)
        assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)
    final, chosen = model.forward_intermediates(x, indices=[0, -1])
    assert_same((final, *chosen), (stages[-1], stages[0], stages[-1]), atol=0)
    _, last_two = model.forward_intermediates(x, indices=2, norm=True)
    assert [part.shape for part in last_two] == [part.shape for part in stages[-2:]]
    with pytest.raises(ValueError, match=f"no stage {len(stages)}"):
        model.forward_intermediates(x, indices=[len(stages)])
    with pytest.raises(ValueError, match="last 0 stages"):
        model.forward_intermediates(x, indices=0)


@pytest.mark.parametrize("name", NAMES)
def test_reset_classifier_changes_the_logits_only(name: str) -> None:
    model = build(name).eval()
    x = volume(model, grid(model))
    before = model(x)
    model.reset_classifier(7)
    *stages, logits = model(x)
    assert model.num_classes == 7
    assert logits.shape == (2, 7)
    assert_same(tuple(stages), before[:-1], atol=0)
    model.reset_classifier(0)
    pooled = model(x)[-1]
    assert pooled.shape == (2, model.num_features)
    if not name.endswith("+all"):
        assert_same((pooled,), (model.forward_head(stages[-1], pre_logits=True),), atol=0)
    model.reset_classifier(2)
    assert model(x)[-1].shape == (2, 2)
    with pytest.raises(ValueError, match="-1"):
        model.reset_classifier(-1)


@pytest.mark.parametrize("name", NAMES)
def test_classifier_prefix_names_what_depends_on_the_classes(name: str) -> None:
    model = build(name)
    before = {key: value.shape for key, value in model.state_dict().items()}
    model.reset_classifier(7)
    after = {key: value.shape for key, value in model.state_dict().items()}
    changed = {key for key in before if after[key] != before[key]}
    assert changed
    assert changed == {key for key in before if key.startswith(model.classifier_prefix)}
    model.reset_classifier(0)
    assert set(model.state_dict()) == set(before) - changed


@pytest.mark.parametrize("name", NAMES)
def test_batch_norm_is_declared(name: str) -> None:
    with torch.device("meta"):
        model = create(name)
    assert model.has_batch_norm == any("running_mean" in key for key in model.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_checkpointing_gives_the_same_outputs_and_gradients(name: str) -> None:
    results = []
    for enable in (False, True):
        model = build(name).train()
        model.set_grad_checkpointing(enable)
        outputs = model(volume(model, grid(model)))
        torch.autograd.backward(torch.stack([out.square().mean() for out in outputs]).sum())
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        results.append((*outputs, *gradients))
    assert_same(results[1], results[0], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_exports(name: str) -> None:
    model = build(name, shallow=True).eval()
    x = volume(model, grid(model, 1))
    program = torch.export.export(model, (x,))
    exported: tuple[Tensor, ...] = program.module()(x)
    assert_same(exported, model(x), atol=1e-5)


@pytest.mark.parametrize("in_chans", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_takes_odd_anisotropic_and_smallest_volumes(name: str, in_chans: int) -> None:
    model = build(name, in_chans).eval()
    for wanted in ((37, 33, 35), (48, 40, 7), model.min_size):
        size = tuple(max(n, least) for n, least in zip(wanted, model.min_size, strict=True))
        *stages, logits = model(volume(model, size, batch=1))
        assert logits.isfinite().all()
        assert [stage.shape[1] for stage in stages] == model.feature_info.channels()


@pytest.mark.parametrize("name", NAMES)
def test_refuses_what_it_cannot_take(name: str) -> None:
    with torch.device("meta"):
        model = create(name)
        with pytest.raises(ValueError, match="five dimensions"):
            model(torch.empty(1, 32, 32, 32))
        with pytest.raises(ValueError, match=r"expected 1 input channel\(s\), got 2"):
            model(torch.empty(1, 2, 32, 32, 32))
        x, y, z = model.min_size
        with pytest.raises(ValueError, match=rf"{z - 1}\).*smaller than the minimum"):
            model(torch.empty(1, 1, x, y, z - 1))


@pytest.mark.parametrize("name", NAMES)
def test_saved_weights_give_the_same_bits(name: str, tmp_path: Path) -> None:
    model = build(name).eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(5)
    fresh = create(name, options=small_options(name)).eval()
    fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    x = volume(model, grid(model))
    assert_same(fresh(x), model(x), atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_gives_the_same_bits(name: str) -> None:
    model = build(name, shallow=True).eval()
    x = volume(model, grid(model, 1))
    assert_same(copy.deepcopy(model)(x), model(x), atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_runs_under_autocast(name: str) -> None:
    model = build(name).eval()
    # One case: convolutions in bfloat16 are slow on a CPU without instructions for them.
    x = volume(model, grid(model), batch=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(x)[-1]
    torch.testing.assert_close(logits.float(), model(x)[-1], rtol=0.1, atol=0.05)


def test_names_are_listed_by_pattern() -> None:
    sizes = ["m36", "m48", "n", "s12", "s24", "s36", "t"]
    assert list_models("poolformer3d_*") == [f"poolformer3d_{size}" for size in sizes]
    assert list_models("nothing*") == []


def test_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'poolformer_s12'.*poolformer3d_s12"):
        create_model("poolformer_s12")


def test_unknown_option_is_answered_with_the_known() -> None:
    with pytest.raises(TypeError, match=r"no option 'drop_pth'.*drop_path.*strides"):
        create_model("poolformer3d_t", drop_pth=0.1)
