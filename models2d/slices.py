"""A classifier of volumes that sees them slice by slice, through a 2D network."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from .answers import SliceAnswer
from .contract import take_indices
from .network import ZooNetwork
from .pooling import PooledSlices, PoolName, make_classifier, make_pool
from .pyramid import PyramidLevels, StageNetwork
from .slice_checks import check_network, check_size
from .slicing import (
    Axis,
    Plane,
    Slicing,
    Triple,
    VolumeFeatureInfo,
    VolumeStage,
    in_pieces,
    volume_size,
)

__all__ = ["SliceAnswer", "SliceClassifier"]

SlicePass: TypeAlias = Callable[[Tensor], tuple[Tensor, ...]]


class SliceClassifier(StageNetwork):
    """A 2D network over the slices of a volume, a pool over slices, and a linear classifier.

    It looks as the 3D networks do: volumes go in, the maps of all stages come out with the slices
    back on their axis. With axis ``all`` the maps are ``(B, C, N, 1, 1)``: all positions of the
    sagittal, then the coronal, then the axial slices. It also takes what ``embed`` gives of a
    volume in place of the volume, so that a frozen network has to see each volume only once.

    The vector of a slice is what the network pools of it, or with ``pyramid`` the means of the
    five levels in a row. Randomness is that of the network, from torch's global state.

    Args:
        network: a 2D network without a classifier, its weights loaded, for
            ``2 * neighbours + 1`` channels.
        num_classes: number of logits; 0 gives the pooled features in their place.
        axis: the plane of the slices, or ``all`` for the three planes.
        count: slices along each axis, evenly spread; ``None`` takes all.
        neighbours: slices on each side that go along as channels.
        pool: how slices become one vector: ``mean``, ``max``, ``attention``, or, over the ordered
            slices, ``gru`` or ``transformer``.
        frozen: keep the network as it is, and the pyramid too, though its weights are random: no
            gradients, and evaluation mode also in training.
        freeze_stages: 0 to 4; from 1 on the stem and that many first stages are kept so.
        pyramid: hand out the five levels of a feature pyramid in place of the four stages.

    Attributes:
        in_chans: 1, the channels of a volume.
        num_classes: number of logits.
        num_features: length of the pooled vector before the classifier.
        vector_features: length of the vector of a slice, as ``embed`` gives it.
        feature_info: what the stages declare; see ``Slicing.reduction``.
        min_size: smallest volume in voxels along X, Y, Z.
        classifier_prefix: how the names of the classifier's parameters begin.
        chunk: most slices that pass the network at once where no gradient is wanted.

    Raises:
        ValueError: a choice that does not exist, or a network with a classifier or for another
            number of channels.
    """

    if TYPE_CHECKING:
        # Without this, nn.Module types the call as Any.
        def __call__(self, x: Tensor, size: Triple | None = None) -> tuple[Tensor, ...]:
            """Call ``forward``."""

    in_chans = 1
    classifier_prefix = "fc."
    chunk = 64

    def __init__(
        self,
        network: ZooNetwork,
        num_classes: int,
        *,
        axis: Axis = "axial",
        count: int | None = None,
        neighbours: int = 0,
        pool: PoolName = "attention",
        frozen: bool = False,
        freeze_stages: int = 0,
        pyramid: bool = False,
    ) -> None:
        slicing = Slicing(axis, count, neighbours)
        check_network(network, slicing)
        levels = PyramidLevels(network.feature_info.channels()) if pyramid else None
        super().__init__(network, levels, frozen, freeze_stages)
        self.frozen = frozen
        self.slicing = slicing
        self.feature_info = VolumeFeatureInfo(
            VolumeStage(stage.channels, slicing.reduction(stage.reduction), stage.module)
            for stage in self.image_info
        )
        self.min_size = slicing.min_size(network.min_size)
        self.pool = make_pool(pool, self.vector_features, len(slicing.planes))
        self.num_features = self.pool.num_features
        self.fc = make_classifier(self.num_features, num_classes)
        self.num_classes = num_classes

    def slice_names(self, size: Triple) -> list[tuple[Plane, int]]:
        """Give the plane of each slice and its index in a volume; see ``Slicing.names``."""
        return self.slicing.names(size)

    def forward(self, x: Tensor, size: Triple | None = None) -> tuple[Tensor, ...]:
        """Compute the maps of every stage and the logits, or from vectors the logits alone.

        Args:
            x: volumes ``(B, 1, X, Y, Z)``, no axis below ``min_size``, or the vectors of their
                slices ``(B, S, D)`` as ``embed`` gives them; left unchanged.
            size: voxels along X, Y, Z of the volumes that vectors come from; only the ordered
                pools over all three axes without a ``count`` need it; volumes show it themselves.

        Returns:
            ``(*stages, logits)``: one ``(B, channels, X', Y', Z')`` for each stage, none for
            vectors, and logits ``(B, num_classes)``, or the pooled features when there is no
            classifier.

        Raises:
            ValueError: volumes or vectors that the network cannot take.
        """
        stages, pooled = self._read(x, size)
        return (*stages, self._classify(pooled.features))

    def answer(self, x: Tensor, size: Triple | None = None) -> SliceAnswer:
        """Compute what ``forward`` does, and what each slice says; arguments as there."""
        stages, pooled = self._read(x, size)
        logits = self._classify(pooled.features)
        return SliceAnswer(stages, logits, self._classify(pooled.states), pooled.weights)

    def embed(self, x: Tensor) -> Tensor:
        """Compute the vector of every slice, without keeping the maps of the stages.

        Args:
            x: ``(B, 1, X, Y, Z)``.

        Returns:
            ``(B, S, vector_features)``, in the order of ``slice_names``; without a gradient when
            the network is frozen.

        Raises:
            ValueError: a volume that the network cannot take.
        """
        passed = self._pass(x, lambda z: (self.image_vectors(z),))
        return _join([vectors for (vectors,) in passed], x.shape[0])

    def stage_vectors(self, x: Tensor) -> list[Tensor]:
        """Compute the mean over the pixels of every slice, for every stage.

        Args:
            x: ``(B, 1, X, Y, Z)``.

        Returns:
            One ``(B, S, channels)`` for each stage, in the order of ``slice_names``, in single
            precision at least.

        Raises:
            ValueError: a volume that the network cannot take.
        """

        def means(slices: Tensor) -> tuple[Tensor, ...]:
            # Under autocast the maps are in half precision, which is too coarse for their means.
            return tuple(
                stage.mean((2, 3), dtype=torch.promote_types(stage.dtype, torch.float32))
                for stage in self.image_stages(slices)
            )

        planes = zip(*self._pass(x, means), strict=True)
        return [_join(vectors, x.shape[0]) for vectors in planes]

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the raw maps of every stage; see ``forward``."""
        return self._assemble(self._pass(x, self.image_stages), x)

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the raw maps of the last stage, ``(B, channels, X', Y', Z')``."""
        return self.forward_stages(x)[-1]

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute the maps of chosen stages.

        Args:
            x: ``(B, 1, X, Y, Z)``.
            indices: 0-based stages, negative ones from the end; a whole number n takes the last
                n stages, ``None`` all of them.
            norm: pass each taken stage through the norm that belongs to it, where it has one; the
                levels of a pyramid have none.

        Returns:
            The final maps, which for ResNet, PoolFormer and most others are the raw last stage,
            and the chosen stages in the order of the network.

        Raises:
            ValueError: a stage that does not exist.
        """
        taken = take_indices(len(self.feature_info), indices)
        passed = self._pass(x, lambda z: self.image_intermediates(z, taken, norm))
        final, *stages = self._assemble(passed, x)
        return final, stages

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool and classify the vectors of slices.

        Args:
            x: what ``embed`` returns, ``(B, S, vector_features)``; maps of the last stage are
                not enough for it, with a pyramid or several planes.
            pre_logits: give the pooled features before the classifier instead.

        Returns:
            Logits ``(B, num_classes)``, or features ``(B, num_features)``.

        Raises:
            ValueError: other vectors.
        """
        features = self._pool(x, None).features
        return features if pre_logits else self._classify(features)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one; 0 classes leave none.

        Raises:
            ValueError: a negative number of classes.
        """
        like = next(self.network.parameters())
        with torch.device(like.device):
            self.fc = make_classifier(self.num_features, num_classes).to(like.dtype)
        self.num_classes = num_classes

    def check_volume(self, x: Tensor) -> None:
        """Refuse a batch of volumes that the network cannot take; see ``Slicing.check``."""
        self.slicing.check(x, self.network.min_size)

    def check_size(self, size: Triple) -> None:
        """Refuse volumes of a size along X, Y, Z that the network cannot take.

        Computes nothing, so parameters may be on the meta device; see ``ZooNetwork.check_size``.
        """
        check_size(self.network, self.slicing, size)

    def _read(self, x: Tensor, size: Triple | None) -> tuple[tuple[Tensor, ...], PooledSlices]:
        if x.dim() != 3:
            passed = self._pass(x, self.image_stages_and_vectors)
            stages = self._assemble([maps for *maps, _ in passed], x)
            vectors = _join([vectors for *_, vectors in passed], x.shape[0])
            return stages, self._pool(vectors, volume_size(x))
        if self.training and torch.is_grad_enabled() and not self.frozen:
            msg = (
                "training on vectors of slices would leave the network as it is, though it is not "
                "frozen; build the classifier with frozen=True, or pass volumes"
            )
            raise ValueError(msg)
        return (), self._pool(x, size)

    def _pass(self, x: Tensor, part: SlicePass) -> list[tuple[Tensor, ...]]:
        self.check_volume(x)
        with torch.no_grad() if self.frozen else nullcontext():
            # Batch norms in training need all slices at once, and a graph keeps all in any case.
            whole = torch.is_grad_enabled() or self.network.training
            planes = self.slicing.cut(x)
            return [part(z) if whole else in_pieces(part, z, self.chunk) for z in planes]

    def _assemble(self, planes: Sequence[Sequence[Tensor]], x: Tensor) -> tuple[Tensor, ...]:
        stages = zip(*planes, strict=True)
        return tuple(self.slicing.assemble(maps, x.shape[0]) for maps in stages)

    def _pool(self, x: Tensor, size: Triple | None) -> PooledSlices:
        if x.dim() != 3 or x.shape[2] != self.vector_features or x.shape[1] < 1:
            msg = (
                f"expected vectors of slices (B, S, {self.vector_features}) with at least one "
                f"slice, got {tuple(x.shape)}; they are of another network: embed the volumes again"
            )
            raise ValueError(msg)
        lengths = self.slicing.lengths_of_vectors(x.shape[1], size)
        if lengths is None and self.pool.ordered:
            msg = (
                "vectors of slices along all three axes do not show how many are of which axis; "
                "set a count, or pass the size of the volumes"
            )
            raise ValueError(msg)
        return self.pool(x, lengths or ())

    def _classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.fc(features)
        return logits


def _join(vectors: Sequence[Tensor], batch: int) -> Tensor:
    return torch.cat([part.reshape(batch, -1, part.shape[1]) for part in vectors], dim=1)
