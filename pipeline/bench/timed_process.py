"""A process that makes passes of one network and tells how long each took."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from models3d import create_model

from ..errors import StorageError
from .networks import SETTINGS, forward, network_of
from .plain import plain_of
from .ratio import seconds_of
from .training_step import training_step

Pass = Literal["forward", "training"]
_PASSES: Mapping[Pass, Callable[[nn.Module, Tensor], None]] = {
    "forward": forward,
    "training": training_step,
}
_AS_VOLCLASS = "from pipeline.process_start import prepare_process; prepare_process(); "
_SERVE = "from pipeline.bench.timed_process import serve; serve()"
_ANSWER = "seconds of a pass: "


class TimedProcess(AbstractContextManager["TimedProcess"]):
    """Such a process, from within another one; it ends with the block.

    Args:
        network: `ours`, `plain`, or the name of another network.
        setting: Name of the setting whose volumes it reads.
        environment: Its variables.
        prepared: Whether it starts as `volclass` does; otherwise as torch alone.
    """

    def __init__(
        self, network: str, setting: str, environment: Mapping[str, str], *, prepared: bool
    ) -> None:
        program = (_AS_VOLCLASS if prepared else "") + _SERVE
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, network, setting],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=dict(environment),
        )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.terminate()  # it may be in the middle of a pass
        # Without more to read it ends by itself.
        self._process.communicate()
        self._said.close()

    def seconds(self, kind: Pass) -> float:
        """Time of one pass; the first waits until the process has its network.

        Raises:
            StorageError: The process failed.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{kind}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # what it has to say is read below
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # Libraries may print, too.
            if line.startswith(_ANSWER):
                return line.removeprefix(_ANSWER)
        ended = self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode(errors="replace")[-500:]
        raise StorageError("a process that is measured failed", why=f"exit status {ended}: {said}")


def serve() -> None:
    """Makes the passes that are asked for on standard input, and answers with their seconds."""
    network, images = _network_and_images(*sys.argv[1:])
    for line in sys.stdin:
        work = _PASSES[cast("Pass", line.strip())]
        # On a line of its own, whatever was printed before.
        sys.stdout.write(f"\n{_ANSWER}{seconds_of(partial(work, network, images))}\n")
        sys.stdout.flush()


def _network_and_images(name: str, setting: str) -> tuple[nn.Module, Tensor]:
    chosen = next(item for item in SETTINGS if item.name == setting)
    torch.manual_seed(0)
    images = torch.randn(chosen.batch, 1, *chosen.size)
    if name == "ours":
        return network_of(chosen), images
    if name == "plain":
        return plain_of(network_of(chosen)), images
    return create_model(name), images
