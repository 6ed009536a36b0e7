"""The page of `volclass audit`: what must be decided, what is doubtful, and what was seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from ..evaluation.audit_record import (
    Area,
    AuditedVolume,
    AuditRecord,
    GroupTable,
    Pair,
    Shortcut,
)
from ..evaluation.audit_tables import common, differing
from .audit_pictures import address, pictured_outliers, pictured_pairs
from .audit_words import (
    area_text,
    begun,
    chance_text,
    chip,
    decision_text,
    likeness,
    limits,
    listed,
    notices,
    outlier_name,
    outlier_rules,
    pair_text,
    sentence,
    shortcut_text,
)
from .page import template_environment

#: Rows of a table on the page; `audit.json` has all.
MOST_ROWS = 100


@dataclass(frozen=True)
class Shown:
    """A volume with its picture and what the manifest says of it; the address may be empty."""

    case_id: str
    file: str
    who: str
    picture: str


@dataclass(frozen=True)
class PairCard:
    """Two volumes side by side."""

    text: str
    tag: str
    wrong: bool
    volumes: tuple[Shown, Shown]


@dataclass(frozen=True)
class OutlierCard:
    """A volume, and in which ways it is unlike the others."""

    volume: Shown
    ways: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DoubtRow:
    """What is doubtful in files, by code."""

    code: str
    count: int
    example: str
    cases: str


@dataclass(frozen=True)
class TableRow:
    """A group: its cells, each a count and its share of the class, 0..1."""

    group: str
    cases: int
    patients: int
    cells: tuple[tuple[int, float], ...]


def render_audit_page(record: AuditRecord, pictures: Mapping[str, bytes]) -> str:
    """The page as HTML: one file, no script, nothing from outside; names are escaped.

    Args:
        record: What was found.
        pictures: PNG by case id, of those that `pictured` names.
    """
    pairs, outliers = _pair_cards(record, pictures), _outlier_cards(record, pictures)
    return template_environment().get_template("audit.html").render(
        record=record,
        chip=chip(record),
        sentence=sentence(record),
        notices=notices(record),
        decisions=[
            (item.code, begun(decision_text(item)), begun(item.remedy)) for item in record.decisions
        ],
        refused=record.refused[:MOST_ROWS],
        by_class=_refused_by_class(record),
        pair_cards=pairs,
        pair_rows=[_pair_row(item) for item in record.pairs[len(pairs) : MOST_ROWS]],
        likeness=likeness(record),
        outlier_cards=outliers,
        outlier_rows=_outlier_rows(record, len(outliers)),
        outlier_rules=outlier_rules(),
        doubts=_doubt_rows(record),
        areas=_areas(record.shortcut),
        manifest=record.manifest[:MOST_ROWS],
        shortcut=shortcut_text(record),
        tables=[(item.name, _table_rows(item, record)) for item in record.tables],
        uniform=[f"{name} {value}" for name, value in common(record.volumes).items()],
        differing=differing(record.volumes),
        scans=list(record.scans.items()),
        straddlers=[
            (item.patient_id, [(part, listed(ids)) for part, ids in item.parts.items()])
            for item in record.straddlers[:MOST_ROWS]
        ],
        mixed=list(record.mixed_patients.items())[:MOST_ROWS],
        limits=limits(record),
        most=MOST_ROWS,
    )  # fmt: skip


_Bar = tuple[float | None, float | None, float | None]


def _areas(found: Shortcut) -> list[tuple[str, str, tuple[str, str], _Bar | None]]:
    """What metadata tell with the two grey values and without: name, notes, figures and bar."""
    notes = "; ".join((*found.notes, chance_text(found.p))) if found.notes else found.reason or ""
    rows = [("metadata", notes, found.auroc)]
    if found.header is not None:
        rows.append(("without grey values", chance_text(found.header_p), found.header))
    return [(name, notes, area_text(area), _bar(area)) for name, notes, area in rows]


def _bar(area: Area | None) -> _Bar | None:
    if area is None or None in (area.low, area.estimate, area.high):
        return None
    return area.low, area.estimate, area.high


def _shown(item: AuditedVolume, pictures: Mapping[str, bytes]) -> Shown:
    known = [f"patient {item.patient_id}", f"label {item.label}"]
    known += [f"site {item.site}"] if item.site else []
    known += [f"split {item.split}"] if item.split else []
    picture = pictures.get(item.case_id)
    return Shown(
        item.case_id, item.file, ", ".join(known), "" if picture is None else address(picture)
    )


def _volumes(record: AuditRecord) -> dict[str, AuditedVolume]:
    return {item.case_id: item for item in record.volumes}


def _pair_cards(record: AuditRecord, pictures: Mapping[str, bytes]) -> list[PairCard]:
    known = _volumes(record)
    return [
        PairCard(
            pair_text(pair),
            "same voxels" if pair.kind == "same" else f"distance {pair.distance:.3f}",
            bool(pair.differs),
            (_shown(known[pair.first], pictures), _shown(known[pair.second], pictures)),
        )
        for pair in pictured_pairs(record)
    ]


def _pair_row(pair: Pair) -> tuple[str, str, str]:
    return pair.first, pair.second, pair_text(pair)


def _ways(record: AuditRecord) -> dict[str, list[tuple[str, str]]]:
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for item in record.outliers:
        found[item.case_id].append((outlier_name(item.code), item.text))
    return found


def _outlier_cards(record: AuditRecord, pictures: Mapping[str, bytes]) -> list[OutlierCard]:
    known, ways = _volumes(record), _ways(record)
    return [
        OutlierCard(_shown(known[name], pictures), tuple(ways[name]))
        for name in pictured_outliers(record)
    ]


def _outlier_rows(record: AuditRecord, shown: int) -> list[tuple[str, list[tuple[str, str]]]]:
    pictured = set(pictured_outliers(record)[:shown])
    rows = [(name, ways) for name, ways in _ways(record).items() if name not in pictured]
    return rows[:MOST_ROWS]


def _doubt_rows(record: AuditRecord) -> list[DoubtRow]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(record.doubts):
        found[item.code].append(place)
    rows = []
    for code, places in sorted(found.items()):
        first = record.doubts[places[0]]
        names = listed(list(dict.fromkeys(record.doubts[place].case_id for place in places)))
        rows.append(DoubtRow(code, len(places), f"{first.file}: {first.text}", names))
    return rows


def _refused_by_class(record: AuditRecord) -> list[tuple[str, int, int]]:
    """Each class, how many of its volumes are refused, and of how many."""
    lost = [item.label for item in record.refused]
    kept = [item.label for item in record.volumes]
    return [
        (name, lost.count(name), lost.count(name) + kept.count(name)) for name in record.classes
    ]


def _table_rows(table: GroupTable, record: AuditRecord) -> list[TableRow]:
    totals = [sum(row.counts[place] for row in table.rows) for place in range(len(record.classes))]
    return [
        TableRow(
            row.group,
            row.cases,
            row.patients,
            tuple(
                (count, count / total if total else 0.0)
                for count, total in zip(row.counts, totals, strict=True)
            ),
        )
        for row in table.rows
    ]
