"""Weights for 2D networks: from files of several authors, or as timm downloads them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .downloads import fetch
from .fitting import Fit, fit_tensors
from .network import ZooNetwork
from .published import PublishedWeights, recognise
from .weight_files import WeightsError, read_file, read_tensors

__all__ = [
    "LoadTable",
    "WeightsError",
    "load_file",
    "load_published",
    "published_tensors",
    "read_tensors",
    "read_weights",
]

_NAMES_SHOWN = 6


@dataclass(frozen=True)
class LoadTable:
    """What loading did with each tensor; names are timm's.

    Attributes:
        taken: tensors that were taken as they are.
        converted: tensors that were taken in another form: a first convolution for other
            channels or with the normalisation folded in, a linear layer as 1x1 convolution.
        left_out: tensors of the weights that the network has no use for.
        missing: tensors of the network that the weights lack; they keep their fresh values.
        source: where the weights are from, and whose layout their names had.
        fresh_body: those of ``missing`` that are not of the classifier, such as a stem for small
            slices: a network that is kept as it is must have none.
    """

    taken: tuple[str, ...]
    converted: tuple[str, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    source: str
    fresh_body: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Give the table as short lines; the first one sums it up."""
        parts = {
            "taken": self.taken,
            "converted": self.converted,
            "left out": self.left_out,
            "missing": self.missing,
        }
        counts = ", ".join(f"{len(names)} {part}" for part, names in parts.items())
        shown = [
            f"  {part}: {listed(names)}"
            for part, names in parts.items()
            if names and part != "taken"
        ]
        return [f"weights from {self.source}: {counts}", *shown]


def load_file(network: ZooNetwork, path: Path) -> LoadTable:
    """Load weights from a file, whichever of the known authors it is from.

    These are ResNets of torchvision, PoolFormers of sail-sg, all networks of timm, and the files
    of this project, as ``read_tensors`` reads them. A first convolution for three colours is
    converted to the channels of the network (``stem.spread_kernel``), and takes up the
    normalisation that the weights expect if the network was built with ``normalised``; weights
    for one channel are taken as they are. A classifier for other classes is left out, and so are
    the first convolution and pooling of weights for the common stem where the network has a
    small one. Files of this project are taken as they are, with the normalisation that they hold
    or without. Nothing else may differ; the network is changed only if all fits.

    Args:
        network: the network to fill, not on the meta device.
        path: the file.

    Returns:
        What was done with each tensor.

    Raises:
        WeightsError: a file that cannot be read or does not fit.
    """
    weights = read_weights(path)
    source = f"{path.name} (layout: {weights.layout})"
    what = f"cannot load {path.name} into {network.name}"
    return _load(network, weights, source, what)


def read_weights(path: Path) -> PublishedWeights:
    """Read the weights of a file under timm's names, from whichever known author it is.

    Args:
        path: the file, see ``read_tensors``.

    Raises:
        WeightsError: a file that cannot be read.
    """
    content = read_file(path)
    return recognise(content.tensors, content.own)


def load_published(network: ZooNetwork) -> LoadTable:
    """Load the weights that timm has published for a network; see ``load_file``.

    Raises:
        WeightsError: no such weights, none to be had without a connection, or options that make
            another architecture.
    """
    weights = recognise(fetch(network.name))
    what = f"cannot load timm's weights for {network.name}"
    return _load(network, weights, f"timm ({network.name})", what)


def published_tensors(name: str) -> dict[str, Tensor]:
    """Fetch the weights that timm has published for a network, or take them from its cache.

    timm downloads them and checks their hash; those of the last name are kept in memory, so that
    the folds of a run ask once. The random numbers that follow are the same with and without this
    call.

    Args:
        name: name of the network, with the tag of its weights where others than the default ones
            are meant, such as ``resnet50.a1_in1k``.

    Returns:
        Copies of the tensors by timm's names, on the CPU, with three input channels and the
        classifier.

    Raises:
        WeightsError: no such weights, or none to be had.
    """
    return {key: tensor.clone() for key, tensor in fetch(name).items()}


def _load(network: ZooNetwork, weights: PublishedWeights, source: str, what: str) -> LoadTable:
    tensors = weights.tensors
    if any(tensor.is_meta for tensor in network.state_dict().values()):
        msg = f"{what}: the network is on the meta device and holds no values; give it some first"
        raise ValueError(msg)
    broken = sorted(key for key, tensor in tensors.items() if not tensor.isfinite().all())
    if broken:
        why = f"the weights hold numbers that are not finite ({listed(broken)})"
        raise WeightsError(what, why, "use weights of a training that did not diverge")
    fit = fit_tensors(network, tensors, weights.own)
    if fit.misfits:
        raise _refuse(fit, what, weights.description)
    targets = network.network.state_dict()
    with torch.no_grad():
        for key, tensor in fit.tensors.items():
            targets[key].copy_(tensor)
    taken = tuple(sorted((set(fit.tensors) & set(tensors)) - set(fit.converted)))
    classifier = network.classifier_prefix.removeprefix("network.")
    body = tuple(name for name in fit.missing if not name.startswith(classifier))
    return LoadTable(taken, fit.converted, fit.left_out, fit.missing, source, body)


def _refuse(fit: Fit, what: str, described: str) -> WeightsError:
    found = [f"{kind}: {listed(names)}" for kind, names in fit.misfits.items()]
    why = fit.reason or f"they are weights of another architecture and seem to be of {described}"
    other = "choose the network and options that the weights were made with, or other weights"
    remedy = fit.remedy or other
    return WeightsError(what, f"{why} ({'; '.join(found)})", remedy)


def listed(names: tuple[str, ...] | list[str]) -> str:
    """Give names in a row, the first few of many."""
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
