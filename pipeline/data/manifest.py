"""The user's table becomes checked cases, or one message that lists all that is wrong with it.

No volume is opened and torch is not imported, so a mistake is reported within a second.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import DataConfig, Split
from ..errors import ConfigError, DataError
from .cases import Case
from .covariate_columns import cell_problem, columns_beside
from .manifest_columns import Table, read_table
from .manifest_rows import Problems, Row, check_images, check_masks
from .volume_files import numbered

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm")
#: Numbered cases that are named before they are counted.
_SHOWN = 20
_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A table whose rows are all usable.

    Attributes:
        cases: Sorted by case_id.
        columns: Canonical name -> the header that was taken for it.
        path: The file.
        separator: `comma`, `tab` or `semicolon`.
        covariates: Columns that no part of the pipeline reads.
        patients_assumed: No patient column: each case counts as a patient of its own.
        remark: What the source says of itself, to be printed first.
        numbered: Case ids that only a number tells apart, each with the line of its case.
        chosen: The splits that were asked for, and how many cases the table lists in all.
    """

    cases: tuple[Case, ...]
    columns: dict[str, str]
    path: Path
    separator: str = "comma"
    covariates: tuple[str, ...] = ()
    patients_assumed: bool = False
    remark: str | None = None
    numbered: tuple[tuple[str, int], ...] = ()
    chosen: tuple[tuple[Split, ...], int] | None = None

    def notes(self) -> list[str]:
        """What was understood, and what had to be assumed, in lines to print."""
        taken = [
            name if name == column else f"{name} (column {column!r})"
            for name, column in self.columns.items()
        ]
        lines = [] if self.remark is None else [self.remark]
        lines.append(
            f"{self.path.name}: {len(self.cases)} cases of "
            f"{len({case.patient_id for case in self.cases})} patients; "
            f"{self.separator}-separated; read {', '.join(taken)}"
        )
        if self.chosen is not None:
            splits, listed = self.chosen
            lines.append(f"split {' and '.join(splits)}: {len(self.cases)} of {listed} cases")
        if "mask" in self.columns:
            count = sum(case.mask is not None for case in self.cases)
            lines.append(f"masks: {count} of {len(self.cases)} cases have one")
        if self.covariates:
            lines.append(f"not used: {', '.join(self.covariates)}")
        if self.patients_assumed:
            lines.append(
                "warning: no patient_id column, so every case counts as a patient of its own; "
                "if a patient has several scans, the result will be too good"
            )
        return [*lines, *self.numbering()]

    def numbering(self) -> list[str]:
        """Which cases got which numbers, if any did, in a line to print."""
        if not self.numbered:
            return []
        shown = ", ".join(f"{name!r} is line {line}" for name, line in self.numbered[:_SHOWN])
        more = len(self.numbered) - _SHOWN
        shown += f" and {more} more" if more > 0 else ""
        why = "files of several cases have one name, so they are numbered by their paths"
        return [f"{why}: {shown}; a column case_id names them"]


def read_manifest(
    data: DataConfig,
    labels_required: bool = True,
    *,
    masks: bool = False,
    without: Collection[int] = (),
) -> Manifest:
    """Reads and checks `data.manifest`; all cells are text, `001` and `NA` stay what they are.

    Args:
        data: Where the manifest is, and what its paths are relative to.
        labels_required: False for prediction: labels may be missing and are not judged.
        masks: Whether masks are read: the column must be there, and one cell of it filled.
        without: Lines that are passed over.

    Raises:
        ConfigError: `data.manifest` is not set, or a column cannot be a covariate.
        ManifestError: Lines of the manifest are refused; all problems are listed.
        DataError: The manifest is refused as a whole.
    """
    if data.manifest is None:
        raise ConfigError("no manifest is named", where="data.manifest", remedy="set it to a CSV")
    path = Path(data.manifest)
    root = Path(data.root) if data.root is not None else path.parent
    problems = Problems()
    try:
        table = read_table(path)
        table = replace(table, rows=[row for row in table.rows if row[0] not in without])
        required = ("image", *["label"] * labels_required, *["mask"] * masks)
        columns = columns_beside(table.header, data.covariates, required)
    except DataError as error:
        error.where = error.where or str(path)
        raise
    every = list(_rows(table, columns, data.covariates, root, problems))
    # By all rows, so that no case is called otherwise where others are left out.
    names, repeated = ({}, ()) if "case_id" in columns else _derived_ids(every)
    rows = _of_splits(every, data.splits, columns, path, problems)
    check_images(rows, root, data.allow_outside_root, problems)
    check_masks(rows, root, data.allow_outside_root, problems)
    _check_cells(rows, columns, labels_required, problems)
    if labels_required:
        _check_labels(rows, problems)
    problems.refuse(path)
    if masks and all(row.mask is None for row in rows):
        raise DataError(
            f"no case of {path.name} has a mask",
            where=str(path),
            why=f"all cells of the column {columns['mask']!r} are empty",
            remedy="fill in the masks that there are, or set model.masks.weight=0",
        )
    cases = _cases(rows, names)
    read = (*columns.values(), *data.covariates)
    unread = tuple(name for name in table.header if name and name not in read)
    return Manifest(
        tuple(sorted(cases, key=lambda case: case.case_id)),
        columns,
        path,
        table.separator,
        unread,
        "patient_id" not in columns,
        numbered=repeated,
        chosen=None if data.splits is None else (data.splits, len(every)),
    )


def _rows(
    table: Table,
    columns: dict[str, str],
    covariates: Sequence[str],
    root: Path,
    problems: Problems,
) -> Iterator[Row]:
    header = table.header
    places = {name: header.index(column) for name, column in columns.items()}
    for line, cells in table.rows:
        if len(cells) != len(header):
            text = shared = f"it has {len(cells)} cells, the header has {len(header)}"
            if len(cells) > len(header):
                text += f"; the first one too many is {cells[len(header)]!r}"
            problems.add(line, "E_CELLS", text, shared)
            continue
        known = {name: cells[place] for name, place in places.items()}
        beside = tuple((name, cells[header.index(name)].strip()) for name in covariates)
        mask = known.get("mask", "").strip()
        named = root.absolute() / mask if mask else None
        yield Row(line, known, root.absolute() / known["image"], beside, named)


def _of_splits(
    rows: list[Row],
    splits: Collection[Split] | None,
    columns: Mapping[str, str],
    path: Path,
    problems: Problems,
) -> list[Row]:
    """The cases of some splits; one of no known split might belong to them, and is refused."""
    if splits is None:
        return rows
    remedy = "name the splits that the table has, or leave data.splits out"
    if "split" not in columns:
        raise DataError(f"{path.name} has no column split", where="data.splits", remedy=remedy)
    kept = []
    for row in rows:
        cell = row.cells["split"].strip()
        split = _SPLITS.get(cell.casefold())
        if split is None:
            text = f"the split is {cell!r}, not one of train, val and test" if cell else "no split"
            problems.add(row.line, "E_SPLIT", f"{text}, and data.splits chooses by it")
        elif split in splits:
            kept.append(row)
    if not kept and not problems.found:
        named = " or ".join(splits)
        raise DataError(
            f"no case of {path.name} is of the split {named}", where="data.splits", remedy=remedy
        )
    return kept


def _check_cells(
    rows: Sequence[Row], columns: dict[str, str], labels_required: bool, problems: Problems
) -> None:
    """No empty or padded cells where text is an identity; case ids once; splits known."""
    needed = [name for name in ("patient_id", "case_id") if name in columns]
    first: dict[str, int] = {}
    patients: dict[str, str | None] = {}
    for row in rows:
        for name, cell in row.covariates:
            if (problem := cell_problem(name, cell)) is not None:
                problems.add(row.line, "E_COVARIATE", problem)
        for name in (*needed, *(["label"] if labels_required else [])):
            cell = row.cells[name]
            if not cell.strip():
                problems.add(row.line, "E_EMPTY", f"the {name} cell is empty")
            elif cell != cell.strip():
                code = "E_LABEL_TYPO" if name == "label" else "E_BLANKS"
                text = f"{name} {cell!r} starts or ends with blanks: did you mean {cell.strip()}?"
                problems.add(row.line, code, f"{text} line {row.line}")
        patient = row.get("patient_id")
        usual = patients.setdefault((patient or "").casefold(), patient)
        if usual != patient:
            text = f"patient_id {patient!r} differs from {usual!r} in case only"
            problems.add(row.line, "E_PATIENT_TYPO", f"{text}: the same patient is written one way")
        case_id = row.get("case_id")
        if case_id is not None and first.setdefault(case_id, row.line) != row.line:
            text = f"case_id {case_id} stands in line {first[case_id]} already"
            problems.add(row.line, "E_DUP_CASE", text)


def _check_labels(rows: Sequence[Row], problems: Problems) -> None:
    """Classes that are spelling variants, near misses, too small, or only one."""
    by_label: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.cells["label"].strip():
            by_label[row.cells["label"].strip()].append(row)
    counts = Counter({label: len(members) for label, members in by_label.items()})
    ranked = sorted(counts, key=lambda label: (-counts[label], label))
    spellings: dict[str, str] = {}
    for label in ranked:
        usual = spellings.setdefault(label.casefold(), label)
        for row in by_label[label] if usual != label else ():
            text = f"label {label!r} differs from {usual!r} in case only"
            problems.add(row.line, "E_LABEL_TYPO", f"{text}: did you mean {usual}?")
    classes = list(spellings.values())
    if len(classes) == 1:
        text = f"every label is {classes[0]!r}; there is nothing to tell apart"
        problems.add(by_label[classes[0]][0].line, "E_ONE_CLASS", text)
        return
    for label in classes:
        _check_class(label, by_label, counts, problems)


def _check_class(
    label: str, by_label: dict[str, list[Row]], counts: Counter[str], problems: Problems
) -> None:
    members = by_label[label]
    patients = {row.get("patient_id") or str(row.image) for row in members}
    if len(patients) > 1 or sum(counts[name] for name in _same(label, counts)) > len(members):
        return
    larger = [name for name in counts if counts[name] > counts[label]]
    near = next(
        (
            name
            for name in difflib.get_close_matches(label, larger, len(larger) or 1)
            if _letters(name) != _letters(label)
        ),
        None,
    )
    line = members[0].line
    if near is not None:
        who = "one case" if len(members) == 1 else "cases of one patient"
        text = f"label {label!r} has {who} only: did you mean {near}? line {line}"
        problems.add(line, "E_LABEL_TYPO", text)
    elif len(members) == 1:
        text = f"label {label!r} has one case only, so it cannot be both learned and tested"
        problems.add(line, "E_SMALL_CLASS", text)


def _same(label: str, counts: Counter[str]) -> list[str]:
    return [name for name in counts if name.casefold() == label.casefold()]


def _letters(label: str) -> str:
    """Without digits: grade1 and grade2 are no typing mistakes of each other."""
    return "".join(letter for letter in label if not letter.isdigit())


def _cases(rows: Sequence[Row], names: dict[int, str]) -> Iterator[Case]:
    for row in rows:
        case_id = row.get("case_id") or names[row.line]
        yield Case(
            case_id=case_id,
            patient_id=row.get("patient_id") or case_id,
            image=row.image,
            mask=row.mask,
            label=row.get("label"),
            site=(row.get("site") or "").strip() or None,
            split=_SPLITS.get((row.get("split") or "").strip().casefold()),
            covariates=row.covariates,
        )


def _derived_ids(rows: Sequence[Row]) -> tuple[dict[int, str], tuple[tuple[str, int], ...]]:
    """Case ids by line, made of file names, and those that only a number tells apart.

    Where these repeat, the patient's id goes before them: unlike a folder's name it may be shown.
    """
    rows = sorted(rows, key=lambda row: os.path.normpath(row.image))
    stems = [_stem(Path(os.path.normpath(row.image)).name) for row in rows]
    counts = Counter(stems)
    named = [
        f"{patient}_{stem}" if counts[stem] > 1 and (patient := row.get("patient_id")) else stem
        for row, stem in zip(rows, stems, strict=True)
    ]
    counts, lines = Counter(named), [row.line for row in rows]
    ids = dict(zip(lines, numbered(named), strict=True))
    repeated = [line for line, name in zip(lines, named, strict=True) if counts[name] > 1]
    return ids, tuple((ids[line], line) for line in repeated)


def _stem(name: str) -> str:
    suffix = next((end for end in _SUFFIXES if name.lower().endswith(end)), "")
    return name[: len(name) - len(suffix)] or name
