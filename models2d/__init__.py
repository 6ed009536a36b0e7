"""2D networks for the classification of slices (needs torch and timm)."""

from .checkpoints import (
    LoadTable,
    WeightsError,
    load_file,
    load_published,
    published_tensors,
    read_tensors,
    read_weights,
)
from .contract import FeatureInfo, StageInfo
from .decoder import UNetDecoder
from .pooling import PoolName
from .pyramid import FeaturePyramid
from .skeleton import without_numbers
from .slices import SliceAnswer, SliceClassifier
from .slicing import Axis, Plane
from .unet import UNet2d, unet2d
from .zoo import ZooNetwork, create_model, is_model, list_models

__all__ = [
    "Axis",
    "FeatureInfo",
    "FeaturePyramid",
    "LoadTable",
    "Plane",
    "PoolName",
    "SliceAnswer",
    "SliceClassifier",
    "StageInfo",
    "UNet2d",
    "UNetDecoder",
    "WeightsError",
    "ZooNetwork",
    "create_model",
    "is_model",
    "list_models",
    "load_file",
    "load_published",
    "published_tensors",
    "read_tensors",
    "read_weights",
    "unet2d",
    "without_numbers",
]
