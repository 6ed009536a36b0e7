"""A whole configuration: its sections, and what they must not contradict each other in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .data import AugmentConfig, DataConfig, PreprocessConfig
from .model import ModelConfig
from .section import PositiveInt, Section
from .training import CvConfig, PretrainConfig, TrainConfig


class SystemConfig(Section):
    """The machine; only threads, device and `compile` can change results, and only in rounding.

    What dropout draws is another with `compile`, too.
    """

    workers: Annotated[int, Field(ge=0)] = 2
    """Processes that load and augment; 0 does it in the main process, with the same bits.

    In training as many again wait for the validation part."""
    threads: PositiveInt | Literal["auto"] = "auto"
    """Threads for the network; `auto` is torch's own choice."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    compile: bool = False
    """Whether `train` and `tune` train through `torch.compile`, which takes minutes to start.

    Resumed, such a training equals one that was not stopped to rounding alone."""
    cache: Literal["disk", "mapped", "ram"] = "disk"
    """Where preprocessed volumes are kept; `ram` leaves none of them on disk.

    `mapped` is `disk` without a copy at each reading; a file that is cut, or cannot be read any
    more, then ends the process."""
    cache_dir: str | None = None
    """Folder of preprocessed volumes; by default `.volclass-cache` beside `--out`."""


class ReportConfig(Section):
    """The report page."""

    bootstrap: Annotated[int, Field(ge=100)] = 2000
    """Resamplings for the intervals."""
    gallery: Annotated[int, Field(ge=0)] = 12
    """Hardest cases that are shown as pictures."""


class Config(Section):
    """A whole run."""

    seed: Annotated[int, Field(ge=0)] = 0
    data: DataConfig = DataConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    pretrain: PretrainConfig = PretrainConfig()
    cv: CvConfig = CvConfig()
    system: SystemConfig = SystemConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _the_official_split_has_its_test_part(self) -> Config:
        splits = self.data.splits
        if (
            self.cv.scheme == "official"
            and splits is not None
            and not {"train", "test"} <= {*splits}
        ):
            raise ValueError(
                "cv.scheme=official trains on train and tests on test, and data.splits leaves one "
                "out: set cv.scheme=kfold to try things out on the others"
            )
        return self

    @model_validator(mode="after")
    def _frozen_features_are_seen_from_one_side(self) -> Config:
        if self.model.slices.frozen and self.augment.test_time != "none":
            raise ValueError(
                "frozen slice features are computed once: set augment.test_time=none, "
                "or model.slices.frozen=false"
            )
        return self

    @model_validator(mode="after")
    def _covariates_are_not_blended(self) -> Config:
        if self.data.covariates and self.augment.mixup > 0:
            raise ValueError(
                "mixup blends volumes, and covariates belong to one case: set augment.mixup=0, "
                "or data.covariates=[]"
            )
        return self

    @model_validator(mode="after")
    def _masks_have_a_place(self) -> Config:
        if self.model.masks.weight > 0 and self.augment.mixup > 0:
            raise ValueError(
                "mixup blends volumes, and blended masks outline nothing: set augment.mixup=0, "
                "or model.masks.weight=0"
            )
        if self.model.masks.weight > 0 and self.model.slices.axis == "all":
            raise ValueError(
                "slices along all three axes do not make a map of the volume to draw masks from: "
                "set model.slices.axis=axial (or coronal, sagittal), or model.masks.weight=0"
            )
        return self
