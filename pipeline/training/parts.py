"""Which part of a network a parameter belongs to, and how parts are kept as they are.

The parts are the stem, the stages, counted from 1, and the head: whatever comes after the last
stage or stands around the network, auxiliary heads and decoders too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

from torch import nn

from models3d.adapted import AdaptedNetwork

STEM, HEAD = "stem", "head"
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a network.

    Attributes:
        encoder: The innermost network that declares stages, without what others put around it.
        owned: Names in it of the modules, or single parameters, of the stem and of each stage, in
            the order in which they run; what is in none of them is the head.
    """

    encoder: nn.Module
    owned: dict[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """`stem`, `stage1` and so on; the head is not among them."""
        return tuple(self.owned)

    def of(self, name: str) -> str:
        """The part of a parameter or buffer, by its name in the encoder."""
        for part, owned in self.owned.items():
            if any(name == module or name.startswith(f"{module}.") for module in owned):
                return part
        return HEAD

    def modules(self, part: str) -> list[nn.Module]:
        """The outermost modules of a part."""
        there = dict(self.encoder.named_modules())
        return [there[name] for name in self.owned[part] if name in there]


def parts_of(network: nn.Module) -> Parts:
    """Finds the parts of a network, of one that others are wrapped around, or of a task.

    Raises:
        ValueError: Nothing in it declares stages.
    """
    encoder = _encoder_of(network)
    if isinstance(encoder, AdaptedNetwork):
        # Other libraries do not always register modules in the order in which they run.
        layout = encoder.layout
        return Parts(encoder, _named([layout.stem, *layout.stages]))
    (*stem, first), *later = _up_to_each_stage(encoder)
    return Parts(encoder, _named([tuple(stem), (first,), *later]))


def _named(owned: list[tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    names = [STEM, *(f"stage{number}" for number in range(1, len(owned)))]
    return dict(zip(names, owned, strict=True))


def _encoder_of(network: nn.Module) -> nn.Module:
    found: nn.Module | None = None
    inner: nn.Module | None = network
    while inner is not None:
        found = inner if _stage_modules(inner) else found
        children = (getattr(inner, name, None) for name in ("network", "model"))
        inner = next((child for child in children if isinstance(child, nn.Module)), None)
    if found is None:
        raise ValueError(f"{type(network).__name__} declares no stages")
    return found


def _stage_modules(network: nn.Module) -> list[str]:
    """Names of the modules that compute its stages; none where it declares no stages."""
    declared = cast("Iterable[object]", getattr(network, "feature_info", None) or ())
    # timm's own networks have a list of the same name, of another kind.
    names = [getattr(stage, "module", None) for stage in declared]
    return [name for name in names if isinstance(name, str)]


def _up_to_each_stage(encoder: nn.Module) -> Iterator[tuple[str, ...]]:
    """For each stage its module, and what runs before it and belongs to none before.

    Modules are registered in the order in which they run, as timm's and our own are.
    """
    taken: set[str] = set()
    for module in _stage_modules(encoder):
        names: list[str] = []
        parent = ""
        for step in module.split("."):
            within = encoder.get_submodule(parent)
            names += [_joined(parent, name) for name, _ in within.named_parameters(recurse=False)]
            for child, _ in within.named_children():
                if child == step:
                    break
                names.append(_joined(parent, child))
            parent = _joined(parent, step)
        # A module on the way to an earlier stage is not a whole of its own.
        new = [name for name in (*names, parent) if name not in taken]
        yield tuple(n for n in new if not any(t.startswith(f"{n}.") for t in taken))
        taken |= set(new)


def _joined(parent: str, child: str) -> str:
    return f"{parent}.{child}" if parent else child


def factors(module: nn.Module, decay: float) -> dict[str, float]:
    """Factor of the learning rate of each parameter of a network or task, by name.

    1 for the head, and `decay` times less for each part before it, down to the stem.

    Source: Clark et al. 2020, "ELECTRA", arXiv 2003.10555.
    """
    parts = parts_of(module)
    depth = {name: place for place, name in enumerate((HEAD, *reversed(parts.names)))}
    part_by_identity = {
        id(parameter): parts.of(name) for name, parameter in parts.encoder.named_parameters()
    }
    return {
        name: decay ** depth[part_by_identity.get(id(parameter), HEAD)]
        for name, parameter in module.named_parameters()
    }


def keep_still(task: nn.Module, named: Collection[str], norms: bool) -> None:
    """Keeps parts of the network of a task as they are: no gradient, and evaluation mode always.

    So batch norm, dropout and drop path of these parts do nothing in training either.

    Args:
        task: What the training loop calls.
        named: The parts.
        norms: Whether the batch norms of the stem and of all stages are kept, too.
    """
    parts = parts_of(task)
    still = [module for part in named for module in parts.modules(part)]
    still += batch_norms(parts) if norms else []
    for module in still:
        module.requires_grad_(False)
    for name, parameter in parts.encoder.named_parameters():
        if parts.of(name) in named:
            parameter.requires_grad_(False)
    if still:
        # The loop sets the mode of the whole task: this comes after it, right before its use.
        task.register_forward_pre_hook(partial(_quieten, still))


def batch_norms(parts: Parts) -> list[nn.Module]:
    """The batch norms of the stem and of all stages; those of the head belong to the classifier."""
    modules = [module for part in parts.names for module in parts.modules(part)]
    return [
        norm for module in modules for norm in module.modules() if isinstance(norm, _BATCH_NORMS)
    ]


def _quieten(still: list[nn.Module], *_: object) -> None:
    for module in still:
        module.eval()
