"""Single bytes of a NIfTI header are changed, one at a time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.formats.dispatch import read_volume
from ..data.volume import Volume, VolumeError
from ..storage import make_folder, write_bytes
from .readers import nibabel_decode
from .trials import trials, unseen
from .volumes import GOOD

_HEADER_BYTES = 348
_BUDGET = 16 << 20
#: Memory that reading may take beside the volume.
_BESIDE = 256 << 20
_HANG_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Mutations:
    """What became of files with one changed byte in their header.

    Attributes:
        tried: How many.
        refused: With a reason.
        flagged: Accepted with a finding.
        unchanged: Accepted as the very volume of the whole file, as by nibabel: the byte means
            nothing.
        as_reference: Accepted as another volume, exactly as nibabel decodes the changed header: it
            states something else now, and no reader can know.
        silent: Accepted otherwise than nibabel decodes it, without a finding.
        crashed: Ended with an error that is no refusal, or with the process.
        hung: Not ended in time.
        slowest: Most seconds for one.
        peak_bytes: Memory beyond what the process had, the allowed volume of 16 MiB included.
    """

    tried: int
    refused: int
    flagged: int
    unchanged: int
    as_reference: int
    silent: int
    crashed: int
    hung: int
    slowest: float
    peak_bytes: int

    @property
    def within_memory(self) -> bool:
        """Whether memory stayed within the budget and 256 MiB."""
        return self.peak_bytes <= _BUDGET + _BESIDE

    @property
    def in_time(self) -> bool:
        """Whether none took as long as a hang."""
        return self.slowest < _HANG_SECONDS


def mutated_headers(
    folder: Path,
    count: int = 5000,
    seed: int = 0,
    advance: Callable[[int], None] = unseen,
) -> Mutations:
    """Changes single bytes of a NIfTI header, one at a time.

    Args:
        folder: Where the files are written.
        count: How many changes.
        seed: Of their choice.
        advance: Called with how many more were tried.
    """
    make_folder(folder)
    path = folder / "mutated.nii"
    write_bytes(path, GOOD)
    whole = read_volume(path).content
    generator = random.Random(seed)
    changes = [
        (generator.randrange(_HEADER_BYTES), generator.randrange(1, 256)) for _ in range(count)
    ]

    def mutated(number: int) -> str:
        place, step = changes[number]
        changed = bytearray(GOOD)
        changed[place] = (changed[place] + step) % 256
        write_bytes(path, bytes(changed))
        return _end(path, whole)

    found, peak = trials(mutated, count, advance, _HANG_SECONDS)
    ends = Counter(trial.end for trial in found)
    names = ("refused", "flagged", "unchanged", "as_reference", "silent")
    return Mutations(
        count,
        **{name: ends[name] for name in names},
        crashed=ends["traceback"] + ends["died"],
        hung=ends["hang"],
        slowest=max((trial.seconds for trial in found), default=0.0),
        peak_bytes=peak,
    )


def _end(path: Path, whole: str) -> str:
    try:
        volume = read_volume(path, budget=_BUDGET)
    except VolumeError:
        return "refused"
    if volume.findings:
        return "flagged"
    if not _as_nibabel(path, volume):
        return "silent"
    return "unchanged" if volume.content == whole else "as_reference"


def _as_nibabel(path: Path, volume: Volume) -> bool:
    """Whether nibabel, an independent reader, sees the same voxels at the same places."""
    decoded = nibabel_decode(path)
    if decoded is None:
        return False
    values, affine = decoded
    same = values.shape == volume.voxels.shape and np.array_equal(values, volume.voxels)
    return same and np.allclose(affine, volume.affine, atol=1e-3)
