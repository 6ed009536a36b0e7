"""Late fusion: covariates of a case join the pooled features of its volume.

Covariates, such as age and sex, come as numbers ready for a network: standardised, encoded, and
without gaps.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from .contract import FeatureInfo
from .heads import make_classifier
from .layers import Triple, init_dense
from .multi_stage import StagedNetwork, check_headless, declare_within


class FusedClassifier(nn.Module):
    """A network with a longer head, which may also read covariates.

    ``*stages, logits = model(x, covariates)``: the pooled features of the network pass a dropout
    and are joined by the covariates; then follow a linear layer, GELU and dropout for each hidden
    width, and a last linear layer. Logits come out, never probabilities.

    It keeps the contract of ``VolumeModel``, but that covariates go with the volume.

    Args:
        network: a network of the contract, of volumes, over slices or of images, built with 0
            classes, so that the last item it returns is the pooled vector.
        num_classes: number of logits; 0 gives pooled features and covariates in a row instead.
        covariates: F, the number of covariates of a case.
        hidden: widths of the hidden layers; none, a linear classifier.
        dropout: probability of dropping a pooled feature, or a hidden one, in [0, 1). Covariates
            are never dropped.

    Attributes:
        network: the network.
        head: what reads the joined vector; all of it is the classifier here.
        in_chans: number of input channels.
        num_classes: number of logits.
        num_features: pooled features and covariates together.
        num_covariates: F.
        feature_info: what the stages declare.
        min_size: smallest volume in voxels along each axis that the network takes.
        classifier_prefix: how the names of the head's parameters begin.

    Raises:
        ValueError: a network with a classifier of its own, or a number out of its range.
    """

    if TYPE_CHECKING:
        # Without this, nn.Module types the call as Any.
        def __call__(self, x: Tensor, covariates: Tensor | None = None) -> tuple[Tensor, ...]:
            """Call ``forward``."""

    classifier_prefix = "head."

    def __init__(
        self,
        network: StagedNetwork,
        num_classes: int,
        covariates: int = 0,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_headless(network, "FusedClassifier")
        _check_numbers(covariates, hidden, dropout)
        # Seen from here every network of the protocol is a module too.
        self.network = cast("nn.Module", network)
        self.in_chans = network.in_chans
        self.min_size = cast("Triple", network.min_size)
        self.feature_info: FeatureInfo = declare_within(network, "network")
        self.num_covariates = covariates
        self.num_features = network.num_features + covariates
        self.hidden = tuple(hidden)
        self.dropout = dropout
        self.drop = nn.Dropout(dropout)
        self.num_classes = num_classes
        self.head = self._make_head(num_classes)

    @property
    def has_batch_norm(self) -> bool:
        """Whether cases of a training batch influence each other through batch norm."""
        return self._staged.has_batch_norm

    def forward(self, x: Tensor, covariates: Tensor | None = None) -> tuple[Tensor, ...]:
        """Compute the features of every stage and the logits in one pass.

        Args:
            x: what the network takes; left unchanged.
            covariates: ``(B, F)``, finite; ``None`` where F is 0.

        Returns:
            ``(*stages, logits)``: the stages as the network hands them out, and logits
            ``(B, num_classes)``, or the joined vector ``(B, num_features)`` for 0 classes.

        Raises:
            ValueError: covariates that are missing, not asked for, or of another shape, or a
                volume that the network cannot take.
        """
        self._check_covariates(covariates, x.shape[0])
        *stages, pooled = self._staged(x)
        return (*stages, self._classify(pooled, covariates))

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the raw features of every stage; see ``VolumeModel.forward_stages``."""
        return self._staged.forward_stages(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute what ``forward_head`` reads; see ``VolumeModel.forward_features``."""
        return self._staged.forward_features(x)

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute the features of chosen stages; see ``VolumeModel.forward_intermediates``."""
        return self._staged.forward_intermediates(x, indices, norm)

    def forward_head(
        self, x: Tensor, covariates: Tensor | None = None, pre_logits: bool = False
    ) -> Tensor:
        """Classify what ``forward_features`` returns.

        Args:
            x: the final features.
            covariates: ``(B, F)``; ``None`` where F is 0.
            pre_logits: give the joined vector ``(B, num_features)`` instead.

        Raises:
            ValueError: covariates as of ``forward``, or a network whose head reads more than its
                last stage.
        """
        self._check_covariates(covariates, x.shape[0])
        return self._classify(self._staged.forward_head(x), covariates, pre_logits)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the whole head, hidden layers too, by a fresh one; 0 classes leave none.

        Raises:
            ValueError: a negative number of classes.
        """
        like = next(self.network.parameters())
        with torch.device(like.device):
            self.head = self._make_head(num_classes).to(like.dtype)
        self.num_classes = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute activations of the network again in the backward pass."""
        self._staged.set_grad_checkpointing(enable)

    def _make_head(self, num_classes: int) -> nn.Sequential:
        head = nn.Sequential()
        width = self.num_features
        for next_width in self.hidden if num_classes != 0 else ():
            layer = nn.Linear(width, next_width)
            init_dense(layer)
            head.extend((layer, nn.GELU(), nn.Dropout(self.dropout)))
            width = next_width
        return head.append(make_classifier(width, num_classes))

    def _classify(
        self, pooled: Tensor, covariates: Tensor | None, pre_logits: bool = False
    ) -> Tensor:
        vector: Tensor = self.drop(pooled)
        if covariates is not None:
            vector = torch.cat((vector, covariates.to(vector.dtype)), dim=1)
        if pre_logits:
            return vector
        logits: Tensor = self.head(vector)
        return logits

    def _check_covariates(self, covariates: Tensor | None, cases: int) -> None:
        wanted = self.num_covariates
        if covariates is None:
            if wanted > 0:
                msg = f"covariates are missing: the head reads {wanted} of every case"
                raise ValueError(msg)
        elif wanted == 0:
            msg = "covariates are given, but the head was built for none (covariates=0)"
            raise ValueError(msg)
        elif covariates.shape != (cases, wanted):
            msg = f"expected covariates of shape {(cases, wanted)}, got {tuple(covariates.shape)}"
            raise ValueError(msg)

    @property
    def _staged(self) -> StagedNetwork:
        return cast("StagedNetwork", self.network)


def _check_numbers(covariates: int, hidden: Sequence[int], dropout: float) -> None:
    if not isinstance(covariates, int) or covariates < 0:
        msg = f"covariates must be a whole number of at least 0, got {covariates!r}"
        raise ValueError(msg)
    if not isinstance(hidden, Sequence) or any(not isinstance(n, int) or n < 1 for n in hidden):
        msg = f"hidden takes a list of whole numbers of at least 1, got {hidden!r}"
        raise ValueError(msg)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        msg = f"dropout must be at least 0 and below 1, got {dropout}"
        raise ValueError(msg)
