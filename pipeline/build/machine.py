"""Device, precision and processes."""

from __future__ import annotations

import os
import shutil
import sys

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from ..config import SystemConfig
from ..errors import ConfigError


def build_accelerator(system: SystemConfig, precision: str) -> Accelerator:
    """Device, precision and processes.

    Raises:
        ConfigError: The device is not there, or what `torch.compile` needs.
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
    accelerator = Accelerator(cpu=system.device == "cpu", mixed_precision=mixed)
    if system.compile and accelerator.device.type == "cpu" and not has_compiler():
        raise ConfigError(
            "torch.compile finds no C++ compiler",
            where="system.compile",
            why=f"{_compiler()} is not on the path; the variable CXX may name another",
            remedy="install it, or leave system.compile=false",
        )
    return accelerator


def has_compiler() -> bool:
    """Whether `torch.compile` can make code for a CPU."""
    return shutil.which(_compiler()) is not None


def _compiler() -> str:
    # As torch's own compiler looks for it.
    return os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
