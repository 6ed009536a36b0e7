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
from typing import Any, cast

import torch
from monai.data import MetaTensor
from monai.data.image_reader import ImageReader
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    Lambdad,
    LoadImaged,
    Orientationd,
    Resized,
    ResizeWithPadOrCrop,
)
from torch import Tensor

from ..config import IntensityConfig, PreprocessConfig
from .formats.rules import Rules
from .masks import MaskReader, on_the_same_grid
from .reader import VolumeReader
from .resampling import Interpolation
from .spacing import Respaced

#: Raised when the same configuration begins to give other voxels.
PREPROCESSING_VERSION = 3

Chain = Callable[[dict[str, str]], dict[str, MetaTensor]]


def foreground(volume: Tensor) -> Tensor:
    """Mask of the voxels above the volume's mean: body against air, for CT, MR and PET alike."""
    return volume > volume.mean()


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
    if config.spacing is not None:
        modes: dict[str, Interpolation] = {"image": "linear", "mask": "nearest"}
        steps.append(Respaced(config.spacing, {key: modes[key] for key in keys}))
    if config.crop == "foreground":
        steps.append(CropForegroundd(keys, "image", select_fn=foreground, allow_smaller=True))
    steps.append(Lambdad("image", _intensity(config.intensity)))
    return cast("Chain", Compose([*steps, *_fit(config, keys)]))


def _fit(config: PreprocessConfig, keys: tuple[str, ...]) -> list[Any]:
    """The steps that bring volumes to their size."""
    size = config.size
    if config.fit == "resize":
        # `nearest-exact` takes the voxels that trilinear interpolation is centred on.
        return [Resized(keys, spatial_size=size, mode=("trilinear", "nearest-exact")[: len(keys)])]
    steps: list[Any] = [Lambdad("image", lambda volume: pad_or_crop(volume, size))]
    if "mask" in keys:
        steps.append(Lambdad("mask", ResizeWithPadOrCrop(size, mode="constant", value=0.0)))
    return steps


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


def pad_or_crop(volume: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Brings (C, X, Y, Z) to `size` about its centre; new voxels take the volume's minimum."""
    fit = ResizeWithPadOrCrop(size, mode="constant", value=float(volume.min()))
    return cast("Tensor", fit(volume))


def zscore(volume: Tensor) -> Tensor:
    """Subtracts the mean of the foreground and divides by its standard deviation."""
    inside = volume[foreground(volume)]
    if inside.numel() < 2:
        inside = volume.flatten()
    return (volume - inside.mean()) / inside.std().clamp_min(1e-6)


def window(volume: Tensor, low: float, high: float) -> Tensor:
    """Maps grey values low..high to 0..1 and clips what lies outside."""
    return ((volume - low) / max(high - low, 1e-6)).clamp(0.0, 1.0)


def percentiles(volume: Tensor, low: float, high: float) -> Tensor:
    """Maps the percentiles low..high (0 to 100) of the grey values to 0..1 and clips."""
    ordered = volume.flatten().sort().values
    ends = [ordered[round((ordered.numel() - 1) * end / 100.0)].item() for end in (low, high)]
    return window(volume, *ends)


def _intensity(config: IntensityConfig) -> Callable[[Tensor], Tensor]:
    match config.name:
        case "zscore":
            return zscore
        case "window":
            low, high = cast("tuple[float, float]", (config.low, config.high))
            return lambda volume: window(volume, low, high)
        case "unit":
            return lambda volume: window(volume, volume.min().item(), volume.max().item())
        case "percentiles":
            low = 0.5 if config.low is None else config.low
            high = 99.5 if config.high is None else config.high
            return lambda volume: percentiles(volume, low, high)
        case "none":
            return lambda volume: volume


def preprocessing_key(config: PreprocessConfig, rules: Rules | None = None) -> str:
    """Everything but the file that decides the result: settings and library versions.

    Args:
        config: The preprocessing.
        rules: Those by which volumes are read, where files are looked up and not voxels.
    """
    libraries = ("monai", "torch", "nibabel", "numpy")
    versions = {name: importlib.metadata.version(name) for name in libraries}
    settings = config.model_dump(mode="json")
    parts = [PREPROCESSING_VERSION, settings, versions]
    if rules is not None and rules.key():
        parts.append(rules.key())
    return json.dumps(parts, sort_keys=True)


def spacing_of(volume: MetaTensor) -> tuple[float, float, float]:
    """Voxel size in mm along x, y, z."""
    lengths = torch.linalg.vector_norm(volume.affine[:3, :3].double(), dim=0)
    return cast("tuple[float, float, float]", tuple(float(length) for length in lengths))
