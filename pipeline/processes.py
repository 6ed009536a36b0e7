"""What several processes on one run need: one lock for all of them, and a case for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from accelerate import Accelerator

from .build import build_order, check_network
from .errors import ConfigError
from .run import Run, RunFolder
from .storage import locked, remove_partial


@contextmanager
def owned(folder: RunFolder, accelerator: Accelerator) -> Iterator[None]:
    """The first process holds the folder's lock for all of them."""
    if not accelerator.is_main_process:
        yield
        return
    with locked(folder.path):
        remove_partial(folder.path)
        yield


def check_shares(run: Run, taught: Sequence[int]) -> None:
    """Every process needs a case in every forward pass; two, where batch norm compares cases.

    Args:
        run: Network, batches and processes.
        taught: How many cases teach each network.

    Raises:
        ConfigError: Names the batch size that would do.
    """
    processes = run.accelerator.num_processes
    if check_network(run.config).has_batch_norm:
        processes *= 2
    for count in taught:
        order = build_order(run.config.train, [0] * count, seed=0)
        smallest = min(len(batch) for step in order.epoch(0) for batch in step.batches)
        if smallest < processes:
            raise ConfigError(
                f"a batch of {smallest} is too small: {processes} cases are needed",
                where="train.batch_size",
                why="every process needs one in each forward pass, and batch norm needs two",
                remedy=f"raise it to at least {2 * processes}, or start fewer processes",
            )
