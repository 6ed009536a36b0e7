"""Which volumes an audit's page shows, and their pictures as parts of the page."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from ..evaluation.audit_record import AuditRecord, Pair

#: Pairs and outliers that are shown; the others are in the tables.
MOST_PAIRS = 12
MOST_OUTLIERS = 24


def pictured_pairs(record: AuditRecord) -> tuple[Pair, ...]:
    """Pairs with pictures: the first ones, whose order puts contradictions first."""
    return record.pairs[:MOST_PAIRS]


def pictured_outliers(record: AuditRecord) -> tuple[str, ...]:
    """Ids of the outliers with pictures, those that stand out in most ways first."""
    ways: dict[str, int] = {}
    for item in record.outliers:
        # Another orientation alone says nothing of the picture, which is always turned to RAS.
        ways[item.case_id] = ways.get(item.case_id, 0) + (
            1 if item.code == "W_ORIENTATION_OTHER" else 100
        )
    return tuple(sorted(ways, key=lambda name: -ways[name])[:MOST_OUTLIERS])


def pictured(record: AuditRecord) -> tuple[str, ...]:
    """Ids of all cases with pictures, each once."""
    pairs = (name for pair in pictured_pairs(record) for name in (pair.first, pair.second))
    return _once((*pairs, *pictured_outliers(record)))


def address(png: bytes) -> str:
    """A picture as a data address: part of the page, never fetched."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
