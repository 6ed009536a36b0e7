"""Where cases come from, and what is done to volumes before a network sees them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from .section import PositiveFloat, PositiveInt, Probability, Section


def _is_orientation(text: str) -> str:
    """The letters of three axes, one of each of L or R, A or P, I or S; or `nifti`."""
    pairs = ("LR", "AP", "IS")
    each = [sum(letter in pair for letter in text) for pair in pairs]
    if text != "nifti" and not (len(text) == 3 and each == [1, 1, 1]):
        raise ValueError("an orientation is nifti or three letters such as RAS, LPS, LAS or PIR")
    return text


Orientation = Annotated[str, AfterValidator(_is_orientation)]


class PhantomConfig(Section):
    """Generated CT-like volumes (`data.source: phantoms`)."""

    patients: Annotated[int, Field(ge=6)] = 60
    """Number of patients; half of them carry each class."""
    scans: PositiveInt = 2
    """Most scans a patient has; each has at least one."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the generator; independent of the training seed."""


MedmnistName = Literal[
    "organmnist3d",
    "nodulemnist3d",
    "fracturemnist3d",
    "adrenalmnist3d",
    "vesselmnist3d",
    "synapsemnist3d",
]


Split = Literal["train", "val", "test"]


class DataConfig(Section):
    """Where the cases come from."""

    source: Literal["phantoms", "manifest", "medmnist"] = "phantoms"
    """`phantoms` are generated; `manifest` reads `data.manifest`; `medmnist` reads `data.name`."""
    name: MedmnistName | None = None
    """The MedMNIST3D set; its file lies in `data.root`, or is downloaded where that is null."""
    size: Literal[28, 64] = 28
    """Voxels along each axis of a MedMNIST3D volume."""
    manifest: str | None = None
    """CSV with the columns image, label and optionally patient_id, case_id, site, split, mask."""
    covariates: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Further columns that the network reads beside the volume, e.g. age, sex."""
    splits: Annotated[tuple[Split, ...], Field(min_length=1)] | None = None
    """Only cases that the column `split` puts there are read, e.g. [train, val]; null: all."""
    root: str | None = None
    """Folder that the manifest's paths are relative to (by default its own), or of MedMNIST."""
    allow_outside_root: bool = False
    """Accept volumes outside `data.root` (absolute paths, `..`, links that leave it)."""
    max_quarantine: Annotated[int, Field(ge=0)] = 0
    """Number of unreadable volumes that may be left out; 0 stops and lists them."""
    nan: Literal["refuse", "fill"] = "refuse"
    """Volumes with NaN or Inf: refused, or filled with the least finite value of the volume."""
    frame: Annotated[int, Field(ge=0)] | None = None
    """Which frame of a 4D series is the volume, from 0; null refuses a series of frames."""
    assume_orientation: Orientation | None = None
    """For files that state no orientation: where their axes point to, e.g. LPS, or `nifti`."""
    prefer: Literal["none", "qform", "sform"] = "none"
    """Which orientation of a NIfTI file holds if its two contradict each other; none refuses."""
    shear: Literal["refuse", "resample"] = "refuse"
    """Volumes whose axes are not at right angles: refused, or straightened by resampling."""
    max_bytes: PositiveInt = 4 << 30
    """Most bytes that a decoded volume may take."""
    phantoms: PhantomConfig = PhantomConfig()

    @model_validator(mode="after")
    def _manifest_is_named(self) -> DataConfig:
        if self.source == "manifest" and self.manifest is None:
            raise ValueError("data.source is manifest, so data.manifest=PATH.csv is needed")
        if self.source != "manifest" and self.manifest is not None:
            raise ValueError("data.manifest is given, so data.source must be manifest")
        if self.splits is not None and len(set(self.splits)) < len(self.splits):
            raise ValueError("data.splits names a split twice")
        if self.splits is not None and self.source == "phantoms":
            raise ValueError("data.splits is given, and generated volumes have no splits")
        if self.source == "medmnist" and self.name is None:
            raise ValueError("data.source is medmnist, so data.name is needed, e.g. adrenalmnist3d")
        return self


class IntensityConfig(Section):
    """How grey values are scaled; foreground is what lies above the volume's mean."""

    name: Literal["zscore", "window", "unit", "percentiles", "distance", "none"] = "zscore"
    """z-score over the foreground, window to 0..1, minimum..maximum or percentiles to 0..1; or, of
    a shape of two values, how deep each voxel lies inside it, in voxel edges, and 0 outside."""
    low: float | None = None
    """Lower end: grey value (window, HU for CT) or percentile (percentiles, default 0.5)."""
    high: float | None = None
    """Upper end: grey value (window) or percentile (percentiles, default 99.5)."""

    @model_validator(mode="after")
    def _ends_are_sensible(self) -> IntensityConfig:
        if self.name == "window" and (self.low is None or self.high is None):
            raise ValueError("intensity window needs low and high, e.g. low: -160, high: 240")
        if self.name not in ("window", "percentiles") and not (self.low is self.high is None):
            raise ValueError(f"intensity {self.name} takes no low and high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be less than high")
        if self.name == "percentiles":
            for end in (self.low, self.high):
                if end is not None and not 0.0 <= end <= 100.0:
                    raise ValueError("percentiles lie between 0 and 100")
        return self


class PreprocessConfig(Section):
    """Deterministic steps, done once a volume and cached."""

    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = (1.0, 1.0, 1.0)
    """Voxel size in mm (x, y, z) after resampling; null keeps each volume's own."""
    size: tuple[PositiveInt, PositiveInt, PositiveInt] = (64, 64, 64)
    """Voxels (x, y, z) that the network sees."""
    fit: Literal["pad_crop", "resize"] = "pad_crop"
    """How a volume comes to `size`: centred padding and cropping, or interpolation."""
    crop: Literal["foreground", "none"] = "foreground"
    """Crop to the box around the foreground first."""
    intensity: IntensityConfig = IntensityConfig()


class AffineConfig(Section):
    """Small random rotation and scaling about the volume's centre."""

    probability: Probability = 0.3
    degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 10.0
    scale: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1


class AugmentConfig(Section):
    """Random steps on training cases; each number is a probability a case."""

    flip: Probability = 0.5
    """Mirror along each axis."""
    rotate90: Probability = 0.5
    """Quarter turns, in planes whose two axes agree in size and spacing."""
    affine: AffineConfig = AffineConfig()
    intensity: Probability = 0.3
    """Scale and shift of grey values by up to 10 %."""
    gamma: Probability = 0.2
    """Gamma of 0.7 to 1.5 on the volume's own range."""
    noise: Probability = 0.1
    """Gaussian noise, up to 0.1 standard deviations."""
    blur: Probability = 0.1
    """Gaussian blur, sigma of 0.25 to 1 voxel."""
    where: Literal["workers", "device"] = "workers"
    """Who moves volumes and changes their grey values: loading processes, each case by itself, or
    the device that trains, whole batches at once, which is meant for a GPU. Moves are the same to
    rounding; how grey values change is drawn otherwise."""
    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    """Each volume is blended with another of its batch, the share drawn from Beta(a, a); 0: off."""
    test_time: Literal["none", "flips", "symmetries"] = "none"
    """Views whose logits are averaged in validation, test and prediction: 8 flips, or with the
    turns that size and spacing allow (none where `preprocess.spacing` is null) up to 48."""
