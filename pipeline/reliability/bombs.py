"""Ten files that claim, or inflate to, more than may be taken."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.formats.dispatch import read_volume
from ..data.volume import VolumeError
from ..storage import make_folder, write_bytes
from .child import in_child
from .volumes import DIM, GOOD, GOOD_GZ, OFFSET, nifti, packed, patched, voxels


@dataclass(frozen=True, slots=True)
class Bomb:
    """What became of a file that claims, or inflates to, more than it may.

    Attributes:
        name: Of the bomb.
        end: The code of its refusal, `accepted`, or how the process ended.
        seconds: Until then.
        peak_bytes: Memory that it took.
    """

    name: str
    end: str
    seconds: float
    peak_bytes: int

    @property
    def passed(self) -> bool:
        """Refused in less than a second and 50 MB."""
        return self.end.startswith("E_") and self.seconds < 1 and self.peak_bytes < 50e6


def bombs(folder: Path, seconds: float = 5.0) -> list[Bomb]:
    """Ten bombs, each read in a process of its own."""
    make_folder(folder)
    found = []
    for name, (file, content, budget) in _bombs().items():
        path = folder / file
        write_bytes(path, content)
        ran = in_child(lambda path=path, budget=budget: _end(path, budget), str, seconds)  # type: ignore[misc]  # bound at once
        found.append(Bomb(name, str(ran.result), ran.seconds, ran.peak_bytes))
    return found


def _end(path: Path, budget: int) -> str:
    try:
        read_volume(path, budget=budget)
    except VolumeError as error:
        return error.code
    return "accepted"


def _bombs() -> dict[str, tuple[str, bytes, int]]:
    """File name, content and budget of each bomb; 4 GiB is the default budget."""
    usual, small = 4 << 30, 8 << 20
    vast = patched(GOOD, DIM, "4h", 3, 32767, 32767, 1000)
    large = patched(GOOD, DIM, "4h", 3, 2000, 1600, 1600)
    within = patched(GOOD, DIM, "4h", 3, 1000, 1000, 500)
    nifti2 = bytearray(nifti(voxels(), version=2))
    nifti2[24:48] = np.array([1 << 40, 1 << 20, 1 << 10], "<i8").tobytes()
    zeros = bytes(32 << 20)
    nrrd = (
        b"NRRD0004\ntype: short\ndimension: 3\nspace: RAS\nsizes: 20 24 16\nspace directions: "
        b"(2,0,0) (0,1.5,0) (0,0,3)\nendian: little\nencoding: gzip\nspace origin: (0,0,0)\n\n"
    )
    meta = (
        b"NDims = 3\nDimSize = 20 24 16\nElementSpacing = 2 1.5 3\nTransformMatrix = 1 0 0 0 1 0 0 "
        b"0 1\nElementType = MET_SHORT\nCompressedData = True\nElementDataFile = LOCAL\n"
    )
    members = b"".join(packed(zeros[: 4 << 20]) for _ in range(8))
    return {
        "2 TB claimed": ("1.nii", vast, usual),
        "2 TB claimed, compressed": ("2.nii.gz", packed(vast), usual),
        "10 GB claimed by 10 kB": ("3.nii.gz", packed(large), usual),
        "1 GB claimed by 10 kB, within the budget": ("4.nii.gz", packed(within), usual),
        "NIfTI-2, 10^21 voxels": ("5.nii", bytes(nifti2), usual),
        "voxels at byte 10^38": ("6.nii", patched(GOOD, OFFSET, "f", 1e38), usual),
        "32 MB of zeros behind the voxels": ("7.nii.gz", packed(GOOD + zeros), small),
        "the same in eight gzip members": ("8.nii.gz", GOOD_GZ + members, small),
        "NRRD": ("9.nrrd", nrrd + packed(zeros), small),
        "MetaImage": ("10.mha", meta + zlib.compress(zeros), small),
    }
