"""What is known of cases beside their voxels, as a table that a classifier learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..evaluation.baselines import CaseTable
from .cases import Case
from .fingerprint import FileFacts, file_facts
from .surroundings import Surroundings

#: Numbers of a case that are grey values.
GREYS = 2


def metadata_table(
    cases: Sequence[Case],
    found: Sequence[Surroundings],
    doubts: Mapping[str, str] | None = None,
    files: Mapping[str, FileFacts] | None = None,
) -> CaseTable:
    """The cases' metadata as numbers and words.

    Args:
        cases: N of them.
        found: What surrounds the voxels of each.
        doubts: What reading found doubtful, by case id, where that is known.
        files: How each case's file was written, by case id; where it is not given, it is read.

    Returns:
        The last `GREYS` numbers of a case are its lowest and its highest grey value: they alone
        are taken from voxels.

    Raises:
        VolumeError: A file cannot be read.
    """
    numbers = [
        [
            *(*item.extent.spacing, *item.extent.shape, item.tilt),
            *(item.extent.lowest, item.extent.highest),
        ]
        for item in found
    ]
    words = metadata_words(cases, files) | {"orientation": [item.orientation for item in found]}
    if doubts is not None:
        words["doubts"] = [doubts.get(case.case_id, "") for case in cases]
    categories = {name: np.array(column, dtype=np.str_) for name, column in words.items()}
    return CaseTable(np.array(numbers, dtype=np.float64), categories)


def without_greys(table: CaseTable) -> CaseTable:
    """The metadata that were taken from no voxel.

    Args:
        table: As `metadata_table` makes it.
    """
    return CaseTable(table.numbers[:, :-GREYS], table.categories)


def metadata_words(
    cases: Sequence[Case], files: Mapping[str, FileFacts] | None = None
) -> dict[str, list[str]]:
    """What headers and manifest say in words, in the order of the cases.

    Args:
        cases: The cases.
        files: As of `metadata_table`.

    Raises:
        VolumeError: A file cannot be read.
    """
    facts = [file_facts(case.image) if files is None else files[case.case_id] for case in cases]
    return {
        "voxel_type": [fact.voxel_type for fact in facts],
        "file_format": [fact.file_format for fact in facts],
        "site": [case.site or "" for case in cases],
    }
