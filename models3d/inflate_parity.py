"""What no tensor tells: whether a 3D network does in the plane what the 2D one does."""

from torch import nn

from .blocks import Block, ConvEmbed
from .contract import VolumeModel
from .inflate_kernels import InflationMode
from .layers import PoolMixer

_AXIS_NAMES = "XYZ"
# In-plane strides of the published 2D networks: of the stem, and of the steps between stages.
_STEM_STRIDES = {"stem.conv": 4, "conv1": 2}
_STEP_STRIDE = 2
_POOL_WINDOW = 3


def find_other_blocks(network: VolumeModel, axis: int) -> list[str]:
    """Say in words in what the blocks compute something else with the weights they share.

    Args:
        network: the 3D network.
        axis: the axis that the 2D network lacks, 0, 1 or 2; along it a pool may have any window.

    Returns:
        One entry for each kind of difference; none where the blocks are the published ones.
    """
    found: set[str] = set()
    for block in (module for module in network.modules() if isinstance(module, Block)):
        mixer = block.token_mixer
        if not isinstance(mixer, PoolMixer):
            found.add("mixer is not pool here")
        elif any(extent != _POOL_WINDOW for extent in _in_plane(mixer.window, axis)):
            found.add(f"pool_window is {mixer.window} here, {_POOL_WINDOW} in the plane there")
        if not isinstance(block.norm1, nn.GroupNorm):
            found.add("norm is not group here")
    return sorted(found)


def parity_remarks(network: VolumeModel, mode: InflationMode, axis: int) -> tuple[str, ...]:
    """Say in words what keeps the features from being those of the 2D network.

    Args:
        network: the 3D network, its blocks those of the 2D one.
        mode: how the kernels are extended.
        axis: the axis along which they are.

    Returns:
        One sentence for each reason; none where a volume that is constant along the axis gives
        the features of its slice.
    """
    remarks = _stride_remarks(network, axis)
    embeds = [module for module in network.modules() if isinstance(module, ConvEmbed)]
    if any(_in_plane(embed.repeated, axis) != (0, 0) for embed in embeds):
        remarks.append("padding is edge in the plane, zeros in 2D: borders differ")
    convs = [module for module in network.modules() if isinstance(module, nn.Conv3d)]
    if mode == "mean" and any(
        conv.kernel_size[axis] > 1 and _padding(conv)[axis] for conv in convs
    ):
        remarks.append(
            f"mode mean with zeros as padding along {_AXIS_NAMES[axis]}: features near the border "
            "differ from those of the 2D network, and group norms carry this to all others; "
            "use padding=edge along this axis where the network has it, or mode centre"
        )
    return tuple(remarks)


def _stride_remarks(network: VolumeModel, axis: int) -> list[str]:
    remarks = []
    parts = dict(network.named_modules())
    wanted = {name: stride for name, stride in _STEM_STRIDES.items() if name in parts}
    wanted |= {name: _STEP_STRIDE for name in parts if name.endswith(".downsample.conv")}
    for name, stride in wanted.items():
        conv = parts[name]
        assert isinstance(conv, nn.Conv3d)
        given = _in_plane(conv.stride, axis)
        if given != (stride, stride):
            remarks.append(
                f"{name} has the in-plane strides {given}, {(stride, stride)} in 2D: features are "
                "those of another grid"
            )
    return remarks


def _padding(conv: nn.Conv3d) -> tuple[int, ...]:
    # A word stands for padding that keeps the grid ("same"), or for none ("valid").
    if isinstance(conv.padding, str):
        return (int(conv.padding == "same"),) * 3
    return conv.padding


def _in_plane(numbers: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return numbers[:axis] + numbers[axis + 1 :]
