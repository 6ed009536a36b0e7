"""What an audit found, as one typed file: `audit.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from ..storage import write_json
from ..typed_files import read_typed

Axis = Literal["x", "y", "z"]
Differs = Literal["label", "patient", "split"]
Sharing = Literal["parts", "renamed", "copies", "stacks"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AuditedVolume(_Part):
    """A volume that can be used."""

    case_id: str
    patient_id: str
    label: str
    site: str | None
    split: str | None
    file: str
    """Its name, without folders."""
    voxel_type: str
    file_format: str
    spacing: tuple[float, float, float]
    """In mm (x, y, z), in RAS+ order."""
    shape: tuple[int, int, int]
    """In voxels, in the same order."""
    orientation: str
    """Of the file's own axes, e.g. `LPS`."""
    tilt: float
    """Of these axes against the patient's, in degrees."""
    lowest: float
    highest: float

    @property
    def field_of_view(self) -> tuple[float, float, float]:
        """In mm."""
        x, y, z = (size * step for size, step in zip(self.shape, self.spacing, strict=True))
        return x, y, z


class RefusedVolume(_Part):
    """A volume that cannot be used: a row of `quarantine.csv`, and what the manifest says."""

    case_id: str
    label: str
    file: str
    code: str
    reason: str
    remedy: str


class Doubt(_Part):
    """Something doubtful in a file that was accepted."""

    case_id: str
    file: str
    code: str
    text: str


class Pair(_Part):
    """Two cases that show the same.

    Attributes:
        kind: `same` voxels, or `near`: known again by their signatures.
        distance: Of the signatures without what the set has in common, 0..2; 0 for the same voxels.
        mirrored: Axes along which one of them is a mirror image of the other.
        turned: Whether their axes are exchanged, as a rotation by 90 degrees does.
        inverted: Whether bright is dark in one of them.
        differs: What the manifest says of them that cannot both be right.
    """

    kind: Literal["same", "near"]
    first: str
    second: str
    distance: float = Field(ge=0)
    mirrored: tuple[Axis, ...] = ()
    turned: bool = False
    inverted: bool = False
    differs: tuple[Differs, ...] = ()


class SharedScan(_Part):
    """Two cases that hold images of one DICOM series.

    Attributes:
        how: `parts`: none of the two is whole; `renamed`: nor here, and their headers name other
            patients or studies; `copies`: of one volume; `stacks`: each is whole, e.g. of another
            echo, and their patients differ.
    """

    first: str
    second: str
    how: Sharing


class Outlier(_Part):
    """A volume unlike the others, in words."""

    case_id: str
    code: str
    text: str


class Straddler(_Part):
    """A patient with cases in several parts of the split: part -> case ids."""

    patient_id: str
    parts: dict[str, tuple[str, ...]]


class GroupRow(_Part):
    """Cases and patients of a group, and its cases of each class in the order of the classes."""

    group: str
    cases: int
    patients: int
    counts: tuple[int, ...]


class GroupTable(_Part):
    """Classes by groups; the largest groups first, small ones together in the last row."""

    name: str
    rows: tuple[GroupRow, ...]


class Area(_Part):
    """An AUROC with its 95 % interval."""

    estimate: float | None
    low: float | None
    high: float | None
    method: str
    reason: str | None = None


class Shortcut(_Part):
    """How well the label is told by the header, with the lowest and the highest grey value.

    Attributes:
        key: SHA-256 of all that decides it; empty where it was not measured.
        auroc: Mean over the folds.
        p: One-sided p-value of a permutation test: how often shuffled labels are told as well.
        header: The same AUROC without the two grey values: no voxel is looked at.
        header_p: Its p-value.
        folds: Their number.
        tells: Whether either is better than chance.
        notes: What was read, and which learner was taken.
        reason: Why it was not measured.
    """

    key: str = ""
    auroc: Area | None = None
    p: float | None = None
    header: Area | None = None
    header_p: float | None = None
    folds: int = 0
    tells: bool = False
    notes: tuple[str, ...] = ()
    reason: str | None = None


class ManifestProblem(_Part):
    """A line of the manifest that is refused, and was left out."""

    line: int
    text: str
    """Code and reason."""


class Telling(_Part):
    """Groups of cases that hold one class alone, as chance seldom has it.

    Attributes:
        name: By what they are grouped.
        groups: Each group with its class and its number of patients.
    """

    name: str
    groups: tuple[tuple[str, str, int], ...]


class Decision(_Part):
    """What must be decided before training: what it is, and what to do; its cases' ids."""

    code: str
    what: str
    remedy: str
    cases: tuple[str, ...] = ()


class AuditRecord(_Part):
    """The content of `audit.json`.

    Attributes:
        cases: In the manifest.
        patients: In the manifest.
        patients_assumed: No patient column: each case counts as a patient of its own.
        classes: In the order that a run has.
        decisions: What must be decided; nothing where the audit is passed.
        refused: Volumes that cannot be used.
        allowed: How many of them the configuration leaves out.
        doubts: What is doubtful in the files of the others.
        pairs: Those that show the same.
        shared: Cases that hold images of one DICOM series.
        nearest: Smallest distance of two signatures that are not taken for the same.
        crowded: Volumes that have many others as near as copies.
        manifest: Lines that are refused.
        straddlers: Patients in several parts of the split.
        mixed_patients: Patient -> labels, of those who have several; that is no mistake.
        outliers: Volumes unlike the others.
        tables: Classes by site, split and what files are like.
        telling: Groups of them that hold one class alone.
        disguised: Covariates of the configuration that tell the label, a sentence each.
        scans: Number of scans -> number of patients who have so many.
        shortcut: What metadata tell of the label.
        volumes: Every volume that can be used.
    """

    format: Literal[1] = 1
    kind: Literal["audit"] = "audit"
    cases: int
    patients: int
    patients_assumed: bool
    classes: tuple[str, ...]
    decisions: tuple[Decision, ...]
    refused: tuple[RefusedVolume, ...]
    allowed: int
    doubts: tuple[Doubt, ...]
    pairs: tuple[Pair, ...]
    shared: tuple[SharedScan, ...] = ()
    nearest: float | None
    crowded: tuple[str, ...] = ()
    manifest: tuple[ManifestProblem, ...] = ()
    straddlers: tuple[Straddler, ...]
    mixed_patients: dict[str, tuple[str, ...]]
    outliers: tuple[Outlier, ...]
    tables: tuple[GroupTable, ...]
    telling: tuple[Telling, ...] = ()
    disguised: tuple[str, ...] = ()
    scans: dict[int, int]
    shortcut: Shortcut
    volumes: tuple[AuditedVolume, ...]


_RECORD = TypeAdapter(AuditRecord)


def write_audit(path: Path, record: AuditRecord) -> None:
    """Writes `audit.json`.

    Raises:
        StorageError: It cannot be written.
    """
    write_json(path, cast("dict[str, JsonValue]", record.model_dump(mode="json")))


def read_audit(path: Path) -> AuditRecord:
    """Reads what `write_audit` wrote.

    Raises:
        StorageError: It is missing or damaged.
    """
    return read_typed(path, _RECORD, "run `volclass audit` again: it writes a new one")
