"""Deterministic preprocessing, once a volume: RAS, spacing, foreground, grey values, size.

Every chain maps `{"image": path}` to a float32 tensor (C, X, Y, Z) in RAS+ order; one for masks
takes `mask` along, another path, and gives 0 and 1 on the very grid of the image.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
from monai.data import MetaTensor
from monai.data.image_reader import ImageReader
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Lambdad,
    LoadImaged,
    Orientationd,
    Resized,
    ResizeWithPadOrCrop,
    SpatialCrop,
)
from torch import Tensor

from ..config import PreprocessConfig
from .distance_map import DISTANCE_MAP_VERSION, distance_map, in_voxel_edges, inside_of_shape
from .formats.rules import Rules
from .intensity import Scaling, foreground, scaling
from .masks import MaskReader, on_the_same_grid
from .reader import VolumeReader
from .resampling import Interpolation
from .spacing import Respaced

#: Raised when the same configuration begins to give other voxels.
PREPROCESSING_VERSION = 3

Chain = Callable[[dict[str, str]], dict[str, MetaTensor]]


def preprocessing(config: PreprocessConfig, *, masks: bool = False) -> Chain:
    """The chain from file names to the tensors that are cached.

    Args:
        config: The preprocessing.
        masks: Whether the volumes come with masks; what becomes of a volume is the same.
    """
    keys = ("image", "mask") if masks else ("image",)
    steps: list[Any] = [loader("image", VolumeReader())]
    if masks:
        steps += [loader("mask", MaskReader()), on_the_same_grid]
    steps += [
        EnsureChannelFirstd(keys),
        Orientationd(keys, axcodes="RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
    ]
    measured = config.intensity.name == "distance"
    if measured:
        steps.append(Lambdad("image", distance_map))
    if config.spacing is not None:
        modes: dict[str, Interpolation] = {"image": "linear", "mask": "nearest"}
        steps.append(Respaced(config.spacing, {key: modes[key] for key in keys}))
    if config.crop == "foreground":
        steps.append(partial(cropped, inside=inside_of_shape) if measured else cropped)
    steps += _scale_and_fit(config, keys)
    if measured:
        steps.append(Lambdad("image", in_voxel_edges))
    return cast("Chain", Compose(steps))


def _scale_and_fit(config: PreprocessConfig, keys: tuple[str, ...]) -> list[Any]:
    """The steps that scale grey values and bring volumes to their size."""
    size = config.size
    # A shape that fills its box leaves no voxel of the outside whose value could be taken.
    outside = 0.0 if config.intensity.name == "distance" else None

    def scale(volume: MetaTensor) -> Scaling:
        return scaling(config.intensity, volume.as_tensor())

    if config.fit == "resize":
        # `nearest-exact` takes the voxels that trilinear interpolation is centred on.
        modes = ("trilinear", "nearest-exact")[: len(keys)]
        resized = Resized(keys, spatial_size=size, mode=modes)
        return [Lambdad("image", lambda volume: scale(volume)(volume)), resized]
    # Scaling keeps the order of values, so the minimum with which is padded stays the minimum.
    fitted = Lambdad("image", lambda volume: scale(volume)(pad_or_crop(volume, size, outside)))
    steps: list[Any] = [fitted]
    if "mask" in keys:
        steps.append(Lambdad("mask", ResizeWithPadOrCrop(size, mode="constant", value=0.0)))
    return steps


def cropped(
    volumes: dict[str, MetaTensor], inside: Callable[[Tensor], Tensor] = foreground
) -> dict[str, MetaTensor]:
    """Cuts all volumes (1, X, Y, Z) to the box around the image's foreground, if there is any.

    Where nearly all voxels have the largest value, the mean is rounded to it: none is above.
    """
    (mask,) = inside(volumes["image"].as_tensor()).numpy()
    if not mask.any():
        return volumes
    # Along Z first, where the voxels of a line lie beside each other.
    plane = mask.any(axis=2)
    along = (plane.any(axis=1), plane.any(axis=0), mask.any(axis=(0, 1)))
    places = [np.flatnonzero(axis) for axis in along]
    crop = SpatialCrop(roi_slices=[slice(int(at[0]), int(at[-1]) + 1) for at in places])
    return {key: cast("MetaTensor", crop(volume)) for key, volume in volumes.items()}


def loader(key: str, reader: ImageReader) -> LoadImaged:
    """Loads through one reader alone.

    MONAI sets up all of its readers beside it, and two of its messages about a DICOM plug-in that
    is not used here would reach every user.
    """
    plugin = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    level = plugin.level
    plugin.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
            return LoadImaged(key, reader=reader, image_only=True)
    finally:
        plugin.setLevel(level)


def pad_or_crop(volume: Tensor, size: tuple[int, int, int], outside: float | None = None) -> Tensor:
    """Brings (C, X, Y, Z) to `size` about its centre.

    Args:
        volume: The volume.
        size: Voxels along X, Y, Z.
        outside: Value of new voxels; the volume's minimum by default.
    """
    value = float(volume.min()) if outside is None else outside
    fit = ResizeWithPadOrCrop(size, mode="constant", value=value)
    return cast("Tensor", fit(volume))


def preprocessing_key(config: PreprocessConfig, rules: Rules | None = None) -> str:
    """Everything but the file that decides the result: settings and library versions.

    Args:
        config: The preprocessing.
        rules: Those by which volumes are read, where files are looked up and not voxels.
    """
    measured = ("scipy",) if config.intensity.name == "distance" else ()
    libraries = ("monai", "torch", "nibabel", "numpy", *measured)
    versions = {name: importlib.metadata.version(name) for name in libraries}
    settings = config.model_dump(mode="json")
    parts = [PREPROCESSING_VERSION, settings, versions]
    if measured:
        parts.append(DISTANCE_MAP_VERSION)
    if rules is not None and rules.key():
        parts.append(rules.key())
    return json.dumps(parts, sort_keys=True)
