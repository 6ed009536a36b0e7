"""3D networks for the classification of volumes (needs torch only)."""

from .contract import FeatureInfo, StageInfo, VolumeModel
from .decoder import UNetDecoder
from .fused import FusedClassifier
from .inflate import InflationTable, inflate
from .inflate_kernels import InflationMode, inflate_kernel
from .masking import hide_blocks, reconstruction_loss
from .multi_stage import MultiStage
from .poolformer import PoolFormer3d
from .reference_weights import convert_reference_state_dict
from .registry import create_model, list_models
from .stage_head import StageHead
from .supervision import DeepSupervision
from .unet import UNet3d, unet3d

__all__ = [
    "DeepSupervision",
    "FeatureInfo",
    "FusedClassifier",
    "InflationMode",
    "InflationTable",
    "MultiStage",
    "PoolFormer3d",
    "StageHead",
    "StageInfo",
    "UNet3d",
    "UNetDecoder",
    "VolumeModel",
    "convert_reference_state_dict",
    "create_model",
    "hide_blocks",
    "inflate",
    "inflate_kernel",
    "list_models",
    "reconstruction_loss",
    "unet3d",
]
