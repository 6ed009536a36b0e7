"""The case: one labelled (or unlabelled) volume of one patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Case:
    """One volume as the manifest names it.

    Attributes:
        case_id: Unique within a run.
        patient_id: All cases of a patient stay in one fold.
        image: Path of the volume, absolute, inside the data root.
        label: The class by name, or None where it is unknown (prediction).
        site: Hospital or scanner, if the manifest has it.
        split: `train`, `val` or `test`, if the manifest has it.
        covariates: Name and cell of each clinical variable that the configuration names.
        mask: Path of the structure's mask, like `image`; None where it has none, or none is read.
    """

    case_id: str
    patient_id: str
    image: Path
    label: str | None = None
    site: str | None = None
    split: str | None = None
    covariates: tuple[tuple[str, str], ...] = ()
    mask: Path | None = None
