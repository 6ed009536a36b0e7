"""The typed, frozen configuration of a run: every key, its type, its default and its meaning.

Files and overrides are read by `pipeline.config_file`; this module only says what is valid.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
PerAxis = PositiveInt | tuple[PositiveInt, PositiveInt, PositiveInt]

#: Keys that hold paths: relative to the config file, or to the working folder in an override.
PATH_KEYS = (
    ("data", "manifest"),
    ("data", "root"),
    ("model", "weights"),
    ("system", "cache_dir"),
)


class Section(BaseModel):
    """A part of the configuration: immutable, no unknown keys, no silent type conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


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


class DataConfig(Section):
    """Where the cases come from."""

    source: Literal["phantoms", "manifest", "medmnist"] = "phantoms"
    """`phantoms` are generated; `manifest` reads `data.manifest`; `medmnist` reads `data.name`."""
    name: MedmnistName | None = None
    """The MedMNIST3D set; its file lies in `data.root`, or is downloaded where that is null."""
    size: Literal[28, 64] = 28
    """Voxels along each axis of a MedMNIST3D volume."""
    manifest: str | None = None
    """CSV with the columns image, label and optionally patient_id, case_id, site, split."""
    root: str | None = None
    """Folder that the manifest's paths are relative to (by default its own), or of MedMNIST."""
    allow_outside_root: bool = False
    """Accept volumes outside `data.root` (absolute paths, `..`, links that leave it)."""
    max_quarantine: Annotated[int, Field(ge=0)] = 0
    """Number of unreadable volumes that may be left out; 0 stops and lists them."""
    phantoms: PhantomConfig = PhantomConfig()

    @model_validator(mode="after")
    def _manifest_is_named(self) -> DataConfig:
        if self.source == "manifest" and self.manifest is None:
            raise ValueError("data.source is manifest, so data.manifest=PATH.csv is needed")
        if self.source != "manifest" and self.manifest is not None:
            raise ValueError("data.manifest is given, so data.source must be manifest")
        if self.source == "medmnist" and self.name is None:
            raise ValueError("data.source is medmnist, so data.name is needed, e.g. adrenalmnist3d")
        return self


class IntensityConfig(Section):
    """How grey values are scaled; foreground is what lies above the volume's mean."""

    name: Literal["zscore", "window", "unit", "percentiles", "none"] = "zscore"
    """z-score over the foreground, window to 0..1, minimum..maximum or percentiles to 0..1."""
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
    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    """Each volume is blended with another of its batch, the share drawn from Beta(a, a); 0: off."""
    test_time: Literal["none", "flips", "symmetries"] = "none"
    """Views whose logits are averaged in validation, test and prediction: 8 flips, or with the
    turns that size and spacing allow (none where `preprocess.spacing` is null) up to 48."""


class StemConfig(Section):
    """First convolution of the network; null is the network's own."""

    kernel: PerAxis | None = None
    stride: PerAxis | None = None


class SupervisionConfig(Section):
    """Deep supervision: auxiliary heads on stages, counted from 1."""

    stages: tuple[PositiveInt, ...] = ()
    weight: Annotated[float, Field(ge=0.0)] = 0.3
    """Each head's part in the loss: main + weight x head; 0 builds no head."""


def is_volume_network(name: str | None) -> bool:
    """Whether a name is that of a 3D network; by how it begins, so that no library is needed."""
    return name is not None and name.startswith(("poolformer3d_", "monai_", "torchvision_r3d"))


class SlicesConfig(Section):
    """How a 2D network reads a volume; for the 2D names of `volclass models` alone."""

    axis: Literal["axial", "coronal", "sagittal", "all"] = "axial"
    """Slices along Z, Y or X, or along all three."""
    count: PositiveInt | None = None
    """That many slices, evenly spread along each axis; null takes all."""
    neighbours: Annotated[int, Field(ge=0)] = 0
    """2.5D: so many slices on each side are further channels."""
    pool: Literal["mean", "max", "attention", "gru", "transformer"] = "attention"
    """How slices become one answer; the last two know their order."""
    frozen: bool = False
    """Keep the 2D network as it starts: its slice features are computed once, and the pool and the
    classifier alone are trained on them. Training cases are then not augmented."""
    freeze_stages: Annotated[int, Field(ge=0, le=4)] = 0
    """Keep the stem and so many stages as they start."""
    pyramid: bool = False
    """Put a feature pyramid of five levels on the four stages."""


class InflateConfig(Section):
    """How 2D weights become 3D ones (`model.init` inflate, or timm with a 3D network)."""

    mode: Literal["centre", "mean"] = "centre"
    """Each 2D kernel in the middle of the 3D one, or spread evenly along the axis."""
    axis: Literal["x", "y", "z"] = "z"
    """The axis that the 2D network did not know."""


class ModelConfig(Section):
    """The network."""

    name: str = "poolformer3d_t"
    """A name that `volclass models` lists, or any other of timm that has four stages."""
    mixer: Literal["pool", "identity", "conv"] | None = None
    """Token mixer; null is the network's own."""
    drop_path: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """Largest rate of stochastic depth; null is the network's own."""
    init: Literal["random", "timm", "inflate"] = "random"
    """Where the weights start: random unless `weights` names a file; `timm` downloads published 2D
    weights, inflated where the network is 3D; `inflate` makes 3D ones of the 2D file `weights`."""
    weights: str | None = None
    """A file to start from, `.safetensors` or, for 2D weights, `.pth`; names and shapes must fit,
    the classifier's may not."""
    any_intensity: bool = False
    """Give 2D pretrained weights other grey values than the 0..1 that they are normalised from."""
    stem: StemConfig = StemConfig()
    strides: tuple[PerAxis, ...] | None = None
    """Stride of each downsampling between stages; null is the network's own."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Any other option of the network."""
    slices: SlicesConfig = SlicesConfig()
    inflate: InflateConfig = InflateConfig()
    supervision: SupervisionConfig = SupervisionConfig()

    @model_validator(mode="after")
    def _start_is_clear(self) -> ModelConfig:
        if self.init == "inflate" and self.weights is None:
            raise ValueError("model.init is inflate, so model.weights=PATH of 2D weights is needed")
        if self.init == "timm" and self.weights is not None:
            raise ValueError(
                "model.weights names a file, and model.init=timm downloads others: leave out one"
            )
        if self.slices.frozen and self.supervision.stages and self.supervision.weight > 0:
            raise ValueError(
                "frozen slice features have no stages to supervise: set model.supervision.stages=[]"
            )
        return self


class TrainConfig(Section):
    """Optimisation."""

    epochs: PositiveInt = 40
    batch_size: PositiveInt = 16
    """Cases a forward pass, over all processes together."""
    accumulate: PositiveInt = 1
    """Forward passes an optimizer step."""
    lr: PositiveFloat = 1.0e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.05
    """On matrices and kernels only; not on norms, biases and scales."""
    warmup: Probability = 0.1
    """Part of all steps in which the learning rate rises; a cosine to 0 follows."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """`focal` weighs down cases that are predicted well already."""
    focal_gamma: Annotated[float, Field(ge=0.0)] = 2.0
    """Exponent of the focal loss; 0 makes it cross-entropy."""
    smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Label smoothing."""
    class_weights: Literal["balanced", "none"] = "balanced"
    """Weight of a class in the loss: inverse to its frequency, or one."""
    sampler: Literal["shuffle", "balanced"] = "shuffle"
    """`balanced` draws every class equally often."""
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Decay of the averaged weights that are validated and kept; 0 turns it off."""
    clip: Annotated[float, Field(ge=0.0)] = 1.0
    """Largest gradient norm; 0 turns clipping off."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    patience: PositiveInt = 10
    """Epochs without a better `monitor` before training stops."""
    monitor: Literal["auroc", "loss"] = "auroc"
    """Validation figure that chooses the checkpoint."""
    checkpoint_seconds: PositiveFloat = 60.0
    """Most seconds between two checkpoints."""
    seeds: PositiveInt = 1
    """Networks a fold, alike but for the seed; their mean probability is the fold's answer."""

    @model_validator(mode="after")
    def _balance_once(self) -> TrainConfig:
        if self.sampler == "balanced" and self.class_weights == "balanced":
            raise ValueError(
                "classes would be balanced twice: set train.class_weights=none "
                "or train.sampler=shuffle"
            )
        if self.loss == "focal" and self.smoothing > 0:
            raise ValueError("the focal loss knows no label smoothing: set train.smoothing=0")
        return self


class CvConfig(Section):
    """Cross-validation."""

    scheme: Literal["kfold", "official"] = "kfold"
    """`kfold`: stratified, grouped by patient; `official`: the manifest's split column."""
    folds: Annotated[int, Field(ge=2)] = 5
    validation: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.15
    """Part of the training patients kept for choosing the checkpoint."""
    refit: bool = False
    """After the folds, train one more network on all cases, for as many epochs as the folds'
    best networks took on average. The folds alone say how good it is."""


class SystemConfig(Section):
    """The machine; only `threads` and `device` can change results, and only in rounding."""

    workers: Annotated[int, Field(ge=0)] = 2
    """Processes that load and augment; 0 does it in the main process, with the same bits."""
    threads: PositiveInt | Literal["auto"] = "auto"
    """Threads for the network; `auto` is torch's own choice."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    cache: Literal["disk", "ram"] = "disk"
    """Where preprocessed volumes are kept; `ram` leaves none of them on disk."""
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
    cv: CvConfig = CvConfig()
    system: SystemConfig = SystemConfig()
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _frozen_features_are_seen_from_one_side(self) -> Config:
        if self.model.slices.frozen and self.augment.test_time != "none":
            raise ValueError(
                "frozen slice features are computed once: set augment.test_time=none, "
                "or model.slices.frozen=false"
            )
        return self
