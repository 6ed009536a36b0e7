"""A folder of volumes becomes a draft of a manifest."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...errors import DataError
from ..formats.dicom_folder import holds_dicom
from ..manifest_columns import find_columns, read_table
from ..volume_files import VOLUME_SUFFIXES, find_series, find_volumes, stem_of
from .draft import Draft, cell, relative, safe, unique_ids
from .labels import Layout, guess_layout, spelled, words_like_labels
from .name_tokens import Parts, is_mask
from .participants import Participants, find_participants
from .patients import Patients, guess_patients

_EXAMPLES = 3
_SERIES = "DICOM folders"
_TABLE_BYTES = 10_000_000  # a larger table near by is not looked into


def draft_folder(folder: Path, out: Path) -> Draft:
    """Finds the volumes of a folder, and guesses patients and labels from names.

    Args:
        folder: What is searched, with all folders in it.
        out: Where the manifest will lie.

    Raises:
        DataError: There is no volume.
    """
    here = folder.resolve()
    files, series = find_volumes(here), find_series(here)
    warnings: list[str] = []
    found = _usable([*files, *series], here, warnings)
    if not found:
        raise _nothing(folder, here, warnings)
    if files and series:
        warnings.append(
            f"{len(files)} volumes are files, {len(series)} are DICOM folders: if the files were "
            "converted from these folders, keep one of both"
        )
    paths = _without_masks(found, warnings)
    parts = [_parts(path) for path in paths]
    layout = guess_layout(parts)
    classes = len(set(layout.labels)) if layout.labels else None
    patients = guess_patients(layout.rest, classes)
    root = out.resolve() if here.is_relative_to(out.resolve()) else here
    draft = Draft(
        [here / path for path in paths],
        [path.as_posix() for path in paths],
        patients.ids,
        root,
        layout.labels,
        layout.splits,
        warnings=[*warnings, *patients.warnings, *layout.warnings],
    )
    formats = ", ".join(f"{count} {name}" for name, count in _formats(paths).most_common())
    draft.notes.append(f"volumes: {len(paths)} ({formats})")
    draft.note_patients(patients.rule)
    draft.notes += layout.notes
    table = find_participants(here, patients.ids)
    _add_labels(draft, layout, table)
    _fill(draft, paths, patients, table)
    _mention(draft, here, [part[-1] for part in layout.rest])
    return draft


def _parts(path: Path) -> Parts:
    return (*path.parts[:-1], stem_of(path.name))


def _formats(paths: Sequence[Path]) -> Counter[str]:
    return Counter(
        next((end for end in VOLUME_SUFFIXES if path.name.lower().endswith(end)), _SERIES)
        for path in paths
    )


def _usable(files: Sequence[Path], folder: Path, warnings: list[str]) -> list[Path]:
    """The files and DICOM folders that a manifest can name, relative to the folder; each once."""
    refused: list[str] = []
    first: dict[str, Path] = {}
    for file in files:
        path = file.relative_to(folder)
        shown = str(path).encode(errors="backslashreplace").decode()
        if any(map(_unwritable, str(path))):
            refused.append(f"{shown!a} (E_NAME: control or undecodable characters; rename it)")
            continue
        try:
            mode = file.stat().st_mode
        except OSError as error:
            refused.append(f"{shown} (E_MISSING: {error.strerror})")
            continue
        if path == Path():
            refused.append(
                ". (E_NAME: DICOM files of the folder itself; give them one of their own)"
            )
            continue
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            refused.append(f"{shown} (E_IRREGULAR: not a regular file)")
            continue
        other = first.setdefault(os.path.realpath(file), path)
        if other is not path:
            refused.append(f"{shown} (E_DUP_PATH: it is the file {other})")
    if refused:
        warnings.append(f"left out, as no manifest can name them: {_listed(refused)}")
    return sorted(first.values())


def _unwritable(letter: str) -> bool:
    """Control characters, which break lines, and bytes that are no text (as lone surrogates)."""
    return letter < " " or letter == "\x7f" or "\ud800" <= letter <= "\udfff"


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _EXAMPLES:
        return ", ".join(names)
    return f"{', '.join(names[:_EXAMPLES])} and {len(names) - _EXAMPLES} more, {len(names)} in all"


def _without_masks(paths: list[Path], warnings: list[str]) -> list[Path]:
    masks = [path for path in paths if is_mask(_parts(path))]
    if not masks:
        return paths
    examples = _listed([path.as_posix() for path in masks])
    if len(masks) == len(paths):
        warnings.append(f"all files look like segmentations by their names: {examples}")
        return paths
    warnings.append(f"left out, as segmentations by their names: {examples}")
    left_out = set(masks)
    return [path for path in paths if path not in left_out]


def _add_labels(draft: Draft, layout: Layout, table: Participants | None) -> None:
    """Labels from class folders, else from the table of participants."""
    if table is not None:
        draft.warnings += table.warnings
    if layout.labels is not None:
        draft.note_classes("by the folders that the volumes lie in")
    elif table is not None and "label" in table.values:
        texts = table.values["label"]
        names = [texts.get(patient, "") for patient in draft.patients]
        draft.labels, changed = spelled(names)
        draft.warnings += changed
        draft.note_classes(f"by the column {table.taken['label']!r} of {table.name}")
    else:
        draft.notes.append("labels: none found; the column label is empty")
        if table is not None and table.candidates:
            draft.notes.append(
                f"  columns of {table.name} that could be it: {', '.join(table.candidates)}"
            )
        draft.to_do.append("fill in the column label: the class of each volume")
    if table is not None and (others := [name for name in table.taken if name != "label"]):
        draft.notes.append(f"also taken from {table.name}: {', '.join(others)}")


def _fill(
    draft: Draft, paths: Sequence[Path], patients: Patients, table: Participants | None
) -> None:
    """Makes the rows."""
    altered: set[str] = set()
    values = {} if table is None else table.values
    extra = [name for name in values if name != "label"]
    # Without the column, every later step goes on warning that patients are assumed.
    known = [] if patients.assumed else ["patient_id"]
    draft.patients = tuple(safe(name, altered) for name in draft.patients)
    if draft.labels is not None:
        draft.labels = tuple(safe(label, altered) for label in draft.labels)
    draft.columns = ["image", "label", *known, "case_id", *(["split"] * bool(draft.splits)), *extra]
    for number, case_id in enumerate(unique_ids(paths, stem_of)):
        row: dict[str, object] = {
            "image": relative(draft.files[number], draft.root),
            "label": cell(draft.labels[number]) if draft.labels else None,
            "patient_id": cell(draft.patients[number]),
            "case_id": cell(case_id),
            "split": draft.splits[number] if draft.splits else None,
        }
        row |= {name: cell(safe(values[name].get(patients.ids[number], ""))) for name in extra}
        draft.rows.append(row)
    if altered:
        draft.warnings.append(
            f"ids and labels that a spreadsheet takes for a formula were given a _ in front: "
            f"{_listed(sorted(altered))}"
        )


def _mention(draft: Draft, folder: Path, stems: Sequence[str]) -> None:
    """What could be the label, but is not taken: words of the names, and tables near by."""
    if draft.labels is not None:
        return
    for counts in words_like_labels(stems, draft.patients):
        listed = ", ".join(f"{value} ({count})" for value, count in counts.items())
        draft.notes.append(f"  a word of the file names could be the label; not taken: {listed}")
    for place in (folder, folder.parent):
        for path in sorted([*place.glob("*.csv"), *place.glob("*.tsv")]):
            if _names_images(path):
                draft.notes.append(
                    f"  {os.path.relpath(path, folder)} names images and labels: "
                    "give it to `volclass init` in place of the folder"
                )


def _names_images(path: Path) -> bool:
    try:
        if not 0 < path.stat().st_size <= _TABLE_BYTES or not path.is_file():
            return False
        find_columns(read_table(path).header, ("image", "label"))
    except (DataError, OSError):
        return False
    return True


def _nothing(folder: Path, here: Path, left_out: Sequence[str]) -> DataError:
    """The refusal of a folder without volumes: what there is instead."""
    files = _all_files(here)
    endings = Counter(path.suffix.lower() or "no ending" for path in files)
    listed = ", ".join(f"{count} with {name}" for name, count in endings.most_common(6))
    if holds_dicom(here):
        return DataError(
            f"E_FEW: {folder.name} is one DICOM folder, one volume at most",
            where=str(folder),
            why="its own files are DICOM images, and it holds no other volume",
            remedy="put each series into a folder of its own, and name the folder that holds these",
        )
    looked_for = f"looked for DICOM images and {' '.join(VOLUME_SUFFIXES)}"
    return DataError(
        "E_EMPTY: the folder holds no volumes",
        where=str(folder),
        why="; ".join((f"{looked_for}; found: {listed or 'no files'}", *left_out)),
        remedy="name the folder that holds the volumes, or a CSV that lists them",
    )


def _all_files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
    return found
