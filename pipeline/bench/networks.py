"""Our networks beside the plain one and those of other libraries: speed and memory of a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models3d import VolumeModel, create_model

from .limits import Limits, operations, traffic
from .memory import step_memory
from .peers import peers
from .plain import plain_of
from .ratio import ROUNDS, Ratio, in_pairs, ratio, seconds_of
from .training_step import training_step

Size = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured.

    Attributes:
        network: Ours.
        size: Voxels of a volume along X, Y, Z.
        batch: Volumes of a batch.
        options: Of the network: strides that the plain network can take as well.
        peers: Whether the networks of other libraries are measured beside it, too.
    """

    network: str
    size: Size
    batch: int
    options: Mapping[str, object] = field(default_factory=dict)
    peers: bool = True

    @property
    def name(self) -> str:
        """As a row of the table."""
        size = "x".join(map(str, self.size)) if len(set(self.size)) > 1 else f"{self.size[0]}^3"
        return f"{self.network}, {size}, batch {self.batch}"


# Below its window, three voxels, the plain network fails; so both keep four of small volumes. The
# batch norms of other networks fail in training where one voxel of one volume is left.
_SMALL: Mapping[str, object] = {"stem_stride": 2, "strides": (2, 2, 1)}
SETTINGS = (
    Setting("poolformer3d_t", (32, 32, 32), 1, _SMALL, peers=False),
    Setting("poolformer3d_t", (32, 32, 32), 8, _SMALL),
    Setting("poolformer3d_t", (64, 64, 64), 1),
    Setting("poolformer3d_t", (64, 64, 64), 8),
    Setting("poolformer3d_t", (96, 128, 96), 1),
    Setting("poolformer3d_t", (96, 128, 96), 8),
    Setting("poolformer3d_s12", (32, 32, 32), 1, _SMALL, peers=False),
    Setting("poolformer3d_s12", (32, 32, 32), 8, _SMALL),
    Setting("poolformer3d_s12", (64, 64, 64), 1, _SMALL),
    Setting("poolformer3d_s12", (64, 64, 64), 8, _SMALL),
    Setting("poolformer3d_s12", (96, 128, 96), 1),
    Setting("poolformer3d_s12", (96, 128, 96), 2),
    Setting("poolformer3d_s12", (96, 128, 96), 8),
)
#: What takes 18 GiB to train on a batch of eight of the largest volumes, and most voxels for it.
_HUNGRY, _MOST_VOXELS = "torchvision_r3d18", 4 * 96 * 128 * 96
#: Whose time is taken apart.
PROFILED = next(item for item in SETTINGS if item.name == "poolformer3d_s12, 96x128x96, batch 1")


@dataclass(frozen=True, slots=True)
class Found:
    """What came out for one setting; each ratio above 1 is in our favour.

    Attributes:
        setting: The setting.
        forward: Time of another network's forward pass, in multiples of ours, by its name.
        training: The same for forward and backward pass.
        alone: Time of our forward pass a volume of the batch, as a part of that of one volume
            alone; None for a batch of one.
        work: Operations of our forward pass.
        held: Peak memory of our training step, in bytes.
        memory: The same as a part of the plain network's.
        over_limit: Our forward pass in multiples of the time that its operations take in a
            large matrix product.
        over_copies: The same pass in multiples of the time of a copy of what it moves at least.
    """

    setting: Setting
    forward: tuple[Ratio, ...]
    training: tuple[Ratio, ...]
    alone: Ratio | None
    work: int
    held: int
    memory: float
    over_limit: float
    over_copies: float


def network_speeds(
    settings: Sequence[Setting], advance: Callable[[], None], rounds: int = ROUNDS
) -> list[Found]:
    """Measures every setting, each network and ours in turns.

    Args:
        settings: What is measured.
        advance: Called after each setting.
        rounds: How often.
    """
    found = []
    for setting in settings:
        found.append(_measured(setting, rounds))
        advance()
    return found


def _measured(setting: Setting, rounds: int) -> Found:
    torch.manual_seed(0)
    ours = network_of(setting)
    others: dict[str, nn.Module] = {"plain": plain_of(ours)}
    if setting.peers:
        others |= peers()
    if setting.batch * math.prod(setting.size) > _MOST_VOXELS:
        others.pop(_HUNGRY, None)
    images = torch.randn(setting.batch, 1, *setting.size)
    limits = Limits()
    passes, seconds = in_turns(forward, ours, others, images, rounds, limits)
    training, _ = in_turns(training_step, ours, others, images, rounds, limits)
    work = operations(others["plain"].eval(), images)
    held = step_memory(ours, images)
    return Found(
        setting,
        passes,
        training,
        None if setting.batch == 1 else _of_the_time_alone(ours, images, rounds),
        work,
        held,
        memory=held / step_memory(others["plain"], images),
        over_limit=seconds * limits.product / work,
        over_copies=seconds * limits.copy / traffic(ours.eval(), images),
    )


def _of_the_time_alone(network: nn.Module, images: Tensor, rounds: int) -> Ratio:
    one = images[:1]
    forward(network, one)
    found = []
    for _ in range(rounds):
        alone = seconds_of(partial(forward, network, one))
        found.append(seconds_of(partial(forward, network, images)) / len(images) / alone)
    return ratio("a volume of the batch", found)


def network_of(setting: Setting) -> VolumeModel:
    """Ours, with fresh weights."""
    keywords: dict[str, Any] = dict(setting.options)
    return create_model(setting.network, **keywords)


def in_turns(
    work: Callable[[nn.Module, Tensor], None],
    ours: nn.Module,
    others: Mapping[str, nn.Module],
    images: Tensor,
    rounds: int,
    limits: Limits,
) -> tuple[tuple[Ratio, ...], float]:
    """Others' time in multiples of ours, and our shortest time in seconds.

    Args:
        work: What is done with a network and the images.
        ours: Ours.
        others: By name.
        images: (B, 1, X, Y, Z).
        rounds: How often.
        limits: Measured in the same rounds.
    """
    taken: list[float] = []

    def own() -> float:
        taken.append(seconds_of(partial(work, ours, images)))
        return taken[-1]

    clocks = {
        name: partial(seconds_of, partial(work, network, images))
        for name, network in others.items()
    }
    return in_pairs(own, clocks, rounds, limits.measure), min(taken)


def forward(network: nn.Module, images: Tensor) -> None:
    """A forward pass in evaluation, without gradients."""
    with torch.no_grad():
        network.eval()(images)
