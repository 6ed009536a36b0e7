"""`volclass bench`: speed as ratios, each measured side by side in one process.

Absolute times say more about a machine than about a program, and are not given.
"""

from __future__ import annotations

import importlib.metadata
import platform
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from ..markdown import put_part
from ..progress import Display
from .anatomy import PARTS, EpochParts, epoch_parts
from .cached import cached_costs
from .epochs import frozen_epochs
from .extraction import CASES, NETWORKS, SIDE, extraction, write_volumes
from .networks import PROFILED, SETTINGS, forward, network_of, network_speeds
from .networks_table import networks_lines
from .operators import top_operators
from .preparing import FILES, preparing_costs
from .ratio import ROUNDS, Ratio
from .reading import PAIRS, reading_costs
from .starting import starting_costs
from .steps import step_costs
from .training_step import training_step
from .variants import variant_speeds
from .waiting import EPOCHS, waiting_costs


def bench(out: Path, display: Display) -> list[Ratio]:
    """Measures, and writes a page of tables.

    Args:
        out: The Markdown file to write.
        display: Where progress is shown.

    Raises:
        StorageError: The page cannot be written.
    """
    settings = len(SETTINGS) + len(FILES) + 2 * len(EPOCHS)
    bar = display.bar("measuring", (len(NETWORKS) + 5) * ROUNDS + settings)
    put_part(out, "Networks", _networks(bar.advance))
    with tempfile.TemporaryDirectory() as name:
        reading = reading_costs(Path(name), bar.advance)
        cached = cached_costs(Path(name), bar.advance)
    put_part(out, "Reading", [*_reading_lines(reading), "", *_cached_lines(cached)])
    with tempfile.TemporaryDirectory() as name:
        put_part(out, "Preprocessing", _preparing_lines(preparing_costs(Path(name), bar.advance)))
    with tempfile.TemporaryDirectory() as name:
        put_part(out, "Start-up", _starting_lines(starting_costs(Path(name), bar.advance)))
    with tempfile.TemporaryDirectory() as name:
        waiting = waiting_costs(Path(name), bar.advance)
        parts = epoch_parts(Path(name) / "parts", bar.advance)
    put_part(out, "Waiting for volumes", [*_waiting_lines(waiting), "", *_parts_lines(parts)])
    steps = step_costs(bar.advance)
    put_part(out, "Cost of heads, stems and mixers", _step_lines(steps))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frozen = frozen_epochs(folder, bar.advance)
        images = write_volumes(folder / "images")
        extracted = [extraction(network, images, folder, bar.advance) for network in NETWORKS]
    put_part(out, "Speed", _lines(extracted, frozen))
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


def _lines(extracted: Sequence[Ratio], frozen: Ratio) -> list[str]:
    return [
        "Written by `make bench`. Every figure is a ratio of two things measured in turns in",
        "one process; absolute times are left out, since they tell of the machine. Median and",
        f"range of {ROUNDS} rounds.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {_processor()}, {torch.get_num_threads()} threads;",
        f"{_versions()}. On a GPU: not measured.",
        "",
        "### Feature extraction against bare forward passes",
        "",
        f"`volclass features` on {CASES} cached volumes of {SIDE}^3 voxels, from the first",
        "check of the files to the finished Parquet file with mean, maximum and standard",
        "deviation of every stage; against a bare forward pass of the same network on the",
        "same batch, in turns batch by batch.",
        "",
        "| network | throughput, part of the bare forward pass | range |",
        "|---|---|---|",
        *map(_row, extracted),
        "",
        "### Epochs on frozen slice features against epochs end to end",
        "",
        "A fold of `configs/slices/resnet18_attention.yaml` on generated phantoms, with and",
        "without `model.slices.frozen=true`: whole epochs but the first, with validation and",
        "checkpoints.",
        "",
        "| network | frozen epochs in the time of one end to end | range |",
        "|---|---|---|",
        _row(frozen),
    ]


def _processor() -> str:
    """Its maker's name, where the system tells, and the vectors that torch uses of it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{(names or [platform.processor()])[0] or platform.machine()} ({vectors})"


def _versions() -> str:
    names = {"torch", "torchvision", "monai", "timm-3d", "nibabel"}
    parts = [part for part in importlib.metadata.distributions() if part.name.lower() in names]
    return ", ".join(sorted({f"{part.name.lower()} {part.version}" for part in parts}))


def _step_lines(steps: Sequence[Ratio]) -> list[str]:
    return [
        "Written by `make bench`: forward and backward pass of `poolformer3d_n` on 32 volumes of",
        "28^3, against the same network with a last-stage head, a convolution as its stem and the",
        f"pooling mixer, in turns step by step. Median and range of {ROUNDS} rounds on a CPU.",
        "",
        "| what is different | time, multiple of the plain network's | range |",
        "|---|---|---|",
        *map(_row, steps),
    ]


def _preparing_lines(preparing: Sequence[Ratio]) -> list[str]:
    return [
        "Written by `make bench`: a volume from its file to the cache, with all checks and hashes,",
        "against MONAI's own steps of the same name from the same file to memory (`LoadImaged` by",
        "nibabel, `Orientationd`, `Spacingd`, `CropForegroundd`, `NormalizeIntensityd`,",
        f"`ResizeWithPadOrCropd`), in turns. Median and range of {ROUNDS} rounds on a CPU.",
        "",
        "| file | MONAI's time in multiples of ours | range |",
        "|---|---|---|",
        *map(_row, preparing),
    ]


def _starting_lines(starting: Sequence[Ratio]) -> list[str]:
    return [
        "Written by `make bench`: whole processes, from their start to their end, in multiples of",
        "one that imports torch and does nothing, in turns. Predictions are of one volume, with",
        "the networks of two folds of poolformer3d_t. Median and range of",
        f"{ROUNDS} rounds on a CPU.",
        "",
        "| process | time, multiple of `import torch` | range |",
        "|---|---|---|",
        *map(_row, starting),
    ]


def _waiting_lines(waiting: Sequence[Ratio]) -> list[str]:
    return [
        "Written by `make bench`: the training steps of whole epochs, on volumes from a warm cache",
        "that two loading processes augment, against the same steps on batches that wait in",
        f"memory, every other epoch of one run. Median and range of {ROUNDS} pairs on a CPU, which",
        "the loading processes share. The last step does not count; up to four batches are loaded",
        "before the first, as in any training, while the epoch before is validated.",
        "",
        "| network | time, multiple of the steps alone | range |",
        "|---|---|---|",
        *map(_row, waiting),
    ]


def _parts_lines(parts: Sequence[EpochParts]) -> list[str]:
    return [
        "Where the time of such an epoch goes, from the cache to the gradient, when the process",
        "that trains loads the volumes itself, so that nothing overlaps; with two loading",
        "processes what stands before the steps is done beside them.",
        "",
        f"| network | {' | '.join(PARTS)} |",
        "|---" * (1 + len(PARTS)) + "|",
        *(
            f"| {item.name} | {' | '.join(f'{item.shares[part]:.1%}' for part in PARTS)} |"
            for item in parts
        ),
    ]


def _reading_lines(reading: Sequence[tuple[Ratio, Ratio]]) -> list[str]:
    return [
        "Written by `make bench`: reading one good file with all checks, checksum and SHA-256,",
        "against nibabel, in turns. Alone, nibabel gives the voxels in single precision by",
        "`get_fdata`; with the same done to them it puts the axes in RAS order, makes them",
        "contiguous, looks for values that are not finite or all the same, and hashes them. It",
        f"never checks the file's checksum. Median and range of {ROUNDS} rounds of",
        f"{PAIRS} on a CPU.",
        "",
        "| file | time, multiple of nibabel alone | range | with the same done | range |",
        "|---|---|---|---|---|",
        *(f"{_row(plain)} {same.median:.2f} | {_range(same)} |" for plain, same in reading),
    ]


def _cached_lines(cached: Sequence[tuple[Ratio, Ratio]]) -> list[str]:
    return [
        "A preprocessed volume from the cache into a batch, against a file that safetensors maps",
        "into memory and does not check: at first, when its SHA-256 is taken, and each time after",
        "that, when the file has not changed.",
        "",
        "| voxels | first time, multiple of a mapped file | range | after that | range |",
        "|---|---|---|---|---|",
        *(f"{_row(first)} {again.median:.2f} | {_range(again)} |" for first, again in cached),
    ]


def _row(item: Ratio) -> str:
    return f"| {item.name} | {item.median:.2f} | {_range(item)} |"


def _range(item: Ratio) -> str:
    return f"{item.low:.2f} to {item.high:.2f}"
