"""The network: its body, its head, and where its weights start."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator

from .limits import Reach, ReachPerAxis, Width, within_limits
from .paths import NAMED_STARTS
from .section import PositiveInt, Section


class StemConfig(Section):
    """First convolution of the network; null is the network's own."""

    kernel: ReachPerAxis | None = None
    stride: ReachPerAxis | None = None
    kind: Literal["conv", "pyramid"] | None = None
    """`pyramid` adds a convolution over average pools of the volume; PoolFormer only."""
    windows: Annotated[tuple[Reach, ...], Field(max_length=64)] | None = None
    """Odd extents in voxels of these pools; null is 3, 5, 9, 13."""

    @model_validator(mode="after")
    def _windows_belong_to_a_pyramid(self) -> StemConfig:
        if self.windows is not None and self.kind != "pyramid":
            raise ValueError("windows have no effect unless kind is pyramid")
        return self


class HeadConfig(Section):
    """What the classifier reads; of any network, 2D and 3D."""

    stages: Literal["last", "all"] = "last"
    """`all` pools the features of every stage."""
    pool: Literal["mean", "stats"] = "mean"
    """`stats` is mean, maximum and standard deviation."""
    foreground: bool = False
    """Pool over the voxels above the volume's mean only; with `all` or `stats`."""
    hidden: Annotated[tuple[Width, ...], Field(max_length=64)] = ()
    """Widths of hidden layers between the pooled features and the logits."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Of the pooled features and of the hidden layers."""

    @property
    def reads_stages(self) -> bool:
        """Whether it is more than the network's own head on its last stage."""
        return self.stages == "all" or self.pool == "stats"

    @model_validator(mode="after")
    def _foreground_has_an_effect(self) -> HeadConfig:
        if self.foreground and not self.reads_stages:
            raise ValueError("foreground has no effect unless stages is all or pool is stats")
        return self


class MaskConfig(Section):
    """The structure's mask as an auxiliary target: a U-Net decoder draws it from the stages."""

    weight: Annotated[float, Field(ge=0.0)] = 0.0
    """Its part in the loss, main + weight x (Dice + cross-entropy); 0 reads no masks."""


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
    count: Width | None = None
    """That many slices, evenly spread along each axis; null takes all."""
    neighbours: Annotated[int, Field(ge=0, le=1_024)] = 0
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
    init: Annotated[str, Field(min_length=1)] = "random"
    """Where the weights start: random unless `weights` names a file; `timm` downloads published 2D
    weights, inflated where the network is 3D; `inflate` makes 3D ones of the 2D file `weights`;
    anything else is the folder of a `volclass pretrain` run."""
    weights: str | None = None
    """A file to start from, `.safetensors` or, for 2D weights, `.pth`; names and shapes must fit,
    the classifier's may not."""
    any_intensity: bool = False
    """Give 2D pretrained weights other grey values than the 0..1 that they are normalised from."""
    stem: StemConfig = StemConfig()
    head: HeadConfig = HeadConfig()
    masks: MaskConfig = MaskConfig()
    strides: Annotated[tuple[ReachPerAxis, ...], Field(max_length=64)] | None = None
    """Stride of each downsampling between stages; null is the network's own."""
    options: Annotated[dict[str, JsonValue], AfterValidator(within_limits)] = Field(
        default_factory=dict
    )
    """Any other option of the network."""
    slices: SlicesConfig = SlicesConfig()
    inflate: InflateConfig = InflateConfig()
    supervision: SupervisionConfig = SupervisionConfig()

    @property
    def starts_random(self) -> bool:
        """Whether no weights are loaded."""
        return self.init == "random" and self.weights is None

    @property
    def pretrained_run(self) -> str | None:
        """The folder of the pretraining run that the network starts from, if it does."""
        return None if self.init in NAMED_STARTS else self.init

    @model_validator(mode="after")
    def _start_is_clear(self) -> ModelConfig:
        if self.pretrained_run is not None and self.weights is not None:
            raise ValueError(
                "model.weights names a file, and model.init a pretraining run: leave out one"
            )
        if self.init == "inflate" and self.weights is None:
            raise ValueError("model.init is inflate, so model.weights=PATH of 2D weights is needed")
        if self.init == "timm" and self.weights is not None:
            raise ValueError(
                "model.weights names a file, and model.init=timm downloads others: leave out one"
            )
        if self.slices.frozen and (self.head.reads_stages or self.masks.weight > 0):
            raise ValueError(
                "frozen slice features have no stages: set model.head.stages=last, "
                "model.head.pool=mean and model.masks.weight=0"
            )
        if self.slices.frozen and self.supervision.stages and self.supervision.weight > 0:
            raise ValueError(
                "frozen slice features have no stages to supervise: set model.supervision.stages=[]"
            )
        return self
