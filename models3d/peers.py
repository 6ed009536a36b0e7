"""Networks of MONAI and torchvision to compare with, built behind the project's contract.

Both libraries are imported where a network is built; importing this module needs torch only.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from torch import nn

from .adapted import AdaptedNetwork, Layout
from .contract import VolumeModel
from .layers import PerAxis, to_triple

ResNetBlockName: TypeAlias = Literal["basic", "bottleneck"]

# Factor from a block's width to its channels.
_EXPANSION: dict[ResNetBlockName, int] = {"basic": 1, "bottleneck": 4}
_LAYERS = ("layer1", "layer2", "layer3", "layer4")


def monai_resnet(
    block: ResNetBlockName,
    *,
    in_chans: int,
    num_classes: int,
    layers: Sequence[int],
    block_inplanes: Sequence[int] = (64, 128, 256, 512),
    stem_kernel: PerAxis = 7,
    stem_stride: PerAxis = 2,
) -> VolumeModel:
    """Build MONAI's 3D ResNet with convolutions as shortcuts and a stem of stride 2.

    These are the networks of 10 and 50 layers that MedicalNet trained; its one of 18 layers has
    shortcuts without weights (A), so its weights do not fit here.

    Sources: He et al. 2016, "Deep Residual Learning for Image Recognition", arXiv 1512.03385;
    Chen et al. 2019, "Med3D: Transfer Learning for 3D Medical Image Analysis", arXiv 1904.00625.

    Args:
        block: ``basic`` (two 3x3x3 convolutions) or ``bottleneck`` (1, 3, 1; four times wider).
        in_chans: number of input channels.
        num_classes: number of logits; 0 for a network without a classifier.
        layers: blocks in each of the four stages.
        block_inplanes: width of each stage; a bottleneck hands out four times as many channels.
        stem_kernel: extent of the first convolution in voxels, one number or X, Y, Z. It is
            padded by half, so an even one makes grids a voxel larger than the reduction says.
        stem_stride: its stride, one number or X, Y, Z; a pooling by 2 follows.

    Raises:
        ValueError: an option out of its range.
    """
    from monai.networks.nets import ResNet

    widths = _stage_numbers(block_inplanes, "block_inplanes")
    stride = to_triple(stem_stride, "stem_stride")
    original: nn.Module = ResNet(
        block,
        _stage_numbers(layers, "layers"),
        widths,
        n_input_channels=_positive(in_chans, "in_chans"),
        conv1_t_size=to_triple(stem_kernel, "stem_kernel"),
        conv1_t_stride=stride,
        bias_downsample=False,
        num_classes=max(1, num_classes),
    )
    layout = Layout(
        stem=("conv1", "bn1", "act", "maxpool"),
        stages=tuple((name,) for name in _LAYERS),
        head=("avgpool",),
        classifier="fc",
    )
    channels = [width * _EXPANSION[block] for width in widths]
    x, y, z = stride
    return AdaptedNetwork(original, layout, channels, (2 * x, 2 * y, 2 * z), in_chans, num_classes)


def monai_densenet121(
    *,
    in_chans: int,
    num_classes: int,
    init_features: int = 64,
    growth_rate: int = 32,
    block_config: Sequence[int] = (6, 12, 24, 16),
    dropout_prob: float = 0.0,
) -> VolumeModel:
    """Build MONAI's 3D DenseNet-121; its stages are the dense blocks, before norm and transition.

    The transitions pool without padding, so the grid of the first block needs 8 voxels an axis.

    Source: Huang et al. 2017, "Densely Connected Convolutional Networks", arXiv 1608.06993.

    Args:
        in_chans: number of input channels.
        num_classes: number of logits; 0 for a network without a classifier.
        init_features: channels of the stem.
        growth_rate: channels that each layer adds.
        block_config: layers in each of the four blocks.
        dropout_prob: probability of dropping a channel that a layer adds, in [0, 1).

    Raises:
        ValueError: an option out of its range.
    """
    from monai.networks.nets import DenseNet

    depths = _stage_numbers(block_config, "block_config")
    if not 0 <= dropout_prob < 1:
        msg = f"dropout_prob must be at least 0 and below 1, got {dropout_prob}"
        raise ValueError(msg)
    original: nn.Module = DenseNet(
        spatial_dims=3,
        in_channels=_positive(in_chans, "in_chans"),
        out_channels=max(1, num_classes),
        init_features=_positive(init_features, "init_features"),
        growth_rate=_positive(growth_rate, "growth_rate"),
        block_config=depths,
        dropout_prob=dropout_prob,
    )
    channels = [init_features + depths[0] * growth_rate]
    for depth in depths[1:]:
        channels.append(channels[-1] // 2 + depth * growth_rate)
    blocks = [("features.denseblock1",)] + [
        (f"features.transition{index}", f"features.denseblock{index + 1}") for index in (1, 2, 3)
    ]
    layout = Layout(
        stem=("features.conv0", "features.norm0", "features.relu0", "features.pool0"),
        stages=tuple(blocks),
        head=("features.norm5", "class_layers.relu", "class_layers.pool"),
        classifier="class_layers.out",
        last_norm="features.norm5",
    )
    return AdaptedNetwork(original, layout, channels, (4, 4, 4), in_chans, num_classes, 29)


def monai_seresnet50(
    *, in_chans: int, num_classes: int, layers: Sequence[int] = (3, 4, 6, 3)
) -> VolumeModel:
    """Build MONAI's 3D SE-ResNet-50, whose first pooling needs two voxels an axis.

    Source: Hu et al. 2018, "Squeeze-and-Excitation Networks", arXiv 1709.01507.

    Args:
        in_chans: number of input channels.
        num_classes: number of logits; 0 for a network without a classifier.
        layers: blocks in each of the four stages.

    Raises:
        ValueError: an option out of its range.
    """
    from monai.networks.nets import SEResNet50

    original: nn.Module = SEResNet50(
        layers=_stage_numbers(layers, "layers"),
        spatial_dims=3,
        in_channels=_positive(in_chans, "in_chans"),
        num_classes=max(1, num_classes),
    )
    layout = Layout(
        stem=("layer0",),
        stages=tuple((name,) for name in _LAYERS),
        head=("adaptive_avg_pool",),
        classifier="last_linear",
    )
    channels = (256, 512, 1024, 2048)
    return AdaptedNetwork(original, layout, channels, (4, 4, 4), in_chans, num_classes, 3)


def torchvision_r3d18(
    *, in_chans: int, num_classes: int, layers: Sequence[int] = (2, 2, 2, 2)
) -> VolumeModel:
    """Build torchvision's video network R3D-18 with axial slices in the place of time.

    The stem keeps the first axis and halves the two others. Slices, which often are further
    apart than the voxels in them, keep so twice the resolution.

    Source: Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions for Action
    Recognition", arXiv 1711.11248.

    Args:
        in_chans: number of input channels; published weights are for 3.
        num_classes: number of logits; 0 for a network without a classifier.
        layers: blocks in each of the four stages.

    Raises:
        ValueError: an option out of its range.
    """
    from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv3DSimple, VideoResNet

    def stem() -> nn.Sequential:
        modules: nn.Sequential = BasicStem()
        modules[0] = nn.Conv3d(in_chans, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        return modules

    depths = _stage_numbers(layers, "layers")
    _positive(in_chans, "in_chans")
    # The stem is a callable, so that the network initialises our convolution as its own.
    original: nn.Module = VideoResNet(
        BasicBlock, [Conv3DSimple] * 4, depths, stem, max(1, num_classes)
    )
    layout = Layout(
        stem=("stem",),
        stages=tuple((name,) for name in _LAYERS),
        head=("avgpool",),
        classifier="fc",
        slices_first=True,
    )
    channels = (64, 128, 256, 512)
    return AdaptedNetwork(original, layout, channels, (2, 2, 1), in_chans, num_classes)


def _stage_numbers(values: Sequence[int], name: str) -> list[int]:
    numbers = list(values) if isinstance(values, Sequence) else []
    if len(numbers) != 4 or any(not isinstance(n, int) or n < 1 for n in numbers):
        msg = f"{name} needs a whole number of at least 1 for each of 4 stages, got {values!r}"
        raise ValueError(msg)
    return numbers


def _positive(value: int, name: str) -> int:
    if not isinstance(value, int) or value < 1:
        msg = f"{name} must be a whole number of at least 1, got {value!r}"
        raise ValueError(msg)
    return value
