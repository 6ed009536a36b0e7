"""`volclass bench`: speed as ratios, each measured side by side in one run.

Absolute times say more about a machine than about a program, and are not given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from ..markdown import put_part
from ..progress import Display
from .anatomy import epoch_parts
from .as_run import as_run_settings, as_run_speeds
from .cached import cached_costs
from .epochs import frozen_epochs
from .extraction import NETWORKS, extraction, write_volumes
from .networks import PROFILED, SETTINGS, forward, network_of, network_speeds
from .networks_table import as_run_lines, networks_lines
from .operators import top_operators
from .preparing import FILES, preparing_costs
from .ratio import ROUNDS, Ratio
from .reading import reading_costs
from .starting import starting_costs
from .steps import step_costs
from .tables import (
    cached_lines,
    parts_lines,
    preparing_lines,
    reading_lines,
    speed_lines,
    starting_lines,
    step_lines,
    waiting_lines,
)
from .training_step import training_step
from .variants import variant_speeds
from .waiting import EPOCHS, waiting_costs


def bench(out: Path, display: Display) -> list[Ratio]:
    """Measures, and writes a page of tables.

    Args:
        out: The Markdown file to write.
        display: Where progress is shown.

    Raises:
        StorageError: The page cannot be written, or a process that is measured failed.
    """
    alone = as_run_settings()
    settings = len(SETTINGS) + len(alone) + len(FILES) + 2 * len(EPOCHS)
    bar = display.bar("measuring", (len(NETWORKS) + 5) * ROUNDS + settings)
    put_part(out, "Networks", _networks(bar.advance))
    put_part(out, "As each is run", as_run_lines(as_run_speeds(alone, bar.advance)))
    with tempfile.TemporaryDirectory() as name:
        reading = reading_costs(Path(name), bar.advance)
        cached = cached_costs(Path(name), bar.advance)
    put_part(out, "Reading", [*reading_lines(reading), "", *cached_lines(cached)])
    with tempfile.TemporaryDirectory() as name:
        put_part(out, "Preprocessing", preparing_lines(preparing_costs(Path(name), bar.advance)))
    with tempfile.TemporaryDirectory() as name:
        put_part(out, "Start-up", starting_lines(starting_costs(Path(name), bar.advance)))
    with tempfile.TemporaryDirectory() as name:
        waiting = waiting_costs(Path(name), bar.advance)
        parts = epoch_parts(Path(name) / "parts", bar.advance)
    put_part(out, "Waiting for volumes", [*waiting_lines(waiting), "", *parts_lines(parts)])
    steps = step_costs(bar.advance)
    put_part(out, "Cost of heads, stems and mixers", step_lines(steps))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frozen = frozen_epochs(folder, bar.advance)
        images = write_volumes(folder / "images")
        extracted = [extraction(network, images, folder, bar.advance) for network in NETWORKS]
    put_part(out, "Speed", speed_lines(extracted, frozen))
    return [*extracted, frozen, *steps, *waiting, *(plain for plain, _ in reading)]


def _networks(advance: Callable[[], None]) -> list[str]:
    found = network_speeds(SETTINGS, advance)
    images = torch.randn(PROFILED.batch, 1, *PROFILED.size)
    network = network_of(PROFILED)
    profiles = {
        "forward pass": top_operators(partial(forward, network, images)),
        "training step": top_operators(partial(training_step, network, images)),
    }
    return networks_lines(found, profiles, PROFILED.name, variant_speeds(PROFILED))
