"""Every setting that a plan proposes, each with its reason."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import numpy as np
from pydantic import JsonValue

from ..config import Config
from .choices import Choice, in_order
from .fingerprint import Fingerprint, Rows, Triple, Voxels, times
from .grid import (
    MOST_VOXELS,
    MULTIPLE,
    PLACED_PERCENT,
    Spacing,
    manageable,
    placed,
    rounded_size,
    spacing_for,
    voxels_in,
)
from .intensity import scale_for
from .strides import Shape, Strides, shape_of, strides_for
from .training import Counts, batch_for, keep_for, network_for

#: Where the box around the foreground leaves more of the median volume, cropping gains little.
_MOST_KEPT = 0.8
#: Where the median volume fills less of the size, most of what the network sees is padding.
_LEAST_FILLED = 1 / 8
_POOLFORMER = "poolformer3d_"
#: Part of a voxel by which a width may be more than the size, as spacings are rounded.
_OVER = 0.4


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is proposed for some volumes.

    Attributes:
        fingerprint: What they are like.
        choices: The settings, in the order of the configuration.
        warnings: What is doubtful about them.
    """

    fingerprint: Fingerprint
    choices: tuple[Choice, ...]
    warnings: tuple[str, ...]

    def value(self, key: str) -> JsonValue:
        """The value of a setting that is among the choices."""
        (found,) = (choice.value for choice in self.choices if choice.key == key)
        return found


class _Choices:
    """Collects choices; what the user asked for stands as the configuration has it."""

    def __init__(self, config: Config, asked: Collection[str]) -> None:
        self.config = config
        self._asked = asked
        self._tree = cast("dict[str, dict[str, JsonValue]]", json.loads(config.model_dump_json()))
        self.made: list[Choice] = []

    def asked(self, key: str) -> bool:
        """Whether the user decided a setting."""
        return key in self._asked

    def add(self, key: str, value: JsonValue, reason: str) -> None:
        """Adds a setting with its reason, unless it is decided."""
        section, _, name = key.partition(".")
        if self.asked(key):
            self.made.append(Choice(key, self._tree[section][name], "as you asked", asked=True))
        else:
            self.made.append(Choice(key, value, reason))


def propose(
    found: Fingerprint, counts: Counts, config: Config, asked: Collection[str] = ()
) -> Proposal:
    """Proposes the settings that depend on the volumes.

    Args:
        found: What the volumes are like.
        counts: How much there is to learn from.
        config: What is not proposed, and what the user asked for.
        asked: Keys such as `preprocess.size` whose values in `config` stand.
    """
    choices = _Choices(config, asked)
    widths = _crop(found, choices)
    mm = _spacing(found, widths, choices)
    voxels = voxels_in(placed(widths), mm)
    if choices.asked("preprocess.size"):
        voxels = config.preprocess.size
    strides = _network(counts, voxels, mm, choices)
    size = _size(widths, mm, voxels, strides, choices)
    _fit(widths, mm, size, choices)
    scale = scale_for(found)
    choices.add("preprocess.intensity", scale.setting, scale.reason)
    _training(counts, choices)
    warnings = [*_large(size), *_flat(found)]
    return Proposal(found, in_order(choices.made), tuple(warnings))


def _crop(found: Fingerprint, choices: _Choices) -> Rows:
    """Decides whether to crop; the widths in mm that are left, (N, 3)."""
    pays = found.kept <= _MOST_KEPT
    choices.add(
        "preprocess.crop",
        "foreground" if pays else "none",
        f"the box around the foreground keeps {100 * found.kept:.0f} % of the median volume; "
        f"above {100 * _MOST_KEPT:.0f} % there is little to cut away",
    )
    if choices.asked("preprocess.crop"):
        pays = choices.config.preprocess.crop == "foreground"
    return found.crops if pays else found.fields


def _spacing(found: Fingerprint, widths: Rows, choices: _Choices) -> Triple:
    wanted = spacing_for(found.spacings)
    spacing = manageable(wanted, placed(widths))
    choices.add("preprocess.spacing", list(spacing.mm), _spacing_reason(wanted, spacing))
    decided = choices.config.preprocess.spacing
    if not choices.asked("preprocess.spacing"):
        return spacing.mm
    return wanted.mm if decided is None else decided


def _spacing_reason(wanted: Spacing, spacing: Spacing) -> str:
    reason = "mm (x, y, z): the median voxel size"
    if wanted.coarse is not None:
        axis = "xyz"[wanted.coarse]
        reason += (
            f"; voxels are over three times as long along {axis} as along another axis, so there "
            "the 10th percentile, as nnU-Net takes it (Isensee et al. 2021)"
        )
    if spacing.enlarged:
        reason += (
            f"; enlarged from {times(wanted.mm)}, so that the size is at most "
            f"{times((96, 96, 96))} voxels or as many"
        )
    return reason


def _network(counts: Counts, voxels: Voxels, mm: Triple, choices: _Choices) -> Strides | None:
    """Chooses the network and how it strides; None where it strides in a way of its own."""
    model = choices.config.model
    name, reason = model.name, "as the config has it"
    if not choices.asked("model.name") and name.startswith(_POOLFORMER):
        name, reason = network_for(counts.patients, voxels)
    choices.add("model.name", name, reason)
    if not name.startswith(_POOLFORMER):
        return None
    # Options are left out with the network that they were meant for, unless they are asked for.
    stands = name == model.name or choices.asked("model.options")
    depths = model.options.get("depths") if stands else None
    shape = shape_of(name, len(depths) if isinstance(depths, list) else None)
    strides = strides_for(mm, voxels, shape)
    _stem(strides, shape, mm, choices)
    _steps(strides, mm, choices)
    decided = any(choices.asked(key) for key in ("model.stem", "model.strides"))
    return None if decided else strides


def _stem(strides: Strides, shape: Shape, mm: Triple, choices: _Choices) -> None:
    setting = strides.stem_setting(shape)
    first = times(strides.cells(mm)[0])
    choices.add(
        "model.stem",
        setting,
        f"the network's own: cells of {first} mm in the first stage"
        if setting["stride"] is None
        else f"so that the cells of the first stage come near to cubes: {first} mm",
    )


def _steps(strides: Strides, mm: Triple, choices: _Choices) -> None:
    setting = strides.steps_setting()
    cells = ", then ".join(times(cell) for cell in strides.cells(mm)[1:])
    choices.add(
        "model.strides",
        setting,
        f"the network's own halvings: cells of {cells} mm"
        if setting is None
        else "no axis is halved while its cells are the longest, or once it is two voxels wide: "
        f"cells of {cells} mm",
    )


def _size(
    widths: Rows, mm: Triple, voxels: Voxels, strides: Strides | None, choices: _Choices
) -> Voxels:
    size = rounded_size(voxels, (MULTIPLE,) * 3 if strides is None else strides.reductions[-1])
    fits = (widths <= (np.array(size) + _OVER) * np.array(mm)).all(axis=1)
    choices.add(
        "preprocess.size",
        list(size),
        f"voxels (x, y, z): {PLACED_PERCENT:.0f} % of the volumes have their place along each "
        f"axis, {int(fits.sum())} of {len(fits)} along all; in multiples of what the network "
        f"divides by, up to {MULTIPLE}",
    )
    return voxels if choices.asked("preprocess.size") else size


def _fit(widths: Rows, mm: Triple, size: Voxels, choices: _Choices) -> None:
    filled = np.minimum(widths / (np.array(size) * np.array(mm)), 1.0).prod(axis=1)
    share = float(np.median(filled))
    pads = share >= _LEAST_FILLED
    choices.add(
        "preprocess.fit",
        "pad_crop" if pads else "resize",
        f"the median volume fills {100 * share:.0f} % of the size"
        + (
            ": padding keeps all volumes at one scale"
            if pads
            else f", less than {100 * _LEAST_FILLED:.1f} %, so that padding would be most of what "
            "the network sees; resizing gives up one scale for all"
        ),
    )


def _training(counts: Counts, choices: _Choices) -> None:
    train = choices.config.train
    batch = batch_for(counts.cases, train.batch_size)
    choices.add(
        "train.batch_size",
        batch,
        f"{counts.cases} cases teach a network: four batches an epoch or more, of at most "
        f"{train.batch_size}",
    )
    keep, reason = keep_for(counts.validated)
    choices.add("train.keep", keep, reason)


def _large(size: Voxels) -> list[str]:
    if math.prod(size) <= MOST_VOXELS:
        return []
    return [
        f"{times(size)} voxels are more than the {MOST_VOXELS:,} that are proposed at most; "
        "training may need much memory and time"
    ]


def _flat(found: Fingerprint) -> list[str]:
    shape = np.median([look.shape for look in found.looks], axis=0)
    thin = [axis for axis, count in zip("xyz", shape, strict=True) if count < 2]
    if not thin:
        return []
    return [
        f"the median volume is one voxel thick along {', '.join(thin)}: there is no third "
        "dimension to see; try a 2D network, e.g. model.name=resnet18"
    ]
