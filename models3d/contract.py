"""The contract that every 3D network of the project keeps, its own and adapted ones."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .layers import Triple


@dataclass(frozen=True)
class StageInfo:
    """What one stage declares about its output.

    Attributes:
        channels: number of channels.
        reduction: voxels of the input per voxel of the stage, along X, Y, Z.
        module: name of the module that computes the stage.
    """

    channels: int
    reduction: Triple
    module: str


class FeatureInfo:
    """Declared channels and reductions of the stages, the first stage first.

    Args:
        stages: one entry for each stage.
    """

    def __init__(self, stages: Sequence[StageInfo]) -> None:
        self._stages = tuple(stages)

    def __len__(self) -> int:
        return len(self._stages)

    def __iter__(self) -> Iterator[StageInfo]:
        return iter(self._stages)

    def __getitem__(self, index: int) -> StageInfo:
        return self._stages[index]

    def channels(self) -> list[int]:
        """Give the number of channels of each stage."""
        return [stage.channels for stage in self._stages]

    def reduction(self) -> list[Triple]:
        """Give the reduction of each stage, along X, Y, Z."""
        return [stage.reduction for stage in self._stages]


class VolumeModel(nn.Module, ABC):
    """A classifier of volumes that shows the features of all its stages.

    A subclass sets the attributes and writes the abstract methods; how features are handed out
    is written once, here. Method names are those of timm.

    Attributes:
        in_chans: number of input channels.
        num_classes: number of logits; 0 for a network without a classifier.
        num_features: number of features before the classifier.
        feature_info: what the stages declare.
        min_size: smallest volume in voxels along X, Y, Z that the network takes.
        classifier_prefix: how the names of the classifier's parameters begin; they alone depend
            on the number of classes, so weights of another task may lack or replace them.
    """

    in_chans: int
    num_classes: int
    num_features: int
    feature_info: FeatureInfo
    min_size: Triple
    classifier_prefix: str

    if TYPE_CHECKING:
        # Without this, nn.Module types the call as Any.
        def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
            """Call ``forward``."""

    @abstractmethod
    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the raw features of every stage.

        Args:
            x: ``(B, in_chans, X, Y, Z)``, no axis below ``min_size``.

        Returns:
            One ``(B, channels, X', Y', Z')`` for each stage.

        Raises:
            ValueError: a volume that the network cannot take.
        """

    @abstractmethod
    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify the features of the last stage.

        Args:
            x: what ``forward_features`` returns.
            pre_logits: give the features before the classifier instead.

        Returns:
            Logits ``(B, num_classes)``, or features ``(B, num_features)``.

        Raises:
            ValueError: the head reads more than the last stage; then only ``forward`` classifies,
                and a network of 0 classes gives the features.
        """

    @abstractmethod
    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one; 0 classes leave none.

        Raises:
            ValueError: a negative number of classes.
        """

    @abstractmethod
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: compute activations again in the backward pass."""

    @property
    def has_batch_norm(self) -> bool:
        """Whether cases of a training batch influence each other through batch norm."""
        return has_batch_norm(self)

    def normalise_stage(self, index: int, x: Tensor) -> Tensor:
        """Apply the norm that belongs to stage ``index`` (0-based); without one, give ``x``."""
        return x

    def classify_stages(self, stages: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Compute the logits from what the network knows of the volumes.

        Args:
            stages: the raw stages; a head may read more than the last one.
            x: the input ``(B, in_chans, X, Y, Z)``, for a head that looks at the foreground.

        Returns:
            Logits ``(B, num_classes)``, or the pooled features when there is no classifier.
        """
        return self.forward_head(stages[-1])

    def present_stages(self, stages: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Choose the form, raw or normed, in which ``forward`` hands out the stages."""
        return stages

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of every stage and the logits in one pass.

        Args:
            x: ``(B, in_chans, X, Y, Z)``, no axis below ``min_size``; left unchanged.

        Returns:
            ``(*stages, logits)``: one ``(B, channels, X', Y', Z')`` for each stage, and logits
            ``(B, num_classes)``, or the pooled features when there is no classifier.

        Raises:
            ValueError: a volume that the network cannot take.
        """
        stages = self.forward_stages(x)
        return (*self.present_stages(stages), self.classify_stages(stages, x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the raw features of the last stage, ``(B, channels, X', Y', Z')``."""
        return self.forward_stages(x)[-1]

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute the features of chosen stages.

        Args:
            x: ``(B, in_chans, X, Y, Z)``.
            indices: 0-based stages, negative ones from the end; a whole number n takes the last
                n stages, ``None`` all of them.
            norm: pass each taken stage through the norm that belongs to it, where it has one.

        Returns:
            The raw last stage, as ``forward_features`` gives it, and the chosen stages in the
            order of the network.

        Raises:
            ValueError: a stage that does not exist.
        """
        taken = take_indices(len(self.feature_info), indices)
        stages = self.forward_stages(x)
        chosen = [self.normalise_stage(i, stages[i]) if norm else stages[i] for i in taken]
        return stages[-1], chosen

    def check_volume(self, x: Tensor) -> None:
        """Refuse a batch that the network cannot take.

        Raises:
            ValueError: not five dimensions, a wrong number of channels, or an axis that is
                smaller than ``min_size``.
        """
        if x.dim() != 5:
            msg = f"expected a batch (B, C, X, Y, Z) of five dimensions, got {tuple(x.shape)}"
            raise ValueError(msg)
        if x.shape[1] != self.in_chans:
            msg = f"expected {self.in_chans} input channel(s), got {x.shape[1]}"
            raise ValueError(msg)
        size = tuple(x.shape[2:])
        if any(n < smallest for n, smallest in zip(size, self.min_size, strict=True)):
            msg = (
                f"a volume of {size} voxels is smaller than the minimum {self.min_size} of this "
                "network; resample or pad it, or choose a smaller stem kernel and strides"
            )
            raise ValueError(msg)


def has_batch_norm(module: nn.Module) -> bool:
    """Whether cases of a training batch influence each other through batch norm."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return any(isinstance(part, kinds) for part in module.modules())


def take_indices(count: int, indices: int | Sequence[int] | None) -> list[int]:
    """Resolve a choice of stages to sorted, distinct 0-based indices.

    Args:
        count: number of stages that exist.
        indices: as for ``VolumeModel.forward_intermediates``.

    Raises:
        ValueError: a stage that does not exist.
    """
    if indices is None:
        return list(range(count))
    if isinstance(indices, int):
        if not 1 <= indices <= count:
            msg = f"cannot take the last {indices} stages: the network has {count}"
            raise ValueError(msg)
        return list(range(count - indices, count))
    unknown = [index for index in indices if not -count <= index < count]
    if unknown:
        msg = f"no stage {unknown[0]}: indices run from 0 to {count - 1}, or -{count} to -1"
        raise ValueError(msg)
    return sorted({index % count for index in indices})
