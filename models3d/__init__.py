"""3D networks for the classification of volumes (needs torch only)."""

from .contract import FeatureInfo, StageInfo, VolumeModel
from .inflate import InflationTable, inflate
from .inflate_kernels import InflationMode, inflate_kernel
from .poolformer import PoolFormer3d
from .reference_weights import convert_reference_state_dict
from .registry import create_model, list_models
from .supervision import DeepSupervision

__all__ = [
    "DeepSupervision",
    "FeatureInfo",
    "InflationMode",
    "InflationTable",
    "PoolFormer3d",
    "StageInfo",
    "VolumeModel",
    "convert_reference_state_dict",
    "create_model",
    "inflate",
    "inflate_kernel",
    "list_models",
]
