"""Reading of a cached volume, with its digest and known to be sound, against a mapped file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    In turns, from the memory in which the system keeps files.

    Args:
        folder: For the files.
        advance: Called after each round.

    Returns:
        For each size of volumes: the first time, when the digest is taken, and every other time.
    """
    files = {"x".join(map(str, size)): _written(folder, size) for size in _SIZES}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in files}
    for pairs in files.values():  # once, for what is opened at first
        _round(pairs, 0)
    for number in range(ROUNDS):
        for name, pairs in files.items():
            found[name].append(_round(pairs, number))
        advance()
    return [
        (ratio(name, [one for one, _ in rounds]), ratio(name, [other for _, other in rounds]))
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


def _round(pairs: Sequence[tuple[Path, Path]], number: int) -> tuple[float, float]:
    """Time of either of our readings as a multiple of the mapped file's, all files in a row."""
    reader = EntryReader()
    entries, plain = [entry for entry, _ in pairs], [path for _, path in pairs]
    first = seconds_of(partial(_batched, reader.read, entries))
    ways = (partial(_batched, reader.read, entries), partial(_batched, load_file, plain))
    # In turns first and second, for each finds the caches as the one before has left them.
    taken = {place: seconds_of(ways[place]) for place in ((0, 1), (1, 0))[number % 2]}
    return first / taken[1], taken[0] / taken[1]


def _batched(read: Callable[[Path], dict[str, Tensor] | None], paths: Sequence[Path]) -> None:
    for path in paths:
        tensors = read(path)
        assert tensors is not None  # it was just written
        torch.stack([tensors["image"]])
