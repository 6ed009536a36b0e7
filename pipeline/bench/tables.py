"""Tables of what `volclass bench` measures, but for networks."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from .anatomy import PARTS, EpochParts
from .cached import Cached
from .extraction import CASES, SIDE
from .ratio import ROUNDS, Ratio
from .reading import PAIRS


def speed_lines(extracted: Sequence[Ratio], frozen: Ratio) -> list[str]:
    """Extraction of features, and epochs on frozen ones; with date, machine and versions."""
    return [
        "Written by `make bench`. Every figure is a ratio of two things measured in turns in",
        "one run; absolute times are left out, since they tell of the machine. Median and",
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


def step_lines(steps: Sequence[Ratio]) -> list[str]:
    """Heads, stems and mixers."""
    return [
        "Written by `make bench`: forward and backward pass of `poolformer3d_n` on 32 volumes of",
        "28^3, against the same network with a last-stage head, a convolution as its stem and the",
        f"pooling mixer, in turns step by step. Median and range of {ROUNDS} rounds on a CPU.",
        "",
        "| what is different | time, multiple of the plain network's | range |",
        "|---|---|---|",
        *map(_row, steps),
    ]


def preparing_lines(preparing: Sequence[tuple[Ratio, Ratio]]) -> list[str]:
    """Preprocessing; for each kind of file to the cache, and to memory."""
    return [
        "Written by `make bench`: MONAI's own steps of the same name (`LoadImaged` by nibabel,",
        "`Orientationd`, `Spacingd`, `CropForegroundd`, `NormalizeIntensityd`,",
        "`ResizeWithPadOrCropd`), from a file to a volume in memory, against ours with all checks",
        "and hashes: once until the volume is in the cache on disk, written and synced, and once",
        f"until it is in memory, as MONAI's. In turns, median and range of {ROUNDS} rounds.",
        "",
        "| file | MONAI's time, multiple of ours to cache | range | of ours to memory | range |",
        "|---|---|---|---|---|",
        *(f"{_row(cached)} {kept.median:.2f} | {_range(kept)} |" for cached, kept in preparing),
    ]


def starting_lines(starting: Sequence[Ratio]) -> list[str]:
    """Starts of processes."""
    return [
        "Written by `make bench`: whole processes, from their start to their end, in multiples of",
        "one that imports torch and does nothing, in turns. Predictions are of one volume, with",
        "the networks of two folds of poolformer3d_t. The last row is no whole process: from the",
        "start of two that load to their first batch, of volumes that cost nothing to read. Median",
        f"and range of {ROUNDS} rounds on a CPU.",
        "",
        "| process | time, multiple of `import torch` | range |",
        "|---|---|---|",
        *map(_row, starting),
    ]


def waiting_lines(waiting: Sequence[Ratio]) -> list[str]:
    """Epochs beside their steps alone."""
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


def parts_lines(parts: Sequence[EpochParts]) -> list[str]:
    """Epochs taken apart."""
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


def reading_lines(reading: Sequence[tuple[Ratio, Ratio]]) -> list[str]:
    """Files; for each kind beside nibabel alone, and with the same done."""
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


def cached_lines(cached: Sequence[Cached]) -> list[str]:
    """Volumes from the cache; for each size at first, and after that."""
    return [
        "A preprocessed volume from the cache into a batch, against a file that safetensors maps",
        "into memory and does not check: at first, when its SHA-256 is taken, and each time after",
        "that, when the file has not changed, read or mapped (`system.cache=mapped`).",
        "",
        "| voxels | first time, multiple of it | range | read | range | mapped | range |",
        "|---|---|---|---|---|---|---|",
        *map(_cached_row, cached),
    ]


def _cached_row(item: Cached) -> str:
    later = (f"{each.median:.2f} | {_range(each)} |" for each in (item.read, item.mapped))
    return " ".join((_row(item.first), *later))


def _row(item: Ratio) -> str:
    return f"| {item.name} | {item.median:.2f} | {_range(item)} |"


def _range(item: Ratio) -> str:
    return f"{item.low:.2f} to {item.high:.2f}"
