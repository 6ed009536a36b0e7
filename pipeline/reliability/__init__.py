"""How bad files fare: a collection of them, the checks that they meet, and what others do."""

from __future__ import annotations

from .bad_file import BadFile
from .bombs import Bomb, bombs
from .collection import FAMILIES, collection
from .command import reliability
from .examination import Examined, examine
from .flips import Flips, flipped_bits, flipped_header_bits
from .goals import Figure, failures, figures
from .measurement import Amounts, Measured, measure
from .mutations import Mutations, mutated_headers
from .orientations import Orientation, orientations
from .page import page
from .peers import Compared, compare
from .readers import PEERS
from .table import ROWS

__all__ = [
    "FAMILIES",
    "PEERS",
    "ROWS",
    "Amounts",
    "BadFile",
    "Bomb",
    "Compared",
    "Examined",
    "Figure",
    "Flips",
    "Measured",
    "Mutations",
    "Orientation",
    "bombs",
    "collection",
    "compare",
    "examine",
    "failures",
    "figures",
    "flipped_bits",
    "flipped_header_bits",
    "measure",
    "mutated_headers",
    "orientations",
    "page",
    "reliability",
]
