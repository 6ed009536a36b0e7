"""The typed, frozen configuration of a run: every key, its type, its default and its meaning.

Files and overrides are read by `pipeline.config_file`; this package only says what is valid.
"""

from .data import (
    AffineConfig,
    AugmentConfig,
    DataConfig,
    IntensityConfig,
    MedmnistName,
    PhantomConfig,
    PreprocessConfig,
    Split,
)
from .model import (
    HeadConfig,
    InflateConfig,
    MaskConfig,
    ModelConfig,
    SlicesConfig,
    StemConfig,
    SupervisionConfig,
    is_volume_network,
)
from .paths import NAMED_STARTS, PATH_KEYS, is_path
from .section import PerAxis, PositiveFloat, PositiveInt, Probability, Section
from .training import CvConfig, PretrainConfig, TrainConfig
from .whole import Config, ReportConfig, SystemConfig

__all__ = [
    "NAMED_STARTS",
    "PATH_KEYS",
    "AffineConfig",
    "AugmentConfig",
    "Config",
    "CvConfig",
    "DataConfig",
    "HeadConfig",
    "InflateConfig",
    "IntensityConfig",
    "MaskConfig",
    "MedmnistName",
    "ModelConfig",
    "PerAxis",
    "PhantomConfig",
    "PositiveFloat",
    "PositiveInt",
    "PreprocessConfig",
    "PretrainConfig",
    "Probability",
    "ReportConfig",
    "Section",
    "SlicesConfig",
    "Split",
    "StemConfig",
    "SupervisionConfig",
    "SystemConfig",
    "TrainConfig",
    "is_path",
    "is_volume_network",
]
