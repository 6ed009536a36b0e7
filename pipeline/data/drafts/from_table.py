"""A user's table of volumes becomes a draft of a manifest: as it is, or with patients added."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...errors import DataError
from ..formats.dicom_folder import split_series
from ..manifest_columns import ALIASES, Table, find_columns, nearest_name, read_table
from ..volume_files import stem_of
from .draft import Draft, cell, relative, safe
from .labels import could_be_labels, guess_layout
from .name_tokens import Parts
from .patients import Patients, guess_patients

_EXAMPLES = 3


def draft_table(path: Path) -> Draft:
    """Reads a CSV or TSV, and guesses the patients where no column names them.

    Args:
        path: The table; its image paths are relative to its folder.

    Raises:
        DataError: It is no table, names no images, or none of them exists.
    """
    try:
        table = read_table(path)
        columns = find_columns(table.header, ())
    except DataError as error:
        error.where = error.where or str(path)
        raise
    if "image" not in columns:
        raise _no_image(path, table)
    rows = [cells for _, cells in table.rows if len(cells) == len(table.header)]
    place = table.header.index(columns["image"])
    rows = [cells for cells in rows if cells[place].strip() and "\0" not in cells[place]]
    if not rows:
        raise DataError(
            "E_CELLS: no line of the table names a volume",
            where=str(path),
            why=f"the header has {len(table.header)} cells; the lines have others, or no image",
            remedy="write one line for each volume, with as many cells as the header",
        )

    def column(name: str) -> list[str]:
        place = table.header.index(columns[name])
        return [cells[place] for cells in rows]

    images = column("image")
    root = path.parent.resolve()
    files = [root / image for image in images]
    warnings = _missing(path, images, files)
    if len(rows) < len(table.rows):
        warnings.append(
            f"{len(table.rows) - len(rows)} lines have too few or too many cells, or no image; "
            "a copy of the table leaves them out"
        )
    labels = tuple(name.strip() for name in column("label")) if "label" in columns else None
    guessed = None if "patient_id" in columns else guess_patients(_all_parts(files), _count(labels))
    patients = tuple(guessed.ids if guessed else column("patient_id"))
    draft = Draft(files, images, patients, root, labels if any(labels or ()) else None)
    draft.warnings = warnings
    _note(draft, path, table, columns, guessed)
    kept = guessed is None or guessed.assumed
    _note_labels(draft, table, columns, rows, kept)
    if kept:
        draft.manifest = path
    else:
        _add_patients(draft, table, columns, rows)
    if "split" in columns:
        draft.notes.append("the column split is there; cv.scheme=official would obey it")
    return draft


def _no_image(path: Path, table: Table) -> DataError:
    return DataError(
        "E_COLUMNS: the table has no column image",
        where=str(path),
        why="columns found: " + (", ".join(map(repr, table.header)) or "none"),
        remedy="call the column of the volumes' paths image, or one of: "
        + ", ".join(ALIASES["image"]),
    )


def _count(labels: Sequence[str] | None) -> int | None:
    return len({label for label in labels if label}) or None if labels else None


def _missing(path: Path, images: Sequence[str], files: Sequence[Path]) -> list[str]:
    """Says which files do not exist; refuses a table of which none does."""
    absent = [number for number, file in enumerate(files) if not _exists(file)]
    if not absent:
        return []
    listed = ", ".join(images[number] for number in absent[:_EXAMPLES])
    if len(absent) == len(files):
        near = nearest_name(files[0])
        hint = f"; beside the first one lies {near}" if near else ""
        raise DataError(
            "E_MISSING: none of the table's volumes exists",
            where=str(path),
            why=f"{len(files)} are named: {listed}{hint}",
            remedy="paths are relative to the table's folder: move the table, or correct them",
        )
    return [f"{len(absent)} of {len(files)} volumes do not exist: {listed}"]


def _exists(path: Path) -> bool:
    folder, series = split_series(path)
    try:
        return folder.exists() if series is None else folder.is_dir()
    except OSError:  # a name too long, a folder that may not be read
        return False


def _all_parts(files: Sequence[Path]) -> list[Parts]:
    """Parts of the paths below the folder that all files share, without folders of classes."""
    # Not resolved: a link's own name is what the user gave to the case.
    folder = os.path.commonpath([os.path.normpath(file.parent) for file in files])
    parts = [Path(os.path.relpath(file, folder)).parts for file in files]
    return list(guess_layout([(*each[:-1], stem_of(each[-1])) for each in parts]).rest)


def _note(
    draft: Draft, path: Path, table: Table, columns: dict[str, str], guessed: Patients | None
) -> None:
    taken = [
        name if name == title else f"{name} (column {title!r})" for name, title in columns.items()
    ]
    draft.notes.append(f"volumes: {len(draft.files)} in {path.name}, {table.separator}-separated")
    draft.notes.append(f"columns: {', '.join(taken)}")
    others = [title for title in table.header if title and title not in columns.values()]
    if others:
        draft.notes.append(f"  not used: {', '.join(others)}")
    draft.note_patients(guessed.rule if guessed else f"the column {columns['patient_id']!r}")
    draft.warnings += guessed.warnings if guessed else ()


def _note_labels(
    draft: Draft,
    table: Table,
    columns: dict[str, str],
    rows: Sequence[Sequence[str]],
    kept: bool,
) -> None:
    if draft.labels is not None:
        draft.note_classes(f"by the column {columns['label']!r}")
        return
    draft.notes.append("labels: none found")
    unknown = {
        title: [cells[place] for cells in rows]
        for place, title in enumerate(table.header)
        if title not in columns.values()
    }
    if candidates := could_be_labels(unknown):
        draft.notes.append(f"  columns that could be it: {', '.join(candidates)}")
    verb = "fill in" if "label" in columns or not kept else "add"
    draft.to_do.append(f"{verb} the column label: the class of each volume")


def _add_patients(
    draft: Draft, table: Table, columns: dict[str, str], rows: Sequence[Sequence[str]]
) -> None:
    """Copies the table with a column patient_id; the paths stay relative to the table's folder."""
    titles: list[str] = []
    for number, title in enumerate(table.header):
        titles.append(title if title and title not in titles else f"column_{number + 1}")
    altered: set[str] = set()
    ours = {titles[table.header.index(title)]: name for name, title in columns.items()}
    draft.columns = [*titles, "patient_id"]
    if draft.labels is None and "label" not in columns:
        draft.columns.append("label")
    draft.patients = tuple(safe(name, altered) for name in draft.patients)
    for file, patient, cells in zip(draft.files, draft.patients, rows, strict=True):
        row: dict[str, object] = {}
        for title, text in zip(titles, cells, strict=True):
            name = ours.get(title)
            known = safe(text, altered) if name in ("label", "case_id", "site", "split") else text
            row[title] = relative(file, draft.root) if name == "image" else cell(known)
        draft.rows.append({**row, "patient_id": cell(patient)})
    if draft.labels is not None:
        draft.labels = tuple(safe(label) for label in draft.labels)
    draft.notes.append("  the table is copied, with the patients as a new column patient_id")
    if altered:
        draft.warnings.append(
            "ids and labels that a spreadsheet takes for a formula were given a _ in front: "
            + ", ".join(sorted(altered)[:_EXAMPLES])
        )
