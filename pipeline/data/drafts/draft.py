"""A manifest that is proposed: its rows, where its paths start, and what was guessed and why."""

from __future__ import annotations

import os
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..formats.dicom_folder import real_path

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_NUMBER = re.compile(r"-(?:0|[1-9]\d*)(?:\.\d+)?")
_EXAMPLES = 3
_EACH = {True: " each", False: ""}


@dataclass(slots=True)
class Draft:
    """Cases as they were understood.

    Attributes:
        files: The volumes, absolute, in the order of the rows.
        shown: The same, as a person would name them.
        patients: The patient of each.
        root: The folder that the manifest's image paths are relative to.
        labels: The class of each, `""` where it is unknown; None where nothing names classes.
        splits: `train`, `val` or `test` of each, or None.
        manifest: The user's own table, if it can stay as it is; else None and `rows` are written.
        columns: Of the table to write.
        rows: Of the table to write.
        to_do: What the user must do before training, in words.
        notes: What was understood.
        warnings: What is doubtful.
    """

    files: list[Path]
    shown: list[str]
    patients: tuple[str, ...]
    root: Path
    labels: tuple[str, ...] | None = None
    splits: tuple[str, ...] | None = None
    manifest: Path | None = None
    columns: list[str] = field(default_factory=list)
    rows: list[dict[str, object]] = field(default_factory=list)
    to_do: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def leaves_root(self) -> bool:
        """Whether a volume, with links followed, lies outside the root."""
        root = os.path.realpath(self.root)
        return any(not real_path(path).is_relative_to(root) for path in self.files)

    def holders(self) -> dict[str, int]:
        """Class -> number of patients who have it; empty where no label is known."""
        owners: defaultdict[str, set[str]] = defaultdict(set)
        for label, patient in zip(self.labels or (), self.patients, strict=bool(self.labels)):
            if label:
                owners[label].add(patient)
        return {label: len(group) for label, group in sorted(owners.items())}

    def note_patients(self, rule: str) -> None:
        """Notes the rule, examples, and how many scans the patients have."""
        scans = Counter(self.patients)
        self.notes.append(f"patients: {len(scans)}, by: {rule}")
        first = {name: number for number, name in reversed([*enumerate(self.patients)])}
        numbers = sorted(first.values())
        step = max(1, (len(numbers) - 1) // (_EXAMPLES - 1))
        for number in numbers[::step][:_EXAMPLES]:
            self.notes.append(f"  {self.shown[number]} -> {self.patients[number]}")
        self.notes.append(f"  {_scans(Counter(scans.values()))}")

    def note_classes(self, source: str) -> None:
        """Notes where the labels are from, and the classes with their cases and patients."""
        cases, holders = Counter(filter(None, self.labels or ())), self.holders()
        self.notes.append(f"labels: {len(holders)} classes, {source}")
        self.notes += [
            f"  {label}: {cases[label]} volumes of {_count(holders[label], 'patient')}"
            for label in holders
        ]
        several = Counter(
            patient for _, patient in {*zip(self.labels or (), self.patients, strict=True)}
        )
        unknown = len(self.files) - cases.total()
        if unknown:
            self.warnings.append(f"{_count(unknown, 'volume')} have no label")
            self.to_do.append("fill in the empty cells of the column label, or remove these lines")
        if any(name.isdecimal() and count > 1 for name, count in several.items()):
            self.warnings.append(
                "patients with bare numbers are in several classes; if the numbers start anew in "
                "each class, put the class in front of the patient_id"
            )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _scans(patients_by_scans: Counter[int]) -> str:
    """How many patients have how many scans."""
    if len(patients_by_scans) <= 4:
        return ", ".join(
            f"{_count(patients, 'patient')} with {_count(scans, 'scan')}{_EACH[patients > 1]}"
            for scans, patients in sorted(patients_by_scans.items())
        )
    each = list(patients_by_scans.elements())
    return f"{min(each)} to {max(each)} scans a patient, median {statistics.median(each):g}"


def relative(path: Path, root: Path) -> str:
    """A path for the manifest; one that a spreadsheet would run as a formula starts with `./`."""
    text = Path(os.path.relpath(path, root)).as_posix()
    return f"./{text}" if text.startswith(_FORMULA) else text


def safe(text: str, altered: set[str] | None = None) -> str:
    """An id or label that survives being written: `_` in front of what looks like a formula."""
    bare = text.strip()
    if not bare.startswith(_FORMULA) or _NUMBER.fullmatch(bare):
        return bare
    if altered is not None:
        altered.add(bare)
    return f"_{bare}"


def cell(text: str) -> object:
    """The value to write for a text: a negative number is written as such, not as a formula."""
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text) if "." in text else int(text)
    return number if str(number) == text else text


def unique_ids(paths: Sequence[Path], stem: Callable[[str], str]) -> list[str]:
    """Case ids: the shortest form of the relative paths that tells all cases apart."""
    forms: tuple[Callable[[Path], str], ...] = (
        lambda path: stem(path.name),
        lambda path: "_".join((*path.parts[:-1], stem(path.name))),
        lambda path: "_".join(path.parts),
    )
    for form in forms:
        ids = [safe(form(path)) for path in paths]
        if len(set(ids)) == len(ids):
            return ids
    return [f"{name}_{number}" for number, name in enumerate(ids)]
