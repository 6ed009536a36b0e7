"""Everything that the page tells, measured in one run."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..progress import Display
from .bombs import Bomb, bombs
from .collection import collection
from .examination import Examined, examine
from .flips import Flips, flipped_bits, flipped_header_bits, peer_flips
from .mutations import Mutations, mutated_headers
from .orientations import Orientation, orientations
from .peers import Compared, compare
from .readers import PEERS, Peer
from .table import ROWS

FLIPS, MUTATIONS = 500, 5000


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


def measure(
    folder: Path,
    display: Display,
    rows: Collection[int] = tuple(ROWS),
    flips: int = FLIPS,
    mutations: int = MUTATIONS,
) -> Measured:
    """Makes the bad files, and sees what becomes of them.

    Args:
        folder: An empty folder for all files; they are left there.
        display: Where progress is shown.
        rows: Of table A, whose files are made.
        flips: How many bits are flipped.
        mutations: How many bytes of a header are changed.
    """
    start = time.monotonic()
    files = [file for file in collection() if file.row in rows]
    return Measured(
        tuple(sorted(rows)),
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
    return {peer: peer_flips(peer, folder, count, advance=bar.advance) for peer in others}
