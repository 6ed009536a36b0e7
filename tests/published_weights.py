"""Weights as their authors publish them, and what a published PoolFormer computes."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from models2d import ZooNetwork, create_model

Tensors = dict[str, Tensor]
SHALLOW: dict[str, Any] = {"layers": [1, 1, 1, 1]}


def scatter(network: nn.Module) -> Tensors:
    """Give all tensors of a network random values that leave its outputs finite."""
    generator = torch.Generator().manual_seed(2)
    state: Tensors = network.state_dict()
    for key, tensor in state.items():
        if tensor.is_floating_point():
            spread = 0.1 * torch.randn(tensor.shape, generator=generator)
            matrix = tensor.dim() > 1
            tensor.copy_(tensor * 0.5 + spread * (0.2 if matrix else 1))
            if key.endswith("running_var"):
                tensor.copy_(tensor.abs() + 0.5)
    return state


@functools.cache
def rgb(name: str, num_classes: int = 2) -> nn.Module:
    """Give timm's network for three colours, as its authors trained it."""
    options: dict[str, Any] = {} if name.startswith("poolformer") else SHALLOW
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(name, num_classes=num_classes, **options)
    scatter(network)
    return network.eval()


def fresh(name: str, in_chans: int = 1, num_classes: int = 2, **options: object) -> ZooNetwork:
    torch.manual_seed(1)
    given: dict[str, Any] = options if name.startswith("poolformer") else SHALLOW | options
    return create_model(name, in_chans, num_classes, **given).eval()


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def saved(tensors: Mapping[str, object], folder: Path, name: str = "weights.pth") -> Path:
    path = folder / name
    if path.suffix == ".safetensors":
        contiguous = {k: v.contiguous() for k, v in tensors.items() if isinstance(v, Tensor)}
        save_file(contiguous, path)
    else:
        torch.save(tensors, path)
    return path


def assert_close(actual: object, expected: object, atol: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=atol)


def to_poolformer(state: Mapping[str, Tensor]) -> Tensors:
    """Rename timm's tensors as github.com/sail-sg/poolformer does."""

    def rename(key: str) -> str:
        key = re.sub(r"^stem\.conv", "patch_embed.proj", key)
        key = re.sub(r"^head\.(norm|fc)", lambda m: "norm" if m[1] == "norm" else "head", key)
        key = re.sub(
            r"^stages\.(\d)\.downsample\.conv", lambda m: f"network.{2 * int(m[1]) - 1}.proj", key
        )
        key = re.sub(
            r"^stages\.(\d)\.blocks\.(\d+)", lambda m: f"network.{2 * int(m[1])}.{m[2]}", key
        )
        return re.sub(r"layer_scale([12])\.scale", r"layer_scale_\1", key)

    return {rename(key): tensor for key, tensor in state.items()}


def to_metaformer(state: Mapping[str, Tensor]) -> Tensors:
    """Rename timm's tensors as github.com/sail-sg/metaformer does; its MLPs are linear layers."""
    renamed = {}
    for key, tensor in state.items():
        name = re.sub(r"^stem\.conv", "downsample_layers.0.conv", key)
        name = re.sub(r"^stem\.norm", "downsample_layers.0.post_norm", name)
        name = re.sub(r"^stages\.(\d)\.downsample\.conv", r"downsample_layers.\1.conv", name)
        name = re.sub(r"^stages\.(\d)\.downsample\.norm", r"downsample_layers.\1.pre_norm", name)
        name = re.sub(r"^stages\.(\d)\.blocks\.", r"stages.\1.", name)
        name = re.sub(r"^head\.(norm|fc)", lambda m: "norm" if m[1] == "norm" else "head", name)
        linear = re.search(r"mlp\.fc[12]\.weight$", name)
        renamed[name] = tensor.flatten(1) if linear else tensor
    return renamed


def poolformer_forward(weights: Tensors, x: Tensor) -> list[Tensor]:
    """Compute the stages of a published PoolFormer from its published tensors.

    Source: Yu et al. 2022, "MetaFormer Is Actually What You Need for Vision", arXiv 2111.11418.
    """

    def norm(x: Tensor, name: str) -> Tensor:
        return F.group_norm(x, 1, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def conv(x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding)

    def block(x: Tensor, name: str) -> Tensor:
        y = norm(x, f"{name}.norm1")
        mixed = F.avg_pool2d(y, 3, 1, 1, count_include_pad=False) - y
        x = x + weights[f"{name}.layer_scale_1"][:, None, None] * mixed
        y = F.gelu(conv(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
        return x + weights[f"{name}.layer_scale_2"][:, None, None] * conv(y, f"{name}.mlp.fc2")

    stages = []
    x = conv(x, "patch_embed.proj", stride=4, padding=2)
    for entry in (0, 2, 4, 6):
        if entry:
            x = conv(x, f"network.{entry - 1}.proj", stride=2, padding=1)
        depth = sum(
            1 for key in weights if re.fullmatch(rf"network\.{entry}\.\d+\.layer_scale_1", key)
        )
        for index in range(depth):
            x = block(x, f"network.{entry}.{index}")
        stages.append(x)
    return stages
