"""Names of networks and how they are built."""

import difflib
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .contract import VolumeModel
from .layers import NormName
from .peers import monai_densenet121, monai_resnet, monai_seresnet50, torchvision_r3d18
from .poolformer import PoolFormer3d

Builder = Callable[..., VolumeModel]


@dataclass(frozen=True)
class PoolFormerSize:
    """The numbers that tell one registered size from another.

    Attributes:
        depths: blocks in each stage.
        dims: channels of each stage.
        layer_scale: first value of the layer scale; ``None`` for no layer scale.
        stem_kernel: extent of the stem in voxels.
        stem_stride: stride of the stem in voxels.
        norm: kind of norm.
        mlp_ratio: width of the MLPs in multiples of the stage's channels.
    """

    depths: tuple[int, ...]
    dims: tuple[int, ...]
    layer_scale: float | None = 1e-5
    stem_kernel: int = 7
    stem_stride: int = 4
    norm: NormName = "group"
    mlp_ratio: float = 4.0


# `n` and `t` are for small volumes, `n` for few of them too; the others are the published sizes.
_SIZES: dict[str, PoolFormerSize] = {
    "n": PoolFormerSize(
        (2, 2, 2), (24, 48, 96), None, stem_kernel=3, stem_stride=2, norm="batch", mlp_ratio=2.0
    ),
    "t": PoolFormerSize((2, 2, 4, 2), (32, 64, 128, 256), stem_kernel=3, stem_stride=2),
    "s12": PoolFormerSize((2, 2, 6, 2), (64, 128, 320, 512)),
    "s24": PoolFormerSize((4, 4, 12, 4), (64, 128, 320, 512)),
    "s36": PoolFormerSize((6, 6, 18, 6), (64, 128, 320, 512), layer_scale=1e-6),
    "m36": PoolFormerSize((6, 6, 18, 6), (96, 192, 384, 768), layer_scale=1e-6),
    "m48": PoolFormerSize((8, 8, 24, 8), (96, 192, 384, 768), layer_scale=1e-6),
}


def create_model(
    name: str, in_chans: int = 1, num_classes: int = 2, **options: object
) -> VolumeModel:
    """Build a registered network with fresh weights.

    Args:
        name: one of ``list_models()``.
        in_chans: number of input channels.
        num_classes: number of logits; 0 for a network without a classifier.
        **options: options of the network; for PoolFormer those of ``PoolFormer3d``, for networks
            of other libraries those of their builder in ``peers``. An option replaces the number
            of the registered size.

    Raises:
        ValueError: an unknown name, or an option out of its range.
        TypeError: an option that the network does not have.
    """
    builder = _BUILDERS.get(name)
    if builder is None:
        nearest = difflib.get_close_matches(name, _BUILDERS, n=3, cutoff=0.0)
        msg = f"unknown model {name!r}; nearest names: {', '.join(nearest)}"
        raise ValueError(msg)
    known = set(inspect.signature(builder).parameters) - {"in_chans", "num_classes"}
    unknown = sorted(set(options) - known)
    if unknown:
        msg = (
            f"{name} has no option {', '.join(map(repr, unknown))}; "
            f"its options are {', '.join(sorted(known))}"
        )
        raise TypeError(msg)
    return builder(in_chans=in_chans, num_classes=num_classes, **options)


def list_models(pattern: str = "*") -> list[str]:
    """Give the sorted names that match a shell pattern, such as ``poolformer3d_*``."""
    return sorted(name for name in _BUILDERS if fnmatchcase(name, pattern))


def _poolformer(size: PoolFormerSize) -> Builder:
    return functools.partial(
        PoolFormer3d,
        depths=size.depths,
        dims=size.dims,
        layer_scale=size.layer_scale,
        stem_kernel=size.stem_kernel,
        stem_stride=size.stem_stride,
        norm=size.norm,
        mlp_ratio=size.mlp_ratio,
    )


# A builder is called with in_chans, num_classes and options by name, and its signature is the
# list of its options. A builder that needs another library imports it inside its body, so that
# listing names stays cheap.
_BUILDERS: dict[str, Builder] = {
    f"poolformer3d_{name}": _poolformer(size) for name, size in _SIZES.items()
} | {
    "monai_resnet10": functools.partial(monai_resnet, "basic", layers=(1, 1, 1, 1)),
    "monai_resnet18": functools.partial(monai_resnet, "basic", layers=(2, 2, 2, 2)),
    "monai_resnet50": functools.partial(monai_resnet, "bottleneck", layers=(3, 4, 6, 3)),
    "monai_densenet121": monai_densenet121,
    "monai_seresnet50": monai_seresnet50,
    "torchvision_r3d18": torchvision_r3d18,
}
