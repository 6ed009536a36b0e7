"""Reading or mapping a cached volume, with its digest or known to be sound, against safetensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from ..data.cache_entry import EntryReader, entry_bytes
from ..storage import make_folder, write_bytes
from .ratio import ROUNDS, Ratio, ratio, seconds_of

FILES = 8
_SIZES = ((28, 28, 28), (64, 64, 64), (96, 128, 96), (192, 192, 192))


@dataclass(frozen=True, slots=True)
class Cached:
    """Time of our readings of volumes of one size, in multiples of safetensors' mapped file's.

    Attributes:
        first: When the digest is taken.
        read: Every other time.
        mapped: Every other time, where entries are mapped as well.
    """

    first: Ratio
    read: Ratio
    mapped: Ratio


def cached_costs(folder: Path, advance: Callable[[], None]) -> list[Cached]:
    """Time to bring a cached volume into a batch, against a mapped safetensors file's.

    In turns, from the memory in which the system keeps files.

    Args:
        folder: For the files.
        advance: Called after each round.

    Returns:
        For each size of volumes, in order.
    """
    files = {"x".join(map(str, size)): _written(folder, size) for size in _SIZES}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in files}
    for pairs in files.values():  # once, for what is opened at first
        _round(pairs, 0)
    for number in range(ROUNDS):
        for name, pairs in files.items():
            found[name].append(_round(pairs, number))
        advance()
    return [
        Cached(*(ratio(name, list(column)) for column in zip(*rounds, strict=True)))
        for name, rounds in found.items()
    ]


def _written(folder: Path, size: tuple[int, int, int]) -> list[tuple[Path, Path]]:
    """Entries of the cache, and the same volumes in plain files of safetensors."""
    own = make_folder(folder / "x".join(map(str, size)))
    pairs = [(own / f"{k}.volume", own / f"{k}.safetensors") for k in range(FILES)]
    for entry, plain in pairs:
        tensors = {"image": torch.randn(1, *size)}
        write_bytes(entry, entry_bytes(tensors))
        write_bytes(plain, save(tensors))
    return pairs


def _round(pairs: Sequence[tuple[Path, Path]], number: int) -> tuple[float, float, float]:
    """Time of each of our readings as a multiple of safetensors', all files in a row."""
    reader, mapper = EntryReader(), EntryReader(mapped=True)
    entries, plain = [entry for entry, _ in pairs], [path for _, path in pairs]
    first = seconds_of(partial(_batched, reader.read, entries))
    _batched(mapper.read, entries)
    ways = (
        partial(_batched, load_file, plain),
        partial(_batched, reader.read, entries),
        partial(_batched, mapper.read, entries),
    )
    # Each at every place in turn, for it finds the caches as the one before has left them.
    order = (*range(number % 3, 3), *range(number % 3))
    taken = {place: seconds_of(ways[place]) for place in order}
    return first / taken[0], taken[1] / taken[0], taken[2] / taken[0]


def _batched(read: Callable[[Path], dict[str, Tensor] | None], paths: Sequence[Path]) -> None:
    for path in paths:
        tensors = read(path)
        assert tensors is not None  # it was just written
        torch.stack([tensors["image"]])
