"""Whether a 2D network fits the slices that it is to read."""

from .network import ZooNetwork
from .slicing import Slicing, Triple


def check_network(network: ZooNetwork, slicing: Slicing) -> None:
    """Refuse a network with a classifier of its own, or for another number of channels.

    Raises:
        ValueError: such a network.
    """
    if network.num_classes != 0:
        msg = (
            f"the network over slices has {network.num_classes} classes of its own; build "
            f"{network.name} with num_classes=0, as the classifier comes after the pool"
        )
        raise ValueError(msg)
    if network.in_chans != slicing.channels:
        msg = (
            f"a slice with {slicing.neighbours} neighbours on each side has {slicing.channels} "
            f"channels, but {network.name} takes {network.in_chans}; build it with "
            f"in_chans={slicing.channels}"
        )
        raise ValueError(msg)


def check_size(network: ZooNetwork, slicing: Slicing, size: Triple) -> None:
    """Refuse volumes whose slices a network cannot take; see ``SliceClassifier.check_size``.

    Raises:
        ValueError: such volumes.
    """
    slicing.lengths(size)
    for plane, pixels in slicing.pixels(size).items():
        try:
            network.check_size(pixels)
        except ValueError as error:
            msg = f"the {plane} slices of a volume of {size} voxels do not fit: {error}"
            raise ValueError(msg) from error
