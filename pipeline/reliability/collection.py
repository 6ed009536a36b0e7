"""The collection of bad files: every family, by the rows of table A."""

from __future__ import annotations

from collections.abc import Callable

from .bad_file import BadFile
from .dicom_faults import dicom_faults
from .geometry import affine_faults, orientation_faults, set_faults
from .gzip_faults import gzip_faults
from .header import dimension_faults, type_faults
from .manifests import manifest_faults
from .paths import path_faults
from .values import size_faults, value_faults

#: What makes the bad files of some rows each.
FAMILIES: tuple[Callable[[], list[BadFile]], ...] = (
    gzip_faults,
    value_faults,
    size_faults,
    dimension_faults,
    orientation_faults,
    affine_faults,
    set_faults,
    type_faults,
    path_faults,
    manifest_faults,
    dicom_faults,
)


def collection() -> list[BadFile]:
    """All bad files, by row."""
    files = [file for family in FAMILIES for file in family()]
    return sorted(files, key=lambda file: file.row)
