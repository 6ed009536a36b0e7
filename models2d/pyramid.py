"""Feature pyramid over the four stages of a 2D network, and the freezing of its first stages.

Source: Lin et al. 2017, "Feature Pyramid Networks for Object Detection", arXiv 1612.03144.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from .contract import FeatureInfo, StageInfo
from .network import ZooNetwork


class PyramidLevels(nn.Module):
    """The levels P2 to P5 and a subsampled one, from the stages of a network.

    The weights start at random, also above a pretrained network: only training makes the levels
    better than the stages.

    Args:
        channels: channels of the stages, the first stage first.
        out_channels: channels of every level.

    Raises:
        ValueError: no channels.
    """

    if TYPE_CHECKING:
        # Without this, nn.Module types the call as Any.
        def __call__(self, stages: Sequence[Tensor]) -> tuple[Tensor, ...]:
            """Call ``forward``."""

    def __init__(self, channels: Sequence[int], out_channels: int = 256) -> None:
        from torchvision.ops import FeaturePyramidNetwork
        from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

        super().__init__()
        if out_channels < 1:
            msg = f"out_channels must be at least 1, got {out_channels}"
            raise ValueError(msg)
        self.out_channels = out_channels
        self.fpn: nn.Module = FeaturePyramidNetwork(
            list(channels), out_channels, LastLevelMaxPool()
        )

    def forward(self, stages: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Compute the levels.

        Args:
            stages: one ``(B, channels, h, w)`` for each stage, the largest first.

        Returns:
            One ``(B, out_channels, h, w)`` for each stage, and the last of them at every second
            position.
        """
        levels: dict[str, Tensor] = self.fpn({str(i): x for i, x in enumerate(stages)})
        return tuple(levels.values())

    def describe(self, stages: FeatureInfo) -> FeatureInfo:
        """Say what the levels declare, as part ``levels`` of a network with these stages."""
        rows, columns = stages[-1].reduction
        reductions = [*stages.reduction(), (2 * rows, 2 * columns)]
        modules = [f"levels.fpn.layer_blocks.{index}" for index in range(len(stages))]
        modules.append("levels.fpn.extra_blocks")
        pairs = zip(reductions, modules, strict=True)
        return FeatureInfo([StageInfo(self.out_channels, *pair) for pair in pairs])


class StageNetwork(nn.Module):
    """A network of the zoo, by itself or under a feature pyramid, as others build on it.

    Args:
        network: the network; weights are loaded into it before.
        levels: the pyramid; with one the network's head takes no part, and its parameters want
            no gradient.
        frozen: keep the network and the pyramid as they are: no gradients, and evaluation mode
            also in training.
        frozen_stages: 0 to 4; from 1 on the stem and that many first stages are kept so.

    Attributes:
        image_info: what the stages, or the levels, declare along rows and columns.
        vector_features: length of the vector of an image.
        frozen_parts: names of the modules that are kept as they are.

    Raises:
        ValueError: a stage that does not exist.
    """

    def __init__(
        self,
        network: ZooNetwork,
        levels: PyramidLevels | None = None,
        frozen: bool = False,
        frozen_stages: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.levels = levels
        self.image_info = _image_info(network, levels)
        self.vector_features = network.num_features
        if levels is not None:
            self.vector_features = sum(self.image_info.channels())
            _release_head(network)
        parts = tuple(f"network.{name}" for name in stem_and_stages(network, frozen_stages))
        if frozen:
            parts = ("network",) if levels is None else ("network", "levels")
        self.frozen_parts = parts
        self._keep_still()

    @property
    def has_batch_norm(self) -> bool:
        """Whether cases of a training batch influence each other through batch norm."""
        kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
        parts = [self.get_submodule(name) for name in self.frozen_parts]
        still = {module for part in parts for module in part.modules()}
        return any(isinstance(m, kinds) and m not in still for m in self.modules())

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the frozen parts, which stay in evaluation mode."""
        super().train(mode)
        self._keep_still()
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: compute the network's activations again in the backward pass."""
        self.network.set_grad_checkpointing(enable)

    def image_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the stages, or the levels, of images ``(B, in_chans, H, W)``."""
        stages = self.network.forward_stages(x)
        return stages if self.levels is None else self.levels(stages)

    def image_stages_and_vectors(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute ``image_stages`` and, last, the vectors ``(B, vector_features)`` of images.

        A vector is what the network without a classifier pools, or the means of all levels.
        """
        if self.levels is None:
            return self.network(x)
        levels = self.image_stages(x)
        return (*levels, torch.cat([level.mean((2, 3)) for level in levels], dim=1))

    def image_vectors(self, x: Tensor) -> Tensor:
        """Compute the vectors of ``image_stages_and_vectors`` without keeping all stages."""
        if self.levels is None:
            return self.network.forward_head(self.network.forward_features(x))
        return self.image_stages_and_vectors(x)[-1]

    def image_intermediates(self, x: Tensor, taken: list[int], norm: bool) -> tuple[Tensor, ...]:
        """Compute the final features, channels first, and the stages or levels ``taken``."""
        if self.levels is not None:
            levels = self.image_stages(x)
            return (levels[-1], *(levels[index] for index in taken))
        final, stages = self.network.forward_intermediates(x, taken, norm)
        # Some networks of timm put the channels of their final features last, some add to them.
        first = final.shape[1] in (self.image_info[-1].channels, self.network.num_features)
        return (final if first else final.movedim(-1, 1), *stages)

    def _keep_still(self) -> None:
        for name in self.frozen_parts:
            self.get_submodule(name).eval().requires_grad_(False)


class FeaturePyramid(StageNetwork):
    """A feature pyramid on a network of the zoo.

    Args:
        network: the network; weights are loaded into it before.
        out_channels: channels of every level.
        frozen_stages: 0 to 4; from 1 on the stem and that many first stages keep their weights
            and stay in evaluation mode.

    Attributes:
        feature_info: what the five levels declare.

    Raises:
        ValueError: no channels, or a stage that does not exist.
    """

    if TYPE_CHECKING:
        # Without this, nn.Module types the call as Any.
        def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
            """Call ``forward``."""

    def __init__(
        self, network: ZooNetwork, out_channels: int = 256, frozen_stages: int = 0
    ) -> None:
        levels = PyramidLevels(network.feature_info.channels(), out_channels)
        super().__init__(network, levels, frozen_stages=frozen_stages)
        self.feature_info = self.image_info

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the five levels of images.

        Args:
            x: ``(B, in_chans, H, W)``; left unchanged.

        Returns:
            P2 to P5, ``(B, out_channels, h, w)`` as large as the four stages, and P5 at every
            second position.

        Raises:
            ValueError: images that the network cannot take.
        """
        return self.image_stages(x)


def stem_and_stages(network: ZooNetwork, stages: int) -> tuple[str, ...]:
    """Name the modules in ``network`` that compute the stem and its first ``stages`` stages.

    Everything that stands before the last of these stages belongs to them: timm's networks hold
    their modules in the order in which they run.

    Args:
        network: the network.
        stages: how many stages; none for 0, not even the stem.

    Raises:
        ValueError: a stage that does not exist.
    """
    last = len(network.feature_info)
    if not isinstance(stages, int) or not 0 <= stages <= last:
        msg = f"can freeze 0 to {last} stages of {network.name}, not {stages!r}"
        raise ValueError(msg)
    if stages == 0:
        return ()
    names: list[str] = []
    parent = ""
    for step in network.feature_info[stages - 1].module.split("."):
        for child, _ in network.get_submodule(parent).named_children():
            if child == step:
                break
            names.append(_joined(parent, child))
        parent = _joined(parent, step)
    return (*names, parent)


def _release_head(network: ZooNetwork) -> None:
    # A parameter that wants a gradient and gets none would stop training on several devices.
    used = stem_and_stages(network, len(network.feature_info))
    for name, parameter in network.named_parameters():
        if not name.startswith(tuple(f"{part}." for part in used)):
            parameter.requires_grad_(False)


def _image_info(network: ZooNetwork, levels: PyramidLevels | None) -> FeatureInfo:
    stages = [replace(stage, module=f"network.{stage.module}") for stage in network.feature_info]
    return FeatureInfo(stages) if levels is None else levels.describe(network.feature_info)


def _joined(parent: str, child: str) -> str:
    return f"{parent}.{child}" if parent else child
