"""What is known of cases beside their voxels, as a table that a classifier learns from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from ..errors import DataError
from ..evaluation.baselines import CaseTable
from .cases import Case
from .fingerprint import Extent, extent_of, file_facts, remembered
from .formats.dispatch import read_volume
from .volume import volume_of
from .volume_facts import orientation_of, tilt_of

#: Of what is kept on disk.
SURROUNDINGS_NAME = "metadata-2.json"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a volume is apart from what it shows.

    Attributes:
        extent: Spacing, shape, lowest and highest grey value.
        orientation: Where the file's own axes lead, e.g. `LPS`.
        tilt: Largest angle in degrees between such an axis and the one that it is named after.
    """

    extent: Extent
    orientation: str
    tilt: float


SURROUNDINGS: TypeAdapter[dict[str, Surroundings]] = TypeAdapter(dict[str, Surroundings])


def surroundings(case: Case, content: str) -> Surroundings:
    """Reads what surrounds a case's voxels.

    Args:
        case: The case.
        content: The hash of its voxels and geometry that is expected.

    Raises:
        VolumeError: The volume is refused.
        DataError: It is another one than was expected.
    """
    volume = read_volume(case.image)
    if volume.content != volume_of(content):
        raise DataError(
            f"the volume of case {case.case_id} changed meanwhile",
            where=case.image.name,
            why="its voxels are not those that were read before",
            remedy="restore the file, or start anew in another folder",
        )
    affine = volume.original_affine
    return Surroundings(extent_of(volume), orientation_of(affine), tilt_of(affine))


def metadata_table(
    cases: Sequence[Case],
    contents: Mapping[str, str],
    fingerprints: Path,
    advance: Callable[[], None],
    *,
    grey: bool,
    doubts: Mapping[str, str] | None = None,
) -> CaseTable:
    """The cases' metadata as numbers and words.

    Args:
        cases: N of them.
        contents: Content hash by case id.
        fingerprints: Folder that keeps what was read of each volume, by content.
        advance: Called after each case.
        grey: Whether the lowest and the highest grey value belong to it: they alone are taken
            from voxels.
        doubts: What reading found doubtful, by case id, where that is known.

    Raises:
        DataError: A volume changed since it was read first, or is refused.
        StorageError: A file is damaged or cannot be written.
    """
    path = fingerprints / SURROUNDINGS_NAME
    found = remembered(path, SURROUNDINGS, cases, contents, surroundings, advance)
    numbers = [
        [*item.extent.spacing, *item.extent.shape, item.tilt]
        + [item.extent.lowest, item.extent.highest] * grey
        for item in found
    ]
    words = metadata_words(cases) | {"orientation": [item.orientation for item in found]}
    if doubts is not None:
        words["doubts"] = [doubts.get(case.case_id, "") for case in cases]
    categories = {name: np.array(column, dtype=np.str_) for name, column in words.items()}
    return CaseTable(np.array(numbers, dtype=np.float64), categories)


def metadata_words(cases: Sequence[Case]) -> dict[str, list[str]]:
    """What headers and manifest say in words, in the order of the cases.

    Raises:
        VolumeError: A file cannot be read.
    """
    facts = [file_facts(case.image) for case in cases]
    return {
        "voxel_type": [fact.voxel_type for fact in facts],
        "file_format": [fact.file_format for fact in facts],
        "site": [case.site or "" for case in cases],
    }
