"""Networks of other libraries behind the contract of this project."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .checkpointing import checkpointed
from .contract import FeatureInfo, StageInfo, VolumeModel
from .heads import fresh_classifier
from .layers import Triple


@dataclass(frozen=True)
class Layout:
    """Where the parts of an adapted network are, by the names of its modules.

    Attributes:
        stem: modules before the first stage, in the order they run.
        stages: modules of each stage; the last of them declares the stage.
        head: modules between the last stage and the classifier.
        classifier: the linear layer that gives the logits.
        last_norm: norm of the head, which belongs to the last stage; empty for none.
        slices_first: whether the network wants axial slices, our Z, on its first spatial axis.
    """

    stem: tuple[str, ...]
    stages: tuple[tuple[str, ...], ...]
    head: tuple[str, ...]
    classifier: str
    last_norm: str = ""
    slices_first: bool = False


class AdaptedNetwork(VolumeModel):
    """A network of another library behind the contract of this project.

    It takes over the modules of the original, which must not be used any more, under their
    names: weights saved from the original load here as they are, ours load there, and both give
    the same bits. The first classifier starts as the original's does; one that
    ``reset_classifier`` makes starts as those of the project's own networks.

    Args:
        original: the network, with at least one class.
        layout: where its parts are.
        channels: channels of each stage.
        first_reduction: reduction of the first stage along X, Y, Z; each later stage doubles it.
        in_chans: number of input channels.
        num_classes: number of logits; 0 gives the pooled features in their place.
        smallest: smallest extent in voxels, the same along all axes.

    Raises:
        ValueError: a negative number of classes.
    """

    def __init__(
        self,
        original: nn.Module,
        layout: Layout,
        channels: Sequence[int],
        first_reduction: Triple,
        in_chans: int,
        num_classes: int,
        smallest: int = 1,
    ) -> None:
        super().__init__()
        for name, child in original.named_children():
            self.add_module(name, child)
        self.layout = layout
        self.grad_checkpointing = False
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.num_features = channels[-1]
        self.min_size = (smallest, smallest, smallest)
        self.classifier_prefix = f"{layout.classifier}."
        self.feature_info = _feature_info(layout, channels, first_reduction)
        if num_classes < 1:
            self.reset_classifier(num_classes)

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the raw features of every stage; see ``VolumeModel.forward_stages``."""
        self.check_volume(x)
        x = self._run(self.layout.stem, self._to_original(x))
        stages = []
        for names in self.layout.stages:
            x = self._run(names, x)
            stages.append(self._from_original(x))
        return tuple(stages)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify the last stage; see ``VolumeModel.forward_head``."""
        x = self._to_original(x)
        for name in self.layout.head:
            x = self.get_submodule(name)(x)
        pooled = x.flatten(1)
        if pre_logits:
            return pooled
        logits: Tensor = self.get_submodule(self.layout.classifier)(pooled)
        return logits

    def normalise_stage(self, index: int, x: Tensor) -> Tensor:
        """Apply the norm of the head to the last stage, where the head has one."""
        if self.layout.last_norm and index == len(self.layout.stages) - 1:
            x = self.get_submodule(self.layout.last_norm)(x)
        return x

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier; see ``VolumeModel.reset_classifier``."""
        fresh = fresh_classifier(self.num_features, num_classes, next(self.parameters()))
        self.set_submodule(self.layout.classifier, fresh)
        self.num_classes = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the activations of the stem and each stage again in the backward pass."""
        self.grad_checkpointing = enable

    def _run(self, names: tuple[str, ...], x: Tensor) -> Tensor:
        modules = [self.get_submodule(name) for name in names]
        if self.grad_checkpointing and torch.is_grad_enabled():
            return checkpointed(modules, x)
        for module in modules:
            x = module(x)
        return x

    def _to_original(self, x: Tensor) -> Tensor:
        return x.movedim(-1, 2) if self.layout.slices_first else x

    def _from_original(self, x: Tensor) -> Tensor:
        return x.movedim(2, -1) if self.layout.slices_first else x


def _feature_info(layout: Layout, channels: Sequence[int], first: Triple) -> FeatureInfo:
    infos = []
    for index, (dim, names) in enumerate(zip(channels, layout.stages, strict=True)):
        x, y, z = (reduction * 2**index for reduction in first)
        infos.append(StageInfo(dim, (x, y, z), names[-1]))
    return FeatureInfo(infos)
