"""Everything that the page tells, measured in one run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ..progress import Display
from .bombs import Bomb, bombs
from .collection import collection
from .examination import Examined, examine
from .flips import Flips, flipped_bits, flipped_header_bits
from .mutations import Mutations, mutated_headers
from .orientations import Orientation, orientations
from .peers import Compared, compare
from .readers import PEERS, Peer
from .table import ROWS


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is measured; by default all that the page of the project tells.

    Attributes:
        rows: Of table A, whose files are made.
        flips: How many bits are flipped.
        mutations: How many bytes of a header are changed.
    """

    rows: tuple[int, ...] = tuple(ROWS)
    flips: int = 500
    mutations: int = 5000


@dataclass(frozen=True, slots=True)
class Measured:
    """What was seen.

    Attributes:
        rows: Of table A, that were asked for.
        examined: What became of each bad file.
        left_out: Bad files that this process could not be shown, `row, name`.
        compared: What several readers do with those that are files by themselves.
        flips: Bits flipped anywhere in a compressed file.
        header_flips: Each bit of its gzip header.
        peer_flips: The bits of `flips`, read by others.
        mutations: Changed bytes of a header.
        bombs: Files that claim too much.
        orientations: Hand-worked cases.
        seconds: How long all of it took.
    """

    rows: tuple[int, ...]
    examined: tuple[Examined, ...]
    left_out: tuple[str, ...]
    compared: tuple[Compared, ...]
    flips: Flips
    header_flips: Flips
    peer_flips: dict[Peer, Flips]
    mutations: Mutations
    bombs: tuple[Bomb, ...]
    orientations: tuple[Orientation, ...]
    seconds: float

    @property
    def whole(self) -> bool:
        """Whether every row of the table was asked for."""
        return set(self.rows) == set(ROWS)


def measure(folder: Path, display: Display, amounts: Amounts) -> Measured:
    """Makes the bad files, and sees what becomes of them.

    Args:
        folder: An empty folder for all files; they are left there.
        display: Where progress is shown.
        amounts: How much.
    """
    start = time.monotonic()
    files = [file for file in collection() if file.row in amounts.rows]
    flips, mutations = amounts.flips, amounts.mutations
    return Measured(
        tuple(sorted(amounts.rows)),
        tuple(examine(files, folder / "examined", display.bar("bad files", len(files)).advance)),
        tuple(f"{file.row}, {file.name}" for file in files if not file.possible),
        tuple(compare(files, folder / "peers", display.bar("readers", len(files)).advance)),
        flipped_bits(folder / "flips", flips, advance=display.bar("flipped bits", flips).advance),
        flipped_header_bits(folder / "header"),
        _flips_of_peers(folder / "peer_flips", flips, display),
        mutated_headers(
            folder / "mutations", mutations, advance=display.bar("headers", mutations).advance
        ),
        tuple(bombs(folder / "bombs")),
        tuple(orientations(folder / "orientations")),
        time.monotonic() - start,
    )


def _flips_of_peers(folder: Path, count: int, display: Display) -> dict[Peer, Flips]:
    others = [peer for peer in PEERS if peer != "volclass"]
    bar = display.bar("flipped bits, others", count * len(others))
    return {peer: flipped_bits(folder, count, advance=bar.advance, peer=peer) for peer in others}
