"""What MedMNIST 3.0.2 publishes about its six 3D sets: classes, official splits and checksums.

Yang et al. 2023, "MedMNIST v2", Scientific Data 10:41; the sets are published under CC BY 4.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MedmnistSet:
    """What MedMNIST 3.0.2 publishes about a set.

    Attributes:
        classes: Names; the place of a name is the label in the file.
        counts: Number of training, validation and test cases.
        md5: Digest of the .npz by voxels along an axis.
    """

    classes: tuple[str, ...]
    counts: tuple[int, int, int]
    md5: Mapping[int, str]


SETS = {
    "organmnist3d": MedmnistSet(
        (
            *("liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder"),
            *("heart", "lung-right", "lung-left", "spleen", "pancreas"),
        ),
        (971, 161, 610),
        {28: "a0c5a1ff56af4f155c46d46fbb45a2fe", 64: "58a2205adf14a9d0a189cb06dc78bf10"},
    ),
    "nodulemnist3d": MedmnistSet(
        ("benign", "malignant"),
        (1158, 165, 310),
        {28: "8755a7e9e05a4d9ce80a24c3e7a256f3", 64: "c47c5b7d457bf6332200d2ea6d64ecd8"},
    ),
    "fracturemnist3d": MedmnistSet(
        ("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"),
        (1027, 103, 240),
        {28: "6aa7b0143a6b42da40027a9dda61302f", 64: "f01d7e6316aedf4210da0da5b7437b42"},
    ),
    "adrenalmnist3d": MedmnistSet(
        ("normal", "hyperplasia"),
        (1188, 98, 298),
        {28: "bbd3c5a5576322bc4cdfea780653b1ce", 64: "17721accfe9fb005146a47d33bc54b2f"},
    ),
    "vesselmnist3d": MedmnistSet(
        ("vessel", "aneurysm"),
        (1335, 191, 382),
        {28: "b41fd4f7e7e2feedddb201585ecafa1b", 64: "6bb274a8846e1097066dcd64e2c4520f"},
    ),
    "synapsemnist3d": MedmnistSet(
        ("inhibitory synapse", "excitatory synapse"),
        (1230, 177, 352),
        {28: "1235b78a3cd6280881dd7850a78eadb6", 64: "43bd14ebf3af9d3dd072446fedc14d5e"},
    ),
}
"""All 3D sets; a test compares them with the installed `medmnist` package."""


def medmnist_note(name: str, size: int) -> str:
    """One line to print: the set, its official split, and what is not known about it."""
    counts = SETS[name].counts
    return (
        f"{name}, {size}^3: {sum(counts)} cases, official split {'/'.join(map(str, counts))}; "
        "MedMNIST publishes no patients"
    )


def file_name(name: str, size: int) -> str:
    """Name of the official file."""
    return f"{name}.npz" if size == 28 else f"{name}_{size}.npz"
