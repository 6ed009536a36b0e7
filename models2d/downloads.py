"""Weights as timm downloads them, without a long wait where there is no connection."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from logging import ERROR
from threading import Thread

import torch
from torch import Tensor

from .weight_files import WeightsError

_PATIENCE = 5.0  # seconds for the host of the weights to answer
_REMEDY = (
    "give a file of weights (model.init=random model.weights=PATH, and for a 3D network "
    "model.init=inflate model.weights=PATH), or start from random ones (model.init=random)"
)


@lru_cache(maxsize=1)
def fetch(name: str) -> dict[str, Tensor]:
    """Fetch published weights, or take them from timm's cache; see ``published_tensors``.

    Args:
        name: name of the network, with or without the tag of its weights.

    Returns:
        The tensors by timm's names. They are kept for the next call: leave them unchanged.

    Raises:
        WeightsError: no such weights, or none to be had.
    """
    import timm
    from huggingface_hub.errors import LocalEntryNotFoundError

    what = f"cannot get timm's weights for {name}"
    if not timm.is_model(name) or not timm.models.is_model_pretrained(name):
        raise WeightsError(what, "timm has published none", _REMEDY)
    timm.models.set_pretrained_check_hash(True)
    trouble = ""
    try:
        with _quiet_hub() as trouble, torch.device("cpu"), torch.random.fork_rng(devices=[]):
            network: torch.nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:  # several libraries take part, each with errors of its own
        told = (str(error).splitlines() or [type(error).__name__])[0]
        if trouble and isinstance(error, LocalEntryNotFoundError):
            told = trouble
        why = f"they are not on this machine, and the download failed ({told})"
        raise WeightsError(what, why, f"connect to the network once, or {_REMEDY}") from error
    finally:
        timm.models.set_pretrained_check_hash(False)
    return dict(network.state_dict())


@contextmanager
def _quiet_hub() -> Iterator[str]:
    """Keep huggingface_hub from long retries and from its lines about them.

    Without an answer of its host it is told that it is offline, so that it looks into its cache
    alone: by itself it tries for a minute.

    Yields:
        Why nothing can be downloaded; empty where the host answers.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import logging

    offline, verbosity = constants.HF_HUB_OFFLINE, logging.get_verbosity()
    trouble = "HF_HUB_OFFLINE is set"
    logging.set_verbosity(ERROR)
    try:
        if not offline:
            trouble = "" if _answers(constants.ENDPOINT) else f"no answer of {constants.ENDPOINT}"
            constants.HF_HUB_OFFLINE = bool(trouble)
        yield trouble
    finally:
        constants.HF_HUB_OFFLINE = offline
        logging.set_verbosity(verbosity)


def _answers(address: str) -> bool:
    """Tell whether a host answers, whatever it says, by the client that the hub itself uses."""
    from huggingface_hub import get_session

    heard: list[int] = []

    def ask() -> None:
        try:
            heard.append(get_session().head(address, timeout=_PATIENCE).status_code)
        except Exception:  # whatever fails on the way, the host has not answered
            return

    # The time limit does not hold for the look-up of the name, hence a thread that may be left.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return bool(heard)
