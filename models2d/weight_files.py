"""Files of weights: tensors by name, and nothing that could run code."""

import argparse
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

_TORCH_SUFFIXES = (".pth", ".pt", ".tar", ".bin", ".ckpt")
_NESTS = ("state_dict", "model_state_dict", "model")
# Put before every name by DataParallel and DDP, by torch.compile, and by this project.
_OWN_PREFIX = "network."
_PREFIXES = ("module.", "_orig_mod.", _OWN_PREFIX)
_CONVERT = (
    "where the code of the model is at hand and the file can be trusted, load it there and save "
    "its tensors alone: torch.save(model.state_dict(), 'weights.pth')"
)
_FETCH_AGAIN = "fetch or copy the file again, and compare its size with the original's"


class WeightsError(ValueError):
    """Weights that cannot be had or do not fit.

    Args:
        what: what went wrong, with the file or network that it concerns.
        why: the reason.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, why: str, remedy: str) -> None:
        super().__init__(what, why, remedy)
        self.what = what
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}: {self.why}; {self.remedy}"


@dataclass(frozen=True)
class WeightFile:
    """What a file of weights holds.

    Attributes:
        tensors: the tensors by name, unwrapped, on the CPU.
        own: whether all names began with ``network.``, so that a network of this project was
            saved, which says by itself what input it wants.
    """

    tensors: dict[str, Tensor]
    own: bool


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file of weights, on the CPU; see ``read_file``."""
    return read_file(path).tensors


def read_file(path: Path) -> WeightFile:
    """Read a file of weights.

    Tensors nested under ``state_dict``, ``model`` or ``model_state_dict``, and names that all
    begin with ``module.`` (of ``DataParallel`` and DDP), ``network.`` (ours) or ``_orig_mod.``,
    are unwrapped as often as needed. What lies beside such a nest is not read.

    Args:
        path: a ``.safetensors`` file, or one of ``torch.save``.

    Returns:
        The tensors by name, and whether they are of this project.

    Raises:
        WeightsError: no such file, one that is damaged or not what its name says, one that holds
            a whole model or other objects, or one without tensors.
    """
    if not path.is_file():
        why = "it is a folder" if path.is_dir() else "there is no such file"
        raise WeightsError(_what(path), why, "correct the path")
    if path.suffix == ".safetensors":
        content: object = _read_safetensors(path)
    elif path.suffix in _TORCH_SUFFIXES:
        content = _read_torch(path)
    else:
        known = ", ".join((".safetensors", *_TORCH_SUFFIXES))
        raise WeightsError(_what(path), f"its name ends in none of {known}", "name it by its kind")
    return _strip(_tensors_in(path, content))


def _what(path: Path) -> str:
    return f"cannot read the weights in {path.name}"


def _read_safetensors(path: Path) -> object:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        why = f"it is damaged or no safetensors file ({error})"
        raise WeightsError(_what(path), why, _FETCH_AGAIN) from error


def _read_torch(path: Path) -> object:
    # Training scripts save their arguments beside the weights; those are plain values.
    safe = torch.serialization.safe_globals([argparse.Namespace])
    try:
        with safe, warnings.catch_warnings():
            # torch warns of TorchScript before it refuses it.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise WeightsError(_what(path), "it may not be read", "change its permissions") from error
    except Exception as error:  # a damaged file raises whatever its bytes happen to mean
        # What torch refuses to unpack; known by name, so that nothing here imports that module.
        if type(error).__name__ == "UnpicklingError":
            raise _refuse_pickle(path, error) from error
        if "TorchScript" in str(error):
            why = "it is a TorchScript archive, which is a program"
            raise WeightsError(_what(path), why, _CONVERT) from error
        raise _damaged(path) from error


def _refuse_pickle(path: Path, error: Exception) -> WeightsError:
    # torch names the first object that is no tensor; it names none where the bytes are broken.
    named = re.search(r"GLOBAL (\w[\w.]*) was not an allowed|module (\w+) is blocked", str(error))
    if named is None:
        return _damaged(path)
    name = named[1] or named[2]
    why = f"it holds a whole model or other Python objects ({name}), not only tensors"
    return WeightsError(_what(path), why, _CONVERT)


def _damaged(path: Path) -> WeightsError:
    return WeightsError(_what(path), "it is truncated, or no file of torch.save", _FETCH_AGAIN)


def _tensors_in(path: Path, content: object) -> dict[str, Tensor]:
    content = _unwrap(path, content)
    if not isinstance(content, Mapping) or not content:
        kind = "nothing" if isinstance(content, Mapping) else type(content).__name__
        why = f"it holds {kind}, not tensors by name"
        raise WeightsError(_what(path), why, "give a file of model.state_dict()")
    tensors = {}
    for key, value in content.items():
        if (
            not isinstance(key, str)
            or not isinstance(value, Tensor)
            or value.layout != torch.strided
        ):
            why = f"its entry {key!r} is {type(value).__name__}, not a dense tensor with a name"
            raise WeightsError(_what(path), why, "give a file of model.state_dict()")
        tensors[key] = value.detach()
    return tensors


def _unwrap(path: Path, content: object) -> object:
    while isinstance(content, Mapping):
        nests = [name for name in _NESTS if isinstance(content.get(name), Mapping)]
        if not nests:
            break
        if len(nests) > 1:
            why = f"it holds weights under {' and under '.join(nests)}"
            raise WeightsError(_what(path), why, "save the ones that are meant alone")
        content = content[nests[0]]
    return content


def _strip(tensors: dict[str, Tensor]) -> WeightFile:
    own = False
    while True:
        found = [p for p in _PREFIXES if all(key.startswith(p) for key in tensors)]
        if not found:
            return WeightFile(tensors, own)
        own = own or _OWN_PREFIX in found
        tensors = {key.removeprefix(found[0]): tensor for key, tensor in tensors.items()}
