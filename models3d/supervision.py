"""Deep supervision: auxiliary classifiers on chosen stages.

Source: Lee et al. 2015, "Deeply-Supervised Nets", arXiv 1409.5185.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor, nn

from .contract import VolumeModel
from .fused import FusedClassifier
from .heads import MeanHead

SupervisedOutput: TypeAlias = tuple[tuple[Tensor, ...], dict[int, Tensor], Tensor]


class DeepSupervision(nn.Module):
    """A network with further heads (norm, mean over space, linear) inside its forward pass.

    The network itself stays whole in ``model``: trained, it is saved and used without the heads.

    Args:
        model: the network; its own classifier stays the main one.
        stages: stages that get a head, counted from 1; the last one is allowed; none, no heads.
        num_classes: number of logits of each head, at least 1.

    Raises:
        ValueError: a stage that does not exist or is named twice, or no classes.
    """

    if TYPE_CHECKING:
        # Without this, nn.Module types the call as Any.
        def __call__(self, x: Tensor, covariates: Tensor | None = None) -> SupervisedOutput:
            """Call ``forward``."""

    def __init__(
        self, model: VolumeModel | FusedClassifier, stages: Sequence[int], num_classes: int
    ) -> None:
        super().__init__()
        channels = model.feature_info.channels()
        _check_stages(stages, len(channels))
        if num_classes < 1:
            msg = f"deep supervision needs at least 1 class, got {num_classes}"
            raise ValueError(msg)
        self.model = model
        self.stages = tuple(sorted(stages))
        self.heads = nn.ModuleDict(
            {str(stage): MeanHead(channels[stage - 1], num_classes) for stage in self.stages}
        )

    def forward(self, x: Tensor, covariates: Tensor | None = None) -> SupervisedOutput:
        """Compute stages, auxiliary logits and main logits in one pass.

        Args:
            x: ``(B, in_chans, X, Y, Z)``; left unchanged.
            covariates: ``(B, F)`` for a ``FusedClassifier`` that reads some; only its main
                classifier does.

        Returns:
            ``(stages, {stage: logits}, logits)``: stages and main logits as the network gives
            them, and auxiliary logits ``(B, num_classes)`` by stage, counted from 1.

        Raises:
            ValueError: covariates for a network that reads none, or as the network refuses them.
        """
        *features, logits = self._run(x, covariates)
        auxiliary = {stage: self.heads[str(stage)](features[stage - 1]) for stage in self.stages}
        return tuple(features), auxiliary, logits

    def _run(self, x: Tensor, covariates: Tensor | None) -> tuple[Tensor, ...]:
        if isinstance(self.model, FusedClassifier):
            return self.model(x, covariates)
        if covariates is not None:
            msg = "covariates are given, but the network reads none: build a FusedClassifier"
            raise ValueError(msg)
        return self.model(x)


def _check_stages(stages: Sequence[int], count: int) -> None:
    for stage in stages:
        if not 1 <= stage <= count:
            msg = f"no stage {stage} to supervise: stages run from 1 to {count}"
            raise ValueError(msg)
    if len(set(stages)) != len(stages):
        msg = f"stages to supervise are named twice: {list(stages)}"
        raise ValueError(msg)
