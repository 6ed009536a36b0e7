"""Reading of a cached volume, with its digest and known to be sound, against a mapped file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from ..data.cache_entry import EntryReader, entry_bytes
from ..storage import make_folder, write_bytes
from .ratio import ROUNDS, Ratio, ratio, seconds_of

FILES = 20
_SIZES = ((28, 28, 28), (64, 64, 64), (96, 128, 96))


def cached_costs(folder: Path, advance: Callable[[], None]) -> list[tuple[Ratio, Ratio]]:
    """Time to bring a cached volume into a batch, as a multiple of a mapped safetensors file's.

    In turns, file by file, from the memory in which the system keeps files.

    Args:
        folder: For the files.
        advance: Called after each round.

    Returns:
        For each size of volumes: the first time, when the digest is taken, and every other time.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for size in _SIZES:
        name = "x".join(map(str, size))
        pairs = _written(folder / name, size)
        _round(pairs)
        found[name] = [_round(pairs) for _ in range(ROUNDS)]
        advance()
    return [
        (ratio(name, [one for one, _ in rounds]), ratio(name, [other for _, other in rounds]))
        for name, rounds in found.items()
    ]


def _written(folder: Path, size: tuple[int, int, int]) -> list[tuple[Path, Path]]:
    """Entries of the cache, and the same volumes in plain files of safetensors."""
    make_folder(folder)
    pairs = [(folder / f"{k}.volume", folder / f"{k}.safetensors") for k in range(FILES)]
    for entry, plain in pairs:
        tensors = {"image": torch.randn(1, *size)}
        write_bytes(entry, entry_bytes(tensors))
        write_bytes(plain, save(tensors))
    return pairs


def _round(pairs: list[tuple[Path, Path]]) -> tuple[float, float]:
    """Time of either of our readings as a multiple of the mapped file's."""
    reader, taken = EntryReader(), [0.0, 0.0, 0.0]
    for entry, plain in pairs:
        ours = partial(_batched, partial(reader.read, entry))
        taken[0] += seconds_of(ours)
        taken[1] += seconds_of(partial(_batched, partial(load_file, plain)))
        taken[2] += seconds_of(ours)
    first, mapped, again = taken
    return first / mapped, again / mapped


def _batched(read: Callable[[], dict[str, Tensor] | None]) -> Tensor:
    tensors = read()
    assert tensors is not None  # it was just written
    return torch.stack([tensors["image"]])
