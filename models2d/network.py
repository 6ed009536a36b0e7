"""The contract of the 2D zoo, around a network of timm."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from .contract import FeatureInfo, Pair, take_indices
from .recompute import RecomputeGuard
from .sizes import first_parts, fixed_size, smallest_side, why_refused


class TimmNetwork(Protocol):
    """What this project uses of a network of timm, beside its being a module."""

    head_hidden_size: int
    pretrained_cfg: dict[str, object]

    def forward_intermediates(
        self, x: Tensor, *, indices: list[int], norm: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute the final features, and those of chosen entries of its feature info."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the final features."""

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify the final features."""

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier."""

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory."""

    def get_classifier(self) -> nn.Module:
        """Give the module that computes the logits."""


class ZooNetwork(nn.Module):
    """A network of timm as a classifier of images that shows the features of four stages.

    Its parameters are those of timm under ``network.`` and timm's own names.

    Args:
        network: the network of timm.
        name: its name in timm.
        feature_info: what the four stages declare; a module's name begins with ``network.``.
        entries: places of the four stages in timm's own list of features.
        in_chans: number of input channels.
        num_classes: number of logits; 0 for a network without a classifier.
        first_conv: name of the convolution that reads the image, as timm counts; empty where
            there is no single one.
        small_stem: whether the stem was replaced by one for small slices.

    Attributes:
        network: the network of timm.
        name: its name in timm.
        in_chans: number of input channels.
        num_classes: number of logits; 0 for a network without a classifier.
        num_features: number of features before the classifier.
        feature_info: what the stages declare.
        min_size: smallest image in pixels, rows and columns, that the network takes in eval mode.
        fixed_size: the only size that it takes; ``None`` for networks that take every size.
        classifier_prefix: how the names of the classifier's parameters begin.
        first_conv: as above.
        small_stem: as above.
        mean: of each colour, what published weights expect of an input in 0..1.
        std: of each colour, likewise.
    """

    if TYPE_CHECKING:
        # Without this, nn.Module types the call as Any.
        def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
            """Call ``forward``."""

    def __init__(
        self,
        network: nn.Module,
        name: str,
        feature_info: FeatureInfo,
        entries: Sequence[int],
        in_chans: int,
        num_classes: int,
        first_conv: str,
        small_stem: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self.feature_info = feature_info
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.num_features = self._timm.head_hidden_size
        self.first_conv = first_conv
        self.small_stem = small_stem
        self.classifier_prefix = f"network.{self._classifier_name()}."
        self.mean = _three_numbers(self._timm.pretrained_cfg["mean"])
        self.std = _three_numbers(self._timm.pretrained_cfg["std"])
        self._entries = list(entries)
        self._guard: RecomputeGuard | None = None
        self.fixed_size = fixed_size(network)
        self.min_size: Pair = self.fixed_size or self._find_min_size()

    @property
    def normalised(self) -> bool:
        """Whether the first convolution can hold the normalisation of the input."""
        return f"network.{self.first_conv}.offset" in dict(self.named_buffers())

    @property
    def has_batch_norm(self) -> bool:
        """Whether images of a training batch influence each other through batch norm."""
        kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
        return any(isinstance(module, kinds) for module in self.modules())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of every stage and the logits in one pass.

        Args:
            x: ``(B, in_chans, H, W)``, no side below ``min_size``; left unchanged.

        Returns:
            ``(*stages, logits)``: one raw ``(B, channels, H', W')`` for each stage, and logits
            ``(B, num_classes)``, or the pooled features when there is no classifier.

        Raises:
            ValueError: an image that the network cannot take.
        """
        final, stages = self._run(x, list(range(len(self.feature_info))))
        return (*stages, self.forward_head(final))

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the raw features of every stage; arguments and errors as of ``forward``."""
        return tuple(self._run(x, list(range(len(self.feature_info))))[1])

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute what ``forward_head`` reads, in timm's form.

        For ResNet, PoolFormer and most others this is the raw last stage; some networks of timm
        put a norm after it or the channels last.
        """
        self.check_images(x)
        with self._pass():
            return self._timm.forward_features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify what ``forward_features`` returns.

        Args:
            x: the final features.
            pre_logits: give the features before the classifier instead.

        Returns:
            Logits ``(B, num_classes)``, or features ``(B, num_features)``.
        """
        return self._timm.forward_head(x, pre_logits=pre_logits)

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None, norm: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Compute the features of chosen stages.

        Args:
            x: ``(B, in_chans, H, W)``.
            indices: 0-based stages, negative ones from the end; a whole number n takes the last
                n stages, ``None`` all of them.
            norm: pass each taken stage through the norm that belongs to it, where timm has one.

        Returns:
            The final features, as ``forward_features`` gives them, and the chosen stages in the
            order of the network.

        Raises:
            ValueError: a stage that does not exist, or an image that the network cannot take.
        """
        return self._run(x, take_indices(len(self.feature_info), indices), norm)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a fresh one; 0 classes leave none.

        Raises:
            ValueError: a negative number of classes.
        """
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
            msg = f"num_classes must be a whole number of at least 0, got {num_classes!r}"
            raise ValueError(msg)
        like = next(self.parameters())
        with torch.device(like.device):
            self._timm.reset_classifier(num_classes)
        self.num_classes = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory: compute activations again in the backward pass."""
        self._timm.set_grad_checkpointing(enable)
        if self._guard is not None:
            self._guard.remove()
        self._guard = RecomputeGuard(self.network) if enable else None

    def check_images(self, x: Tensor) -> None:
        """Refuse a batch that the network cannot take.

        Raises:
            ValueError: not four dimensions, a wrong number of channels, or a size that the
                network does not take.
        """
        if x.dim() != 4:
            msg = f"expected a batch (B, C, H, W) of four dimensions, got {tuple(x.shape)}"
            raise ValueError(msg)
        if x.shape[1] != self.in_chans:
            msg = f"expected {self.in_chans} input channel(s), got {x.shape[1]}"
            raise ValueError(msg)
        self._check_sides((x.shape[2], x.shape[3]))

    def check_size(self, size: Pair) -> None:
        """Refuse a size of images that the network does not take, by running it without values.

        Beyond what ``check_images`` sees, this finds the networks that take multiples of some
        number only. It needs no more than the network on the meta device.

        Args:
            size: rows and columns in pixels.

        Raises:
            ValueError: a size that the network does not take in eval mode.
        """
        self._check_sides(size)
        declared = cast("Sequence[int]", self._timm.pretrained_cfg.get("input_size", ()))
        likely = (max(self.feature_info[-1].reduction), *declared[-1:])
        if refused := why_refused(self, self.in_chans, size, likely):
            msg = f"{self.name} cannot take images of {size} pixels {refused}"
            raise ValueError(msg)

    def _check_sides(self, size: Pair) -> None:
        if self.fixed_size is not None and size != self.fixed_size:
            msg = (
                f"{self.name} takes images of {self.fixed_size} pixels only, got {size}; resample "
                "them, set its option img_size, or choose a network that takes every size"
            )
            raise ValueError(msg)
        if any(n < smallest for n, smallest in zip(size, self.min_size, strict=True)):
            msg = (
                f"an image of {size} pixels is smaller than the minimum {self.min_size} of "
                f"{self.name}; resample or pad it, or choose another network"
            )
            raise ValueError(msg)

    @property
    def _timm(self) -> TimmNetwork:
        return cast("TimmNetwork", self.network)

    def _run(self, x: Tensor, stages: list[int], norm: bool = False) -> tuple[Tensor, list[Tensor]]:
        self.check_images(x)
        indices = [self._entries[stage] for stage in stages]
        with self._pass():
            return self._timm.forward_intermediates(x, indices=indices, norm=norm)

    @contextmanager
    def _pass(self) -> Iterator[None]:
        if self._guard is None:
            yield
            return
        with self._guard.first_pass():
            yield

    def _find_min_size(self) -> Pair:
        parts = first_parts(self.network)
        side = smallest_side(self.network if parts is None else parts, self.in_chans)
        return (side, side)

    def _classifier_name(self) -> str:
        classifier = self._timm.get_classifier()
        names = [str(name) for name, part in self.network.named_modules() if part is classifier]
        if not names:
            msg = f"{self.name} has no single classifier, so it is not offered here"
            raise ValueError(msg)
        return names[0]


def _three_numbers(values: object) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in cast("Sequence[float]", values))
    if len(numbers) != 3:
        msg = f"timm names {len(numbers)} colours where weights for three are expected"
        raise ValueError(msg)
    return numbers
