"""Weights that a run of this program kept, taken for the same network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from models2d.slices import SliceClassifier
from models3d.contract import VolumeModel

from ..errors import ConfigError
from ..training.checkpoint import read_weights

#: How a network is named within a head of the configuration, and how many stand around one.
_WITHIN = "network."
_DEEPEST = 2


def take_own_weights(network: VolumeModel | SliceClassifier, path: Path) -> tuple[str, ...]:
    """Takes weights of the same network; those of its classifier may lack or differ.

    The file may hold the network within heads of the configuration; these are left out.

    Args:
        network: Without such heads; changed in place.
        path: A `.safetensors` file of a run.

    Returns:
        What was taken and what was not, in words.

    Raises:
        ConfigError: The weights are those of another network.
        StorageError: The file cannot be read.
    """
    own, tensors = network.state_dict(), read_weights(path)
    fits = [_fit(network, own, tensors, depth) for depth in range(_DEEPEST + 1)]
    # Names of a network over slices begin as if it stood within a head, so the fit decides.
    depth = min(range(len(fits)), key=lambda deep: len(fits[deep][1]))
    fitting, misfits = fits[depth]
    if misfits:
        raise ConfigError(
            f"the weights do not fit {type(network).__name__}",
            where=f"model.weights: {path.name}",
            why=f"missing, unknown or of another shape: {', '.join(misfits[:8])}"
            + (f" and {len(misfits) - 8} more" if len(misfits) > 8 else ""),
            remedy="set model.name and model.options as the weights were trained",
        )
    network.load_state_dict(fitting, strict=False)
    left = "" if len(fitting) == len(own) else "; the classifier starts anew"
    left = "; the head around it is left out, and starts anew" if depth else left
    return (f"weights: {len(fitting)} of {len(own)} tensors taken from {path.name}{left}",)


def _fit(
    network: VolumeModel | SliceClassifier,
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    depth: int,
) -> tuple[dict[str, Tensor], list[str]]:
    """What fits, and the names that do not, if the file has so many heads around the network."""
    prefix, classifier = _WITHIN * depth, network.classifier_prefix
    heads = tuple(f"{_WITHIN * outer}head." for outer in range(depth))
    inner = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    fitting = {n: t for n, t in inner.items() if n in own and t.shape == own[n].shape}
    misfits = {n for n in tensors if not n.startswith((prefix, *heads))}
    misfits |= {n for n in {*own, *inner} - {*fitting} if not n.startswith(classifier)}
    return fitting, sorted(misfits)
