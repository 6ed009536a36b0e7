"""Key layouts of published 2D weights, and their translation to timm's names."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

# Names in github.com/sail-sg/poolformer. Even entries of `network` are stages, odd ones the
# steps between them; `{i}` stands for half the entry's number, rounded up.
_POOLFORMER = (
    (r"patch_embed\.proj\.(\w+)", r"stem.conv.\1"),
    (r"network\.(\d+)\.proj\.(\w+)", r"stages.{i}.downsample.conv.\2"),
    (r"network\.(\d+)\.(\d+)\.layer_scale_([12])", r"stages.{i}.blocks.\2.layer_scale\3.scale"),
    (r"network\.(\d+)\.(\d+)\.(norm[12]|mlp\.fc[12])\.(\w+)", r"stages.{i}.blocks.\2.\3.\4"),
    (r"norm\.(\w+)", r"head.norm.\1"),
    (r"head\.(\w+)", r"head.fc.\1"),
)
# Names in github.com/sail-sg/metaformer, where PoolFormerV2 is.
_METAFORMER = (
    (r"downsample_layers\.0\.conv\.(\w+)", r"stem.conv.\1"),
    (r"downsample_layers\.0\.post_norm\.(\w+)", r"stem.norm.\1"),
    (r"downsample_layers\.(\d+)\.conv\.(\w+)", r"stages.\1.downsample.conv.\2"),
    (r"downsample_layers\.(\d+)\.pre_norm\.(\w+)", r"stages.\1.downsample.norm.\2"),
    (r"stages\.(\d+)\.(\d+)\.(.+)", r"stages.\1.blocks.\2.\3"),
    (r"norm\.(\w+)", r"head.norm.\1"),
    (r"head\.(.+)", r"head.fc.\1"),
)


@dataclass(frozen=True)
class PublishedWeights:
    """Weights under timm's names.

    Attributes:
        tensors: the tensors, unchanged, by timm's names.
        layout: whose layout the names had.
        description: what network the weights seem to be of.
        own: whether this project saved them: their first convolution is for the input that it
            takes, and holds its normalisation where there is one.
    """

    tensors: dict[str, Tensor]
    layout: str
    description: str
    own: bool = False


def recognise(tensors: Mapping[str, Tensor], own: bool = False) -> PublishedWeights:
    """Tell the layout of weights by their names and translate them to timm's.

    Names that a layout does not know stay as they are, so that loading can name them. ResNets of
    torchvision and of timm have the same names. The stages of a PoolFormer are those of its
    authors; its logits are timm's, whose head pools before the last norm and not after it.

    Args:
        tensors: weights by the names in their file.
        own: whether the file is known to be of this project, whose names are timm's.
    """
    if own:
        return PublishedWeights(dict(tensors), "volclass", _describe(tensors), own=True)
    if "patch_embed.proj.weight" in tensors and "network.0.0.norm1.weight" in tensors:
        renamed, layout = _rename(tensors, _POOLFORMER), "sail-sg PoolFormer"
    elif "downsample_layers.0.conv.weight" in tensors:
        renamed, layout = _rename(tensors, _METAFORMER), "sail-sg MetaFormer"
    elif "layer1.0.conv1.weight" in tensors:
        renamed, layout = dict(tensors), "ResNet of torchvision or timm"
    else:
        renamed, layout = dict(tensors), "timm"
    return PublishedWeights(renamed, layout, _describe(renamed))


def _rename(tensors: Mapping[str, Tensor], rules: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in tensors.items():
        found = ((re.fullmatch(pattern, key), name) for pattern, name in rules)
        match, name = next(((m, name) for m, name in found if m), (None, key))
        if match is not None:
            stage = (int(match[1]) + 1) // 2 if "{i}" in name else 0
            name = match.expand(name.replace("{i}", str(stage)))
        renamed[name] = tensor
    return renamed


def _describe(tensors: Mapping[str, Tensor]) -> str:
    if "layer1.0.conv1.weight" in tensors:
        kind = "bottleneck" if "layer1.0.conv3.weight" in tensors else "basic"
        depths = _depths(tensors, r"layer(\d+)\.(\d+)\.")
        extra = " and squeeze-excitation" if any(".se." in key for key in tensors) else ""
        return f"a ResNet of {depths} {kind} blocks{extra}"
    if "stem.conv.weight" in tensors and "stages.0.blocks.0.norm1.weight" in tensors:
        widths = [
            tensors[key].shape[0]
            for key in sorted(tensors)
            if re.fullmatch(r"stages\.\d+\.blocks\.0\.norm1\.weight", key)
        ]
        depths = _depths(tensors, r"stages\.(\d+)\.blocks\.(\d+)\.")
        kind = "MetaFormer" if any(".token_mixer." in key for key in tensors) else "PoolFormer"
        version = "V2" if any(".mlp.act." in key for key in tensors) else ""
        return f"a {kind}{version} of {depths} blocks, {_listed(widths)} channels wide"
    names = ", ".join(list(tensors)[:3])
    return f"a network that is not known here, with tensors named {names}"


def _depths(tensors: Iterable[str], pattern: str) -> str:
    blocks: dict[int, set[int]] = {}
    for key in tensors:
        if match := re.match(pattern, key):
            blocks.setdefault(int(match[1]), set()).add(int(match[2]))
    return _listed(len(blocks[stage]) for stage in sorted(blocks))


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
