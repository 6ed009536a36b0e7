"""PoolFormer for volumes: a MetaFormer whose token mixer is plain average pooling.

Source: Yu et al. 2022, "MetaFormer Is Actually What You Need for Vision", arXiv 2111.11418;
here with three spatial axes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from .blocks import Block, BlockOptions, ConvEmbed, Stage, to_borders
from .contract import FeatureInfo, StageInfo, VolumeModel
from .fusing import fuse_block
from .heads import MeanHead
from .layers import (
    BorderName,
    Borders,
    MixerName,
    NormName,
    PerAxis,
    Triple,
    make_norm,
    to_triple,
)
from .stage_head import PoolingName, StageHead, StagesName, channels_read
from .stem import PYRAMID_WINDOWS, StemName, make_stem


class PoolFormer3d(VolumeModel):
    """PoolFormer for batches of volumes ``(B, in_chans, X, Y, Z)``.

    ``*stages, logits = model(x)``. Parameter names are those of timm's 2D ``poolformer_*``. The
    smallest volume, ``min_size``, follows from the stem: kernel minus twice its padding on each
    axis, so 3 voxels for the published stem and 1 for those of the sizes ``t`` and ``n``.

    The head is the published one, unless it shall read all stages, statistics or the foreground:
    then it is a ``StageHead``. If it reads more than the last stage, ``forward_head`` refuses.

    Args:
        depths: blocks in each stage, at least 1 each.
        dims: channels of each stage.
        in_chans: number of input channels.
        num_classes: number of logits; 0 gives the pooled features in their place.
        stem_kernel: extent of the stem convolution in voxels, one number or X, Y, Z.
        stem_stride: its stride, one number or X, Y, Z.
        strides: stride of the step between stages: one number for all, or one entry for each
            step, itself one number or X, Y, Z, as in ``[2, 2, [2, 2, 1]]``.
        stem_kind: ``conv``, or ``pyramid`` for a stem that also reads average pools of the volume.
        stem_windows: odd extents of these pools in voxels, each one number or X, Y, Z; for
            ``pyramid`` only.
        padding: what stem and steps see beyond the border: ``zeros``, as published, or ``edge``,
            the nearest voxel; one for all axes or X, Y, Z. Weights inflated as ``mean`` want
            ``edge`` along their axis, see ``inflate``.
        mixer: ``pool`` gives P(n) - n of the normed input n, ``identity`` gives n, ``conv`` a
            depthwise 3x3x3 convolution of n.
        pool_window: odd extent of the pooling in voxels, one number or X, Y, Z; for ``pool`` only.
        norm: ``group`` (one group, as published), ``channel`` or ``batch``.
        mlp_ratio: width of the MLP in multiples of the stage's channels, one number or one for
            each stage.
        layer_scale: first value of the layer scale; ``None`` for no layer scale.
        drop_path: drop path rate of the last block in [0, 1); it grows linearly from 0 at the
            first block.
        dropout: probability of dropping a value inside the MLPs, in [0, 1).
        head_stages: ``last``, or ``all`` for a classifier that reads every stage.
        head_pool: ``mean``, or ``stats`` for mean, maximum and standard deviation of each channel.
        head_foreground: pool over the voxels above the volume's own mean only.
        head_dropout: probability of dropping a feature before the classifier, in [0, 1).
        feature_norm: hand out each stage through a norm of its own, in place of raw features.

    Raises:
        ValueError: an option out of its range, named with its value.
    """

    classifier_prefix = "head.fc."

    def __init__(
        self,
        depths: Sequence[int],
        dims: Sequence[int],
        in_chans: int = 1,
        num_classes: int = 2,
        *,
        stem_kernel: PerAxis = 7,
        stem_stride: PerAxis = 4,
        stem_kind: StemName = "conv",
        stem_windows: Sequence[PerAxis] = PYRAMID_WINDOWS,
        strides: int | Sequence[PerAxis] = 2,
        padding: BorderName | Sequence[BorderName] = "zeros",
        mixer: MixerName = "pool",
        pool_window: PerAxis = 3,
        norm: NormName = "group",
        mlp_ratio: float | Sequence[float] = 4.0,
        layer_scale: float | None = 1e-5,
        drop_path: float = 0.0,
        dropout: float = 0.0,
        head_stages: StagesName = "last",
        head_pool: PoolingName = "mean",
        head_foreground: bool = False,
        head_dropout: float = 0.0,
        feature_norm: bool = False,
    ) -> None:
        super().__init__()
        _check_sizes(depths, dims, in_chans)
        for name, rate in (
            ("drop_path", drop_path),
            ("dropout", dropout),
            ("head_dropout", head_dropout),
        ):
            _check_rate(name, rate)
        self.in_chans = in_chans
        self.num_classes = num_classes
        borders = to_borders(padding)
        kernel = to_triple(stem_kernel, "stem_kernel")
        stride = to_triple(stem_stride, "stem_stride")
        self.stem = make_stem(stem_kind, in_chans, dims[0], kernel, stride, borders, stem_windows)
        window = _mixer_window(pool_window, mixer)
        options = BlockOptions(mixer, window, norm, _check_layer_scale(layer_scale), dropout)
        steps = _stage_strides(strides, len(depths))
        hidden = _hidden_widths(mlp_ratio, dims)
        self.stages = _make_stages(depths, dims, steps, borders, hidden, drop_path, options)
        self.feature_norms = nn.ModuleList(make_norm(norm, d) for d in dims if feature_norm)
        self.head = _make_head(
            dims, num_classes, norm, head_stages, head_pool, head_foreground, head_dropout
        )
        self.num_features = self.head.num_features
        self.min_size = self.stem.min_size
        self.feature_info = _feature_info(dims, stride, steps)

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the raw features of every stage; see ``VolumeModel.forward_stages``."""
        self.check_volume(x)
        x = self.stem(x)
        stages = []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        return tuple(stages)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify the last stage; see ``VolumeModel.forward_head``."""
        if isinstance(self.head, StageHead):
            return self.head.classify_last(x, pre_logits)
        result: Tensor = self.head(x, pre_logits=pre_logits)
        return result

    def classify_stages(self, stages: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Classify what the head reads; see ``VolumeModel.classify_stages``."""
        if isinstance(self.head, StageHead):
            return self.head.classify(stages, x)
        return self.forward_head(stages[-1])

    def normalise_stage(self, index: int, x: Tensor) -> Tensor:
        """Apply the norm of stage ``index``.

        With ``feature_norm`` every stage has one; without, the stages that the head reads have
        their norm of the head and the others stay raw.
        """
        if len(self.feature_norms) > 0:
            x = self.feature_norms[index](x)
        elif isinstance(self.head, StageHead):
            x = self.head.normalise_stage(len(self.stages) - index, x)
        elif index == len(self.stages) - 1:
            x = self.head.norm(x)
        return x

    def present_stages(self, stages: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Hand out the stages normed if ``feature_norm`` was chosen, else raw."""
        if len(self.feature_norms) == 0:
            return stages
        return tuple(self.normalise_stage(index, x) for index, x in enumerate(stages))

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier; see ``VolumeModel.reset_classifier``."""
        self.head.reset(num_classes)
        self.num_classes = num_classes

    def fuse(self) -> None:
        """Fold layer scales and norms into the weights beside them, in place, for inference.

        Answers stay equal to rounding, 1e-5 in single precision; parameters are fewer, so a fused
        network's weights fit a fused network only.
        """
        self.eval()
        for module in self.modules():
            if isinstance(module, Block):
                fuse_block(module)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the activations of each block again in the backward pass."""
        for stage in self.stages:
            if isinstance(stage, Stage):
                stage.grad_checkpointing = enable


def _make_head(
    dims: Sequence[int],
    num_classes: int,
    norm: NormName,
    stages: StagesName,
    pool: PoolingName,
    foreground: bool,
    dropout: float,
) -> MeanHead | StageHead:
    read = channels_read(dims, stages)
    if stages == "last" and pool == "mean" and not foreground:
        return MeanHead(dims[-1], num_classes, norm, dropout)
    return StageHead(read, num_classes, norm, pool=pool, foreground=foreground, dropout=dropout)


def _make_stages(
    depths: Sequence[int],
    dims: Sequence[int],
    strides: Sequence[Triple],
    borders: Borders,
    hidden: Sequence[int],
    drop_path: float,
    options: BlockOptions,
) -> nn.Sequential:
    total = sum(depths)
    rates = [drop_path * block / max(1, total - 1) for block in range(total)]
    stages = nn.Sequential()
    for index, (depth, dim) in enumerate(zip(depths, dims, strict=True)):
        downsample = (
            # Padded by 1 as published, whatever the stride: down to one voxel, any grid will do.
            ConvEmbed(dims[index - 1], dim, (3, 3, 3), strides[index - 1], (1, 1, 1), borders)
            if index > 0
            else nn.Identity()
        )
        first = sum(depths[:index])
        rates_here = rates[first : first + depth]
        stages.append(Stage(downsample, dim, hidden[index], rates_here, options))
    return stages


def _feature_info(dims: Sequence[int], stem: Triple, strides: Sequence[Triple]) -> FeatureInfo:
    reduction = stem
    infos = []
    for index, dim in enumerate(dims):
        if index > 0:
            x, y, z = (r * s for r, s in zip(reduction, strides[index - 1], strict=True))
            reduction = x, y, z
        infos.append(StageInfo(dim, reduction, f"stages.{index}"))
    return FeatureInfo(infos)


def _mixer_window(window: PerAxis, mixer: MixerName) -> Triple:
    extents = to_triple(window, "pool_window")
    if mixer != "pool" and extents != (3, 3, 3):
        msg = f"pool_window={window!r} has no effect with mixer={mixer!r}: leave it out"
        raise ValueError(msg)
    return extents


def _stage_strides(strides: int | Sequence[PerAxis], stages: int) -> list[Triple]:
    entries = [strides] * (stages - 1) if isinstance(strides, int) else strides
    if len(entries) != stages - 1:
        msg = f"strides needs {stages - 1} entries for {stages} stages, got {strides!r}"
        raise ValueError(msg)
    return [to_triple(entry, "strides") for entry in entries]


def _hidden_widths(mlp_ratio: float | Sequence[float], dims: Sequence[int]) -> list[int]:
    ratios = [mlp_ratio] * len(dims) if isinstance(mlp_ratio, int | float) else mlp_ratio
    numbers = all(isinstance(ratio, int | float) for ratio in ratios)
    if not numbers or len(ratios) != len(dims):
        msg = f"mlp_ratio needs one number, or one for each of {len(dims)} stages: {mlp_ratio!r}"
        raise ValueError(msg)
    hidden = [int(dim * ratio) for dim, ratio in zip(dims, ratios, strict=True)]
    if min(hidden) < 1:
        msg = f"mlp_ratio={mlp_ratio!r} leaves an MLP without channels"
        raise ValueError(msg)
    return hidden


def _check_sizes(depths: Sequence[int], dims: Sequence[int], in_chans: int) -> None:
    if len(depths) == 0 or len(depths) != len(dims) or min(*depths, *dims) < 1:
        msg = f"depths and dims need one number of at least 1 a stage, got {depths!r}, {dims!r}"
        raise ValueError(msg)
    if in_chans < 1:
        msg = f"in_chans must be at least 1, got {in_chans}"
        raise ValueError(msg)


def _check_layer_scale(value: float | None) -> float | None:
    """The first value, or None for no layer scale, which may also be written as False."""
    if value is None or value is False:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        msg = f"layer_scale must be a number above 0, or off; got {value!r}"
        raise ValueError(msg)
    return float(value)


def _check_rate(name: str, rate: float) -> None:
    if not isinstance(rate, int | float) or not 0 <= rate < 1:
        msg = f"{name} must be at least 0 and below 1, got {rate}"
        raise ValueError(msg)
