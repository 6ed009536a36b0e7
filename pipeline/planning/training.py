"""Network, batch and folds, by how many there are to learn from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .fingerprint import Voxels

#: Below so many patients the smallest network, from so many on the smallest published one.
FEW_PATIENTS, MANY_PATIENTS = 100, 1000
#: Voxels along the second longest axis that the published networks need: they divide by 32.
_LARGE = 64
_STEPS_AN_EPOCH = 4
_SMALLEST_BATCH = 2
#: With fewer cases the best epoch is one that had luck: seen with 20, and with 90 it was no better.
FEW_VALIDATED = 100


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is to learn from in one fold.

    Attributes:
        patients: Who teach a network.
        cases: Which teach it.
        validated: Cases of the validation part.
    """

    patients: int
    cases: int
    validated: int


def shares(patients: int, cases: int, folds: int, validation: float) -> Counts:
    """The counts of a fold of about equal ones, whatever the labels.

    Args:
        patients: All of them.
        cases: All of them.
        folds: Into how many equal parts they go; 1 where none is set aside for testing.
        validation: Part of the rest that chooses the checkpoint.
    """
    rest = 1.0 if folds == 1 else 1.0 - 1.0 / folds
    taught = rest * (1.0 - validation)
    return Counts(round(patients * taught), round(cases * taught), round(cases * rest * validation))


def network_for(patients: int, voxels: Voxels) -> tuple[str, str]:
    """A PoolFormer by the patients who teach it and the volumes' size, and the reason."""
    if patients < FEW_PATIENTS:
        return "poolformer3d_n", (
            f"{patients} patients teach it: below {FEW_PATIENTS} the smallest network, of a "
            "quarter of a million parameters"
        )
    if patients < MANY_PATIENTS:
        return "poolformer3d_t", (
            f"{patients} patients teach it: from {FEW_PATIENTS} to {MANY_PATIENTS} the network "
            "for small sets"
        )
    if sorted(voxels)[1] < _LARGE:
        return "poolformer3d_t", (
            f"{patients} patients teach it, but the published networks divide by 32 and need "
            f"{_LARGE} voxels along two axes"
        )
    return "poolformer3d_s12", (
        f"{patients} patients teach it: from {MANY_PATIENTS} on the smallest published network"
    )


def batch_for(taught: int, most: int) -> int:
    """Cases a batch: at least four batches an epoch, where there are cases enough.

    Args:
        taught: Cases that teach a network.
        most: What is taken where there are many.
    """
    return min(max(taught // _STEPS_AN_EPOCH, _SMALLEST_BATCH), most)


def keep_for(validated: int) -> tuple[Literal["best", "last"], str]:
    """Which epoch is kept, by the cases of the validation part, and why."""
    cases = f"{validated} case{'' if validated == 1 else 's'}"
    if validated < FEW_VALIDATED:
        return "last", (
            f"{cases} would choose the best epoch: below {FEW_VALIDATED} that choice is luck, so "
            "the last epoch is kept"
        )
    return "best", f"{cases} choose the best epoch, which is enough of them"


def folds_for(patients_of_class: Mapping[str, int], wanted: int) -> int:
    """The number of folds: as wanted, or as many as the rarest class has patients.

    Less than 2 where a class cannot be both learned and tested.
    """
    return min([wanted, *patients_of_class.values()])


def straddle(patients: Sequence[str], splits: Sequence[str]) -> bool:
    """Whether a patient has cases in more than one part of a split, which leaks."""
    return len({*zip(patients, splits, strict=True)}) > len(set(patients))


def is_complete(splits: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether every class is in the parts `train` and `test`."""
    classes = set(labels)
    return all(_labels(name, splits, labels) == classes for name in ("train", "test"))


def _labels(name: str, splits: Sequence[str], labels: Sequence[str]) -> Collection[str]:
    return {label for label, part in zip(labels, splits, strict=True) if part == name}
