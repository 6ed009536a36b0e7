"""Weights for 2D networks: from files of several authors, or as timm downloads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .fitting import Fit, fit_tensors
from .network import ZooNetwork
from .published import recognise
from .weight_files import WeightsError, read_tensors

__all__ = [
    "LoadTable",
    "WeightsError",
    "load_file",
    "load_published",
    "published_tensors",
    "read_tensors",
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
    """

    taken: tuple[str, ...]
    converted: tuple[str, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    source: str

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
    small one. Nothing else may differ; the network is changed only if all fits.

    Args:
        network: the network to fill, not on the meta device.
        path: the file.

    Returns:
        What was done with each tensor.

    Raises:
        WeightsError: a file that cannot be read or does not fit.
    """
    weights = recognise(read_tensors(path))
    source = f"{path.name} (layout: {weights.layout})"
    what = f"cannot load {path.name} into {network.name}"
    return _load(network, weights.tensors, source, what, weights.description)


def load_published(network: ZooNetwork) -> LoadTable:
    """Load the weights that timm has published for a network; see ``load_file``.

    Raises:
        WeightsError: no such weights, none to be had without a connection, or options that make
            another architecture.
    """
    tensors = published_tensors(network.name)
    what = f"cannot load timm's weights for {network.name}"
    description = recognise(tensors).description
    return _load(network, tensors, f"timm ({network.name})", what, description)


def published_tensors(name: str) -> dict[str, Tensor]:
    """Fetch the weights that timm has published for a network, or take them from its cache.

    timm downloads them and checks their hash. The random numbers that follow are the same with
    and without this call.

    Args:
        name: name of the network, with the tag of its weights where others than the default ones
            are meant, such as ``resnet50.a1_in1k``.

    Returns:
        The tensors by timm's names, on the CPU, with three input channels and the classifier.

    Raises:
        WeightsError: no such weights, or none to be had.
    """
    import timm

    what = f"cannot get timm's weights for {name}"
    remedy = "give a file of weights (model.weights=PATH), or start from random ones (model.init)"
    if not timm.is_model(name) or not timm.models.is_model_pretrained(name):
        raise WeightsError(what, "timm has published none", remedy)
    timm.models.set_pretrained_check_hash(True)
    try:
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            network: torch.nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:  # several libraries take part, each with errors of its own
        told = (str(error).splitlines() or [type(error).__name__])[0]
        why = f"they are not on this machine, and the download failed ({told})"
        raise WeightsError(what, why, f"connect to the network once, or {remedy}") from error
    finally:
        timm.models.set_pretrained_check_hash(False)
    return dict(network.state_dict())


def _load(
    network: ZooNetwork, tensors: Mapping[str, Tensor], source: str, what: str, described: str
) -> LoadTable:
    if any(tensor.is_meta for tensor in network.state_dict().values()):
        msg = f"{what}: the network is on the meta device and holds no values; give it some first"
        raise ValueError(msg)
    broken = sorted(key for key, tensor in tensors.items() if not tensor.isfinite().all())
    if broken:
        why = f"the weights hold numbers that are not finite ({listed(broken)})"
        raise WeightsError(what, why, "use weights of a training that did not diverge")
    fit = fit_tensors(network, tensors)
    if fit.misfits:
        raise _refuse(fit, what, described)
    targets = network.network.state_dict()
    with torch.no_grad():
        for key, tensor in fit.tensors.items():
            targets[key].copy_(tensor)
    taken = tuple(sorted((set(fit.tensors) & set(tensors)) - set(fit.converted)))
    return LoadTable(taken, fit.converted, fit.left_out, fit.missing, source)


def _refuse(fit: Fit, what: str, described: str) -> WeightsError:
    found = [f"{kind}: {listed(names)}" for kind, names in fit.misfits.items()]
    why = fit.reason or f"they are weights of another architecture and seem to be of {described}"
    remedy = "choose the network and options that the weights were made with, or other weights"
    return WeightsError(what, f"{why} ({'; '.join(found)})", remedy)


def listed(names: tuple[str, ...] | list[str]) -> str:
    """Give names in a row, the first few of many."""
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
