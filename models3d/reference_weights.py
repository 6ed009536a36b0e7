"""Weights of the published 3D PoolFormer code, renamed to ours."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

_LAYER = r"(weight|bias)"
_RULES = (
    (rf"patch_embed\.proj\.{_LAYER}", r"stem.conv.\1"),
    (rf"norm\.{_LAYER}", r"head.norm.\1"),
    (rf"head\.{_LAYER}", r"head.fc.\1"),
)
_NETWORK = re.compile(r"network\.(\d+)\.(.+)")
_STEP = re.compile(rf"proj\.{_LAYER}")
_BLOCK = re.compile(rf"(\d+)\.(norm1|norm2|mlp\.fc1|mlp\.fc2)\.{_LAYER}")
_SCALE = re.compile(r"(\d+)\.layer_scale_([12])")


def convert_reference_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the published keys to those of ``PoolFormer3d``; tensors stay as they are.

    In the published ``network`` list even entries are stages and odd ones the steps between them.
    Networks with and without layer scale are understood.

    Args:
        state: tensors by published name (``patch_embed.*``, ``network.N.*``, ``norm``, ``head``).

    Returns:
        The same tensors by our name, for ``load_state_dict``.

    Raises:
        ValueError: keys that are unknown, or missing from what the others imply; all are named.
    """
    renamed = {key: _rename(key) for key in state}
    unknown = sorted(key for key, name in renamed.items() if name is None)
    missing = sorted(_expected_keys(key for key in state if key not in unknown) - set(state))
    if unknown or missing:
        parts = [
            f"{kind} keys: {', '.join(keys)}"
            for kind, keys in (("unknown", unknown), ("missing", missing))
            if keys
        ]
        msg = f"not the weights of a published 3D PoolFormer; {'; '.join(parts)}"
        raise ValueError(msg)
    return {name: state[key] for key, name in renamed.items() if name is not None}


def _rename(key: str) -> str | None:
    for pattern, name in _RULES:
        if match := re.fullmatch(pattern, key):
            return match.expand(name)
    entry = _NETWORK.fullmatch(key)
    if entry is None:
        return None
    index, rest = int(entry[1]), entry[2]
    if index % 2 == 1:
        step = _STEP.fullmatch(rest)
        return step and f"stages.{index // 2 + 1}.downsample.conv.{step[1]}"
    if block := _BLOCK.fullmatch(rest):
        return f"stages.{index // 2}.blocks.{block[1]}.{block[2]}.{block[3]}"
    if scale := _SCALE.fullmatch(rest):
        return f"stages.{index // 2}.blocks.{scale[1]}.layer_scale{scale[2]}.scale"
    return None


def _expected_keys(keys: Iterable[str]) -> set[str]:
    depths, scaled = _layout(keys)
    parts = ("norm1", "norm2", "mlp.fc1", "mlp.fc2")
    block = [f"{part}.{kind}" for part in parts for kind in ("weight", "bias")]
    if scaled:
        block += ["layer_scale_1", "layer_scale_2"]
    layers = ["patch_embed.proj", "norm", "head"]
    layers += [f"network.{index}.proj" for index in range(1, max(depths, default=0), 2)]
    expected = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    for stage in range(0, max(depths, default=0) + 1, 2):
        for index in range(depths.get(stage, 1)):
            expected |= {f"network.{stage}.{index}.{name}" for name in block}
    return expected


def _layout(keys: Iterable[str]) -> tuple[dict[int, int], bool]:
    """Find the depth by ``network`` entry of each stage, and whether there is a layer scale."""
    depths: dict[int, int] = {}
    scaled = False
    for key in keys:
        entry = _NETWORK.fullmatch(key)
        if entry is None:
            continue
        index = int(entry[1])
        if index % 2 == 1:
            # A step always leads to a stage, even if none of that stage's keys is there.
            depths.setdefault(index + 1, 1)
            continue
        depth = int(entry[2].split(".", 1)[0]) + 1
        depths[index] = max(depth, depths.get(index, 1))
        scaled = scaled or "layer_scale" in key
    return depths, scaled
