"""The multi-stage head around any network that shows its stages."""

from collections.abc import Iterator, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .contract import FeatureInfo, StageInfo, VolumeModel, has_batch_norm
from .layers import NormName, Triple
from .stage_head import PoolingName, StageHead, StagesName, channels_read


class DeclaredStage(Protocol):
    """What a stage declares; reductions are along three axes, or two for images."""

    @property
    def channels(self) -> int:
        """Number of channels."""

    @property
    def reduction(self) -> tuple[int, ...]:
        """Voxels of the input per voxel of the stage, along each axis."""

    @property
    def module(self) -> str:
        """Name of the module that computes the stage."""


class DeclaredStages(Protocol):
    """What all stages declare, as ``FeatureInfo`` does."""

    def __iter__(self) -> Iterator[DeclaredStage]:
        """Give one entry for each stage, the first stage first."""


class StagedNetwork(Protocol):
    """What a further head needs of a network, beside its being a module.

    Every ``VolumeModel`` has it, and so have the networks of images and the classifiers over
    slices of the package for 2D networks, which is not imported here.
    """

    @property
    def in_chans(self) -> int:
        """Number of input channels."""

    @property
    def num_classes(self) -> int:
        """Number of logits."""

    @property
    def num_features(self) -> int:
        """Number of features before the classifier."""

    @property
    def feature_info(self) -> DeclaredStages:
        """What the stages declare."""

    @property
    def min_size(self) -> tuple[int, ...]:
        """Smallest input along each axis."""

    @property
    def has_batch_norm(self) -> bool:
        """Whether cases of a training batch influence each other."""

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Give all stages, then the logits, or the pooled features when there are 0 classes."""

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the raw features of every stage."""

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify what ``forward_features`` returns."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute what ``forward_head`` reads."""

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute the final features and those of chosen stages."""

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory."""


class MultiStage(VolumeModel):
    """A network whose stages are classified by a ``StageHead`` in place of its own head.

    It is the head that ``PoolFormer3d`` has as an option, for any network of the contract, of
    volumes, over slices or of images: the stages handed out are the network's, the logits its own.

    The network's own head takes no part: what only it needs, such as a last norm or a pool over
    slices, would get no gradient, and training on several processes fails on that. So these
    parameters want no gradient; ``unused`` names them. Whoever makes all parameters want one later
    has to leave these out.

    Args:
        network: the network, built with 0 classes; its weights may be loaded before or after.
        num_classes: number of logits; 0 gives the pooled features in their place.
        stages: ``all``, or ``last`` for its last stage alone.
        pool: ``mean``, or ``stats`` for mean, maximum and standard deviation of each channel.
        foreground: pool over the voxels above the volume's own mean only.
        norm: kind of norm of the maps before they are pooled.
        dropout: probability of dropping a pooled feature, in [0, 1).

    Attributes:
        network: the network.
        head: the head.
        unused: names of the parameters of the network that no gradient reaches through the stages.

    Raises:
        ValueError: a network with a classifier of its own, a foreground for maps of all three
            axes, which have no place for it, or an option out of its range.
    """

    classifier_prefix = "head.fc."

    def __init__(
        self,
        network: StagedNetwork,
        num_classes: int,
        stages: StagesName = "all",
        pool: PoolingName = "stats",
        foreground: bool = False,
        norm: NormName = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_headless(network, "MultiStage")
        _check_dropout(dropout)
        if foreground and getattr(getattr(network, "slicing", None), "axis", None) == "all":
            msg = (
                "slices along all three axes have no common grid, so no foreground: choose "
                "foreground=False, or slices along one axis"
            )
            raise ValueError(msg)
        # Seen from here every network of the protocol is a module too.
        self.network = cast("nn.Module", network)
        self.in_chans = network.in_chans
        self.num_classes = num_classes
        self.min_size = cast("Triple", network.min_size)
        self.feature_info = declare_within(network, "network")
        self.head = StageHead(
            channels_read(self.feature_info.channels(), stages),
            num_classes,
            norm,
            pool=pool,
            foreground=foreground,
            dropout=dropout,
        )
        self.num_features = self.head.num_features
        self.unused = find_unused(network)
        for name in self.unused:
            self.get_parameter(f"network.{name}").requires_grad_(False)

    @property
    def has_batch_norm(self) -> bool:
        """Whether cases of a training batch influence each other through batch norm."""
        return self._staged.has_batch_norm or has_batch_norm(self.head)

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the raw features of every stage; see ``VolumeModel.forward_stages``."""
        return self._staged.forward_stages(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify the last stage, if that is all the head reads; see ``VolumeModel``."""
        return self.head.classify_last(x, pre_logits)

    def classify_stages(self, stages: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Classify what the head reads; see ``VolumeModel.classify_stages``."""
        return self.head.classify(stages, x)

    def present_stages(self, stages: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Hand out the stages as the network would, raw or normed."""
        network = self.network
        return network.present_stages(stages) if isinstance(network, VolumeModel) else stages

    def normalise_stage(self, index: int, x: Tensor) -> Tensor:
        """Apply the norm that the head has for stage ``index``, where it reads that stage."""
        return self.head.normalise_stage(len(self.feature_info) - index, x)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier; see ``VolumeModel.reset_classifier``."""
        self.head.reset(num_classes)
        self.num_classes = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute activations of the network again in the backward pass."""
        self._staged.set_grad_checkpointing(enable)

    def check_volume(self, x: Tensor) -> None:
        """Refuse a batch that the network cannot take, as its own forward pass does."""
        check = "check_images" if hasattr(self.network, "check_images") else "check_volume"
        getattr(self.network, check)(x)

    @property
    def _staged(self) -> StagedNetwork:
        return cast("StagedNetwork", self.network)


def find_unused(network: StagedNetwork) -> tuple[str, ...]:
    """Name the parameters that no stage depends on, by running the network without values."""
    module = cast("nn.Module", network)
    parameters = {
        name: torch.empty_like(parameter, device="meta").requires_grad_()
        for name, parameter in module.named_parameters()
    }
    buffers = {
        name: torch.empty_like(buffer, device="meta") for name, buffer in module.named_buffers()
    }
    x = torch.empty(2, network.in_chans, *network.min_size, device="meta")
    with torch.enable_grad():
        *stages, _ = functional_call(module, parameters | buffers, (x,))
    used = _leaves_of(stages)
    return tuple(name for name, parameter in parameters.items() if id(parameter) not in used)


def _leaves_of(values: Sequence[Tensor]) -> set[int]:
    """Give the ids of the parameters that values depend on; for values without a graph, none."""
    # By walking the graph and not by a backward pass, which with checkpointing would run the
    # network again, on its real parameters.
    found = set()
    waiting = [value.grad_fn for value in values]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        found.add(id(getattr(node, "variable", None)))
        fresh = {following for following, _ in node.next_functions} - seen
        seen |= fresh
        waiting += fresh
    return found


def declare_within(network: StagedNetwork, name: str) -> FeatureInfo:
    """Give what the stages of a network declare, as seen from what holds it as ``name``."""
    return FeatureInfo(
        [
            StageInfo(stage.channels, cast("Triple", stage.reduction), f"{name}.{stage.module}")
            for stage in network.feature_info
        ]
    )


def check_headless(network: StagedNetwork, user: str) -> None:
    """Refuse a network with a classifier of its own.

    Raises:
        ValueError: it has classes.
    """
    if network.num_classes != 0:
        msg = (
            f"{user} brings a classifier of its own, but the network has one for "
            f"{network.num_classes} classes: build it with num_classes=0, or reset_classifier(0)"
        )
        raise ValueError(msg)


def _check_dropout(dropout: float) -> None:
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        msg = f"dropout must be at least 0 and below 1, got {dropout}"
        raise ValueError(msg)
