"""The first day with own data: a folder or a table becomes a manifest and a config to start from.

Everything that is guessed is said, with what it was guessed from; nothing is overwritten.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from .config_file import load_config
from .data.drafts.config_text import config_text
from .data.drafts.draft import Draft
from .data.drafts.from_folder import draft_folder
from .data.drafts.from_table import draft_table
from .data.drafts.geometry import Survey, sample, survey
from .data.formats.dicom_folder import split_series
from .data.manifest import read_manifest
from .data.manifest_columns import nearest_name
from .data.volume_files import is_volume
from .errors import ConfigError, DataError
from .progress import Display
from .storage import check_writable, write_table, write_text

_TABLES = (".csv", ".tsv", ".txt")
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Proposal:
    """What was proposed, and written.

    Attributes:
        manifest: The manifest that the config names: the user's own table, or a new one.
        config: The new config.
        written: The new files.
        cases: Number of volumes.
        patients: Number of patients.
        classes: Class -> number of its patients; empty where labels are still to be filled in.
        notes: What was understood, and why.
        warnings: What is doubtful.
        to_do: What to do before training.
    """

    manifest: Path
    config: Path
    written: tuple[Path, ...]
    cases: int
    patients: int
    classes: dict[str, int]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    to_do: tuple[str, ...]

    def lines(self) -> list[str]:
        """All of it, in lines to print."""
        out = shlex.quote(str(self.config))
        steps = [
            *(f"{step} ({self.manifest})" for step in self.to_do),
            f"volclass train --config {out} --out runs/mine",
        ]
        return [
            *self.notes,
            *(f"warning: {text}" for text in self.warnings),
            *(f"written: {path}" for path in self.written),
            *(f"next, {number}: {step}" for number, step in enumerate(steps, 1)),
        ]


def propose(source: Path, out: Path, display: Display) -> Proposal:
    """Proposes a manifest and a config for own data, and writes them.

    Args:
        source: A folder of volumes, or a CSV or TSV that names them.
        out: Folder for `manifest.csv` and `config.yaml`.
        display: Where the reading of volumes is shown.

    Raises:
        ConfigError: One of the files exists already.
        DataError: There is nothing to propose for.
        StorageError: A file cannot be written.
    """
    _refuse_existing(out / "config.yaml")
    draft = _draft(source, out)
    if draft.manifest is None:
        _refuse_existing(out / "manifest.csv")
    check_writable(out)
    found = _survey(draft, display)
    manifest = draft.manifest or out / "manifest.csv"
    text = config_text(draft, found, manifest, out)
    written = [out / "config.yaml"]
    if draft.manifest is None:
        write_table(manifest, draft.columns, draft.rows)
        written.insert(0, manifest)
    write_text(out / "config.yaml", text)
    _check(draft, out / "config.yaml")
    return Proposal(
        manifest,
        out / "config.yaml",
        tuple(written),
        len(draft.files),
        len(set(draft.patients)),
        draft.holders(),
        tuple(draft.notes),
        tuple(draft.warnings),
        tuple(draft.to_do),
    )


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise ConfigError(
            f"there is a {path.name} already",
            where=str(path),
            why="a file of yours is never overwritten",
            remedy="choose another folder with --out, or move the file away",
        )


def _draft(source: Path, out: Path) -> Draft:
    if source.is_dir():
        return draft_folder(source, out)
    if not source.exists():
        near = nearest_name(source)
        raise DataError(
            f"E_MISSING: there is no folder or table {source.name}",
            where=str(source),
            remedy=f"did you mean {near}?" if near else "name a folder of volumes, or a CSV",
        )
    if is_volume(source.name):
        raise DataError(
            f"E_FEW: {source.name} is one volume, of which nothing can be learned",
            where=str(source),
            remedy=f"name the folder that holds all volumes, e.g. {source.parent}",
        )
    if source.suffix.lower() not in _TABLES:
        raise DataError(
            f"E_SOURCE: {source.name} is neither a folder nor a table",
            where=str(source),
            why=f"tables end in {', '.join(_TABLES)}",
            remedy="name a folder of volumes, or a CSV that lists them",
        )
    return draft_table(source)


def _survey(draft: Draft, display: Display) -> Survey:
    """Reads some volumes, and notes what they are like."""
    shown = dict(zip(draft.files, draft.shown, strict=True))
    chosen = sample([path for path in shown if _is_there(path)])
    bar = display.bar("reading volumes", len(chosen))
    found = survey(chosen, bar.advance)
    read = len(found.spacings)
    draft.notes.append(f"geometry: of {read} volumes, evenly spread over {len(draft.files)}")
    if read:
        draft.notes += [f"  {line}" for line in found.lines()]
    for items, what in ((found.refused, "cannot be read"), (found.doubtful, "raise a doubt")):
        if items:
            listed = "; ".join(f"{shown[path]} ({why})" for path, why in items[:_EXAMPLES])
            more = len(items) - _EXAMPLES
            draft.warnings.append(
                f"{len(items)} of {len(chosen)} volumes {what}: {listed}"
                + (f"; and {more} more" if more > 0 else "")
            )
    return found


def _is_there(path: Path) -> bool:
    """Whether there is a file, or a folder that may hold the DICOM series of this name."""
    try:
        return path.is_file() or split_series(path)[0].is_dir()
    except OSError:  # a name too long, a folder that may not be read
        return False


def _check(draft: Draft, config: Path) -> None:
    """Reads what was written as `train` will; what it refuses becomes a warning."""
    complete = draft.labels is not None and all(draft.labels)
    try:
        read_manifest(load_config(str(config)).data, labels_required=complete)
    except DataError as error:
        draft.warnings.append(
            f"`volclass train` will refuse the manifest: {error.what}{error.why or ''}"
        )
        draft.to_do.append("correct the manifest")
