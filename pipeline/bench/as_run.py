"""Ours as `volclass` runs it beside other networks as torch alone runs them.

Within one process all of them gain by how `volclass` keeps memory and lets threads wait. Who trains
another network by a script of torch alone has neither; so each has a process of its own here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from .networks import SETTINGS, Setting
from .ratio import Ratio, in_pairs
from .timed_process import Pass, TimedProcess

#: More than elsewhere: a pass is short, and two processes meet the machine in two states.
AS_RUN_ROUNDS = 7
OTHERS = ("plain", "monai_resnet18", "monai_densenet121")
#: By now `volclass` has set how threads wait; a process of its own sets it anew, others do not.
_OURS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
#: Seconds within which the threads of the process before have come to rest.
_REST = 0.05


@dataclass(frozen=True, slots=True)
class AsRun:
    """What came out for one setting; each ratio above 1 is in our favour.

    Attributes:
        setting: The setting.
        forward: Time of another network's forward pass, in multiples of ours, by its name.
        training: The same for forward and backward pass.
    """

    setting: Setting
    forward: tuple[Ratio, ...]
    training: tuple[Ratio, ...]


def as_run_settings() -> list[Setting]:
    """Those that the networks' goals are about."""
    by_name = {setting.name: setting for setting in SETTINGS}
    wanted = (
        "poolformer3d_t, 32^3, batch 8",
        "poolformer3d_t, 64^3, batch 8",
        "poolformer3d_s12, 32^3, batch 8",
        "poolformer3d_s12, 96x128x96, batch 1",
        "poolformer3d_s12, 96x128x96, batch 2",
    )
    return [by_name[name] for name in wanted]


def as_run_speeds(
    settings: Sequence[Setting], advance: Callable[[], None], rounds: int = AS_RUN_ROUNDS
) -> list[AsRun]:
    """Measures every setting, each other network and ours in turns, process by process.

    Args:
        settings: What is measured.
        advance: Called after each setting.
        rounds: How often.

    Raises:
        StorageError: A process failed.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    found = []
    for setting in settings:
        with ExitStack() as stack:
            ours, *others = (
                stack.enter_context(
                    TimedProcess(name, setting.name, environment, prepared=name == "ours")
                )
                for name in ("ours", *OTHERS)
            )
            named = dict(zip(OTHERS, others, strict=True))
            found.append(
                AsRun(
                    setting,
                    _in_turns("forward", ours, named, rounds),
                    _in_turns("training", ours, named, rounds),
                )
            )
        advance()
    return found


def _in_turns(
    kind: Pass, ours: TimedProcess, others: Mapping[str, TimedProcess], rounds: int
) -> tuple[Ratio, ...]:
    def clock(process: TimedProcess) -> Callable[[], float]:
        def seconds() -> float:
            time.sleep(_REST)
            return process.seconds(kind)

        return seconds

    clocks = {name: clock(process) for name, process in others.items()}
    return in_pairs(clock(ours), clocks, rounds)
