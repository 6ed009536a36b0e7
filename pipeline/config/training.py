"""How networks are trained, pretrained and cross-validated."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .section import PerAxis, PositiveFloat, PositiveInt, Probability, Section


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
    keep: Literal["best", "last"] = "best"
    """Whose averaged weights are kept: of the epoch with the best `monitor`, or of the last one.
    Where few cases validate, the best epoch is one that had luck; `last` lets none be chosen, and
    never stops early."""
    checkpoint_seconds: PositiveFloat = 60.0
    """Most seconds between two checkpoints."""
    seeds: PositiveInt = 1
    """Networks a fold, alike but for the seed; their mean probability is the fold's answer."""
    freeze: tuple[Annotated[str, Field(pattern=r"^(stem|stage[1-9])$")], ...] = ()
    """Parts that keep the weights they start with: `stem`, `stage1` and so on."""
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Factor of the learning rate from each part to the one before it, from the head down to the
    stem; 1 teaches all alike."""
    freeze_norm: bool = False
    """Keep the running statistics, scales and shifts of batch norm as they start."""

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


class PretrainConfig(Section):
    """Masked-volume pretraining (`volclass pretrain`): blocks are hidden and reconstructed."""

    hidden: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.6
    """Part of the blocks that is hidden."""
    block: PerAxis = 4
    """Extent of a block in voxels."""
    scope: Literal["fold", "all"] = "fold"
    """`fold`: one network for each fold, from its training part alone; `all`: one network from
    all cases, for runs on other patients."""


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
