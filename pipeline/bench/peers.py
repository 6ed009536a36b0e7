"""Networks of other libraries that ours is held against."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

from torch import Tensor, nn

from models3d import create_model

_REGISTERED = (
    "monai_resnet10",
    "monai_resnet18",
    "monai_resnet50",
    "monai_densenet121",
    "torchvision_r3d18",
)


def peers() -> dict[str, nn.Module]:
    """By name, each with fresh weights, one input channel and two classes."""
    return {name: create_model(name) for name in _REGISTERED} | _of_timm_3d()


class _WithStages(nn.Module):
    """A network that gives logits alone, called as one that gives its stages before them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.network(x),)


def _of_timm_3d() -> dict[str, nn.Module]:
    # No dependency: nothing but this comparison takes it.
    if find_spec("timm_3d") is None:
        return {}
    with warnings.catch_warnings():
        # It compiles functions with TorchScript while it is imported, which torch discourages.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        import timm_3d
    return {
        "timm_3d_resnet18": _WithStages(timm_3d.create_model("resnet18", in_chans=1, num_classes=2))
    }
