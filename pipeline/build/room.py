"""Whether there is room for a network."""

from __future__ import annotations

import psutil
import torch
from torch import nn

from ..config import Config
from ..errors import ConfigError

_TRAINED = 4  # a weight, its gradient, and the two averages of AdamW


def check_memory(config: Config, network: nn.Module) -> None:
    """Refuses a network that cannot be trained here, before anything is allocated for it.

    Args:
        config: Names the network, and the device.
        network: With all its heads; on the meta device.

    Raises:
        ConfigError: Its numbers take more memory than the machine has.
    """
    count = sum(parameter.numel() for parameter in network.parameters())
    # On a GPU only the weights must fit into the machine's own memory.
    elsewhere = config.system.device != "cpu" and torch.cuda.is_available()
    needed = 4 * count * (1 if elsewhere else _TRAINED)
    memory = psutil.virtual_memory().total
    if needed > memory:
        raise ConfigError(
            f"{config.model.name} is too large for this machine",
            where="model.options, model.head",
            why=f"its {count:,} parameters take {needed / 2**30:,.0f} GiB in training, and the "
            f"machine has {memory / 2**30:,.0f} GiB",
            remedy="lower its widths or depths, or choose a smaller one: `volclass models`",
        )
