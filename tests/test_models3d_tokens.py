"""The short ways of a PoolFormer on a CPU equal the layers they stand for, values and gradients."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models3d import VolumeModel, blocks, create_model, products, strided, token_functions
from models3d.moments import moments_of
from models3d.strided import strided_conv
from models3d.token_branches import runs_by_tokens
from models3d.token_entry import Entry, Part, entry_of
from models3d.token_functions import MlpBranch, PoolBranch, Pooling

Outcome = tuple[Tensor, list[Tensor], list[Tensor], Tensor]


def network(name: str, options: dict[str, Any]) -> VolumeModel:
    """A network in double precision whose every parameter matters."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, drop_path=0.3, **options).double()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "scale" in key:
                parameter.uniform_(0.5, 1.0)
            elif parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def outcome(model: VolumeModel, x: Tensor) -> Outcome:
    """Logits in training, all gradients, all buffers after it, and logits in evaluation."""
    model = copy.deepcopy(model).train()
    torch.manual_seed(1)
    logits = model(x)[-1]
    wanted = [x, *model.parameters()]
    found = torch.autograd.grad(logits.square().sum(), wanted, allow_unused=True)
    gradients = [torch.zeros(()) if item is None else item for item in found]
    buffers = [buffer.double().clone() for buffer in model.buffers()]
    return logits, gradients, buffers, model.eval()(x)[-1]


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("poolformer3d_t", (2, 1, 16, 20, 12), {}),
        ("poolformer3d_t", (2, 1, 18, 16, 17), {"pool_window": (5, 3, 1), "layer_scale": None}),
        ("poolformer3d_t", (3, 1, 12, 12, 12), {"norm": "batch", "padding": "edge"}),
        ("poolformer3d_t", (2, 1, 12, 12, 12), {"norm": "channel"}),
        ("poolformer3d_n", (3, 1, 14, 14, 14), {"stem_kind": "pyramid", "head_stages": "all"}),
        ("poolformer3d_n", (2, 1, 14, 9, 5), {"mixer": "conv", "layer_scale": 0.1}),
        ("poolformer3d_n", (2, 2, 9, 9, 9), {"mixer": "identity", "in_chans": 2}),
    ],
)
def test_a_network_by_tokens_is_the_network_of_layers(
    name: str,
    size: tuple[int, ...],
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = network(name, options)
    x = torch.randn(size, dtype=torch.float64, requires_grad=True)
    found = outcome(model, x)
    monkeypatch.setattr(blocks, "runs_by_tokens", lambda *_: False)
    monkeypatch.setattr(blocks, "strided_conv", lambda conv, x: conv(x))
    torch.testing.assert_close(found, outcome(model, x), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("cases", [1, 3])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_in_single_precision_either_library_gives_the_layers_gradients(
    norm: str, cases: int, *, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if onednn and not torch._C._has_mkldnn:
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(products, "_has_onednn", lambda: onednn)
    model = network("poolformer3d_t", {"norm": norm})
    # The last grid has fewer tokens than the MLP has hidden values.
    x = torch.randn(cases, 1, 20, 18, 24, dtype=torch.float64, requires_grad=True)
    single = x.detach().float().requires_grad_()
    found = outcome(copy.deepcopy(model).float(), single)
    monkeypatch.setattr(blocks, "runs_by_tokens", lambda *_: False)
    for ours, layers in zip(flat(found), flat(outcome(model, x)), strict=True):
        largest = max(1.0, float(layers.detach().abs().max()))
        torch.testing.assert_close(ours.double(), layers, rtol=0.0, atol=1e-4 * largest)


def flat(found: Outcome) -> list[Tensor]:
    """All tensors of an outcome."""
    logits, gradients, buffers, evaluated = found
    return [logits, *gradients, *buffers, evaluated]


@pytest.fixture(params=[1 << 19, 24], ids=["one tile", "many tiles"])
def tiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_TILE", "_CACHED", "_POOLED"):
        monkeypatch.setattr(token_functions, name, request.param)


def numbers(*size: int) -> Tensor:
    return torch.randn(*size, dtype=torch.float64, requires_grad=True)


@pytest.fixture(params=[1, 1 << 10], ids=["kept", "computed again"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes of hidden values between forward and backward pass."""
    monkeypatch.setattr(token_functions, "_WIDE", request.param)


@pytest.mark.usefixtures("tiled", "kept")
@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("norm", [nn.GroupNorm(1, 4), nn.BatchNorm3d(4)], ids=["group", "batch"])
def test_gradients_of_the_branches_are_those_of_their_values(
    norm: nn.GroupNorm | nn.BatchNorm3d, evaluated: bool
) -> None:
    torch.manual_seed(0)
    norm = copy.deepcopy(norm).double().train(not evaluated)
    keep = torch.tensor([[1.0], [0.0], [2.0]], dtype=torch.float64)
    x, weight, bias, scale = numbers(3, 12, 4), numbers(4), numbers(4), numbers(4)

    def pooled(x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
        pooling = Pooling((3, 2, 2), (3, 3, 3), moments_of(norm, x.detach()))
        result: Tensor = PoolBranch.apply(x, keep, weight, bias, scale, pooling)
        return result

    assert torch.autograd.gradcheck(pooled, (x, weight, bias, scale))

    def mapped(x: Tensor, *rest: Tensor) -> Tensor:
        result: Tensor = MlpBranch.apply(x, keep, *rest, moments_of(norm, x.detach()), True)
        return result

    dense = (numbers(6, 4), numbers(6), numbers(4, 6), numbers(4))
    assert torch.autograd.gradcheck(mapped, (x, weight, bias, *dense, scale))


@pytest.mark.parametrize(("dim", "most"), [(32, 1 << 22), (128, 1 << 22), (128, 1000)])
def test_a_branch_keeps_its_input_and_few_hidden_values_of_wide_layers(
    dim: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_functions, "_STORED", most)
    block = wide_or_narrow(dim)
    x = torch.randn(2, dim, 8, 8, 8, requires_grad=True)
    hidden = len(block.get_submodule("mlp.fc1").get_parameter("weight"))
    stored = hidden if dim == 128 and most > 1000 else 0
    assert sum(grids_kept(block, x)) == 2 * 8**3 * (2 * dim + stored)


def wide_or_narrow(dim: int) -> nn.Module:
    """A block of poolformer3d_t, whose first stage has 32 channels and whose third has 128."""
    stage = {32: 0, 128: 2}[dim]
    return create_model("poolformer3d_t").get_submodule(f"stages.{stage}.blocks.0").train()


@pytest.mark.parametrize("way", ["recorded", "not recorded", "frozen"])
def test_hidden_values_are_not_held_where_no_backward_pass_can_come(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_functions, "_TILE", 1 << 14)
    made: list[weakref.ref[Tensor]] = []
    most = 0

    def watched(*given: Any) -> Entry:  # noqa: ANN401  # as entry_of itself
        entry = entry_of(*given)
        true_hidden = entry.hidden

        def hidden(part: Part) -> Tensor:
            nonlocal most
            tile = true_hidden(part)
            made.append(weakref.ref(tile))
            most = max(most, sum(each() is not None for each in made))
            return tile

        monkeypatch.setattr(entry, "hidden", hidden)
        return entry

    monkeypatch.setattr(token_functions, "entry_of", watched)
    block = wide_or_narrow(128).requires_grad_(way != "frozen")
    with nullcontext() if way != "not recorded" else torch.no_grad():
        block(torch.randn(1, 128, 8, 8, 8))
    assert len(made) >= 8
    # A tile, and the one before it while its name stands for the next.
    assert (most > 2) is (way == "recorded")


def grids_kept(block: nn.Module, x: Tensor) -> list[int]:
    """How many values each grid has that a block keeps for its backward pass."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = block(x)
        if out.requires_grad:
            out.sum().backward()
    return [tensor.numel() for tensor in kept.values() if tensor.numel() >= x.numel()]


def test_a_backward_pass_can_be_done_again() -> None:
    block = wide_or_narrow(128)
    x = torch.randn(2, 128, 4, 4, 4, requires_grad=True)
    out = block(x).square().sum()
    first = torch.autograd.grad(out, [x, *block.parameters()], retain_graph=True)
    again = torch.autograd.grad(out, [x, *block.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


CONVOLUTIONS = [
    ((4, 6, 3, 2, 1), (2, 4, 7, 6, 5)),
    ((1, 5, 7, 4, 2), (3, 1, 16, 17, 18)),
    ((3, 4, 3, 1, 0), (1, 3, 5, 5, 5)),
]


@pytest.mark.parametrize("many", [0, 10**9], ids=["convolution", "product"])
@pytest.mark.parametrize(("sizes", "shape"), CONVOLUTIONS)
def test_a_strided_convolution_is_the_same_either_way(
    sizes: tuple[int, ...], shape: tuple[int, ...], many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strided, "_WEIGHTS_A_PLACE", 10**9 - many)
    channels, maps, kernel, stride, padding = sizes
    conv = nn.Conv3d(channels, maps, kernel, stride, padding).double()
    x = numbers(*shape)
    results = []
    ways: list[Callable[[Tensor], Tensor]] = [lambda x: strided_conv(conv, x), conv]
    for way in ways:
        out = way(x)
        results.append((out, *torch.autograd.grad(out.square().sum(), [x, *conv.parameters()])))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("place", ["compiled", "autocast", "other norm", "one voxel by batch"])
def test_the_short_way_is_left_where_it_would_be_wrong(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, norm = torch.randn(1, 4, 1, 1, 1), nn.GroupNorm(1, 4)
    assert runs_by_tokens(norm, x)
    around: AbstractContextManager[object] = nullcontext()
    tried: nn.Module = norm
    if place == "compiled":
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    elif place == "autocast":
        around = torch.autocast("cpu", dtype=torch.bfloat16)
    else:
        tried = nn.Identity() if place == "other norm" else nn.BatchNorm3d(4)
    with around:
        assert not runs_by_tokens(tried, x)


def test_values_have_their_channels_last_between_blocks() -> None:
    model = create_model("poolformer3d_t").eval()
    seen = []
    for block in model.get_submodule("stages.1.blocks").children():
        block.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model(torch.randn(2, 1, 16, 16, 16))
    assert all(x.is_contiguous(memory_format=torch.channels_last_3d) for x in seen)
