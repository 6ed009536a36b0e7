"""Device, precision and processes."""

from __future__ import annotations

import os
import shlex
import shutil
import sys

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.utils._triton import has_triton

from ..config import Config, SystemConfig
from ..errors import ConfigError


def build_accelerator(system: SystemConfig, precision: str) -> Accelerator:
    """Device, precision and processes.

    Raises:
        ConfigError: The device is not there.
    """
    if system.threads != "auto":
        torch.set_num_threads(system.threads)
    there = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[system.device]:
        raise ConfigError(
            f"there is no {system.device} device here", where="system.device", remedy="use auto"
        )
    if precision == "fp16" and (system.device == "cpu" or not torch.cuda.is_available()):
        raise ConfigError(
            "fp16 needs a CUDA device", where="train.precision", remedy="use bf16 or fp32"
        )
    mixed = "no" if precision == "fp32" else precision
    # Its state is one a process and refuses another precision; a session may do several runs.
    AcceleratorState._reset_state()
    return Accelerator(cpu=system.device == "cpu", mixed_precision=mixed)


def check_augmentation(config: Config, device: torch.device) -> None:
    """Refuses to augment batches on a device that this was never run on.

    Raises:
        ConfigError: It is such a device, and there is something to augment.
    """
    augmented = config.augment.where == "device" and not config.model.slices.frozen
    if augmented and device.type == "mps":
        raise ConfigError(
            "batches were never augmented on a GPU of Apple's",
            where="augment.where",
            why="torch lacks some of the interpolations there",
            remedy="set augment.where=workers",
        )


def check_compile(system: SystemConfig, device: torch.device) -> None:
    """Refuses to train through `torch.compile` where what it makes code with is not there.

    Raises:
        ConfigError: It is not.
    """
    if not system.compile:
        return
    if device.type == "cpu" and not has_compiler():
        raise ConfigError(
            "torch.compile finds no C++ compiler",
            where="system.compile",
            why=f"{_compiler()} is not on the path; the variable CXX may name another",
            remedy="install it, or leave system.compile=false",
        )
    if device.type == "cuda" and not has_triton():
        raise ConfigError(
            "torch.compile finds no Triton that knows this GPU",
            where="system.compile",
            remedy="install it, or leave system.compile=false",
        )


def has_compiler() -> bool:
    """Whether `torch.compile` finds a compiler for a CPU."""
    return shutil.which(_compiler()) is not None


def _compiler() -> str:
    # As torch's own compiler looks for it.
    usual = "clang++" if sys.platform == "darwin" else "g++"
    words = shlex.split(os.environ.get("CXX", usual))
    return words[0] if words else usual
