"""What tells volumes apart without a network: their files' facts, and the spread of their values.

Reading is done once a volume: what depends on its voxels and geometry alone is kept on disk by
content. What only its file can say (format and voxel type) is read from the header; whoever asks
again keeps it as long as the file is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from ..errors import DataError
from ..storage import make_folder, write_json
from ..typed_files import read_typed
from .cases import Case
from .formats.dicom_folder import split_series
from .formats.dicom_series import series_facts
from .formats.dispatch import read_volume
from .formats.magic import HEAD_BYTES, kind_of
from .formats.metaimage import metaimage_fields
from .formats.nifti import is_pair_header
from .formats.nrrd import nrrd_fields
from .formats.pair import half_of, other_half
from .formats.stored import decoded_head, system_errors
from .volume import Reason, Volume, VolumeError, volume_of

#: Percentiles that stand for a histogram; unlike bins they need no edges that data would set.
PERCENTILES = (0, 1, *range(5, 100, 5), 99, 100)

_WRITE_EVERY = 50
_nib: Any = nib  # its tables of types have no types
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Extent:
    """What a volume is apart from what it shows.

    Attributes:
        spacing: Voxel size in mm (x, y, z), in RAS+ order.
        shape: Voxels (x, y, z), in the same order.
        lowest: Smallest grey value, as the file has it.
        highest: Largest grey value.
    """

    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class FileFacts:
    """How a volume was written.

    Attributes:
        voxel_type: As its header names it, e.g. `int16`, `short`.
        file_format: With the packing, e.g. `nifti, gzip`.
    """

    voxel_type: str
    file_format: str


def read_expected(case: Case, content: str) -> Volume:
    """Reads a case's volume once more.

    Args:
        case: The case.
        content: The hash of its voxels and geometry that is expected; what it says of a mask
            does not matter.

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
    return volume


def extent_of(volume: Volume) -> Extent:
    """The extent of a volume that was read."""
    x, y, z = volume.voxels.shape
    lowest, highest = float(volume.voxels.min()), float(volume.voxels.max())
    return Extent(volume.spacing, (x, y, z), lowest, highest)


def grey_values(image: NDArray[np.float32]) -> tuple[float, ...]:
    """The spread of the grey values of a volume, wherever they lie: its histogram in numbers.

    Args:
        image: Of any shape.

    Returns:
        The values at `PERCENTILES`, then mean and standard deviation.
    """
    values = np.asarray(image, dtype=np.float64).ravel()
    spread = np.percentile(values, PERCENTILES)
    return (*spread.tolist(), float(values.mean()), float(values.std()))


def file_facts(path: Path) -> FileFacts:
    """Reads how a volume was written from its header; of a NIfTI pair either file may be named.

    Raises:
        VolumeError: The file cannot be read, or is in no known format.
    """
    folder, series = split_series(path)
    with system_errors(path, path):
        if series is not None or folder.is_dir():
            return FileFacts(*series_facts(path))
        header = (other_half(path) or path) if half_of(path) == ".img" else path
        with header.open("rb") as handle:
            head, packed = decoded_head(path, handle, HEAD_BYTES)
            voxel_type, file_format = _facts(path, handle, head)
    return FileFacts(voxel_type, f"{file_format}, gzip" if packed else file_format)


def _facts(path: Path, handle: BinaryIO, head: bytes) -> tuple[str, str]:
    match kind_of(head):
        case "nifti":
            return _nifti_type(head), "nifti pair" if is_pair_header(head) else "nifti"
        case "mgh":
            code = int.from_bytes(head[20:24], "big")
            return _type_name(_nib.freesurfer.mghformat.data_type_codes, code), "mgh"
        case "nrrd":
            fields = nrrd_fields(path, handle)
            packing = fields.get("encoding", "raw").lower()
            return fields.required("type").lower(), f"nrrd, {packing}"
        case "metaimage":
            fields = metaimage_fields(path, handle)
            packed = fields.get("CompressedData", "False").lower() in ("true", "1")
            packing = "zlib" if packed else "raw"
            return fields.required("ElementType").lower(), f"metaimage, {packing}"
        case None:
            raise VolumeError(Reason.E_FORMAT, path, "its first bytes are those of no known format")


def _nifti_type(head: bytes) -> str:
    little = int.from_bytes(head[:4], "little") in (348, 540)
    order: Literal["little", "big"] = "little" if little else "big"
    second = int.from_bytes(head[:4], order) == 540
    start = 12 if second else 70
    return _type_name(_nib.nifti1.data_type_codes, int.from_bytes(head[start : start + 2], order))


def _type_name(codes: Any, code: int) -> str:  # noqa: ANN401  # a table of nibabel, without types
    """The name of a voxel type; one that is not in the table goes by its number."""
    return np.dtype(codes.dtype[code]).name if code in codes.dtype else f"code {code}"


def remembered(
    path: Path,
    values: TypeAdapter[dict[str, Value]],
    cases: Sequence[Case],
    contents: Mapping[str, str],
    make: Callable[[Case, str], Value],
    advance: Callable[[], None],
) -> list[Value]:
    """A value of each case's volume: from a file that keeps them by content, or made and kept.

    Args:
        path: The file; written as values are made, so that nothing is made twice after a kill.
        values: Reads and writes the values by content.
        cases: All of them are asked for.
        contents: Content hash by case id.
        make: Makes the value of a case, given its content hash.
        advance: Called after each case.

    Returns:
        The values in the order of the cases.

    Raises:
        StorageError: The file is damaged or cannot be written.
    """
    known = _read(path, values)
    fresh = 0
    for case in cases:
        content = contents[case.case_id]
        if content not in known:
            known[content] = make(case, content)
            fresh += 1
            if fresh % _WRITE_EVERY == 0:
                _write(path, values, known)
        advance()
    if fresh % _WRITE_EVERY:
        _write(path, values, known)
    return [known[contents[case.case_id]] for case in cases]


def _read(path: Path, values: TypeAdapter[dict[str, Value]]) -> dict[str, Value]:
    if not path.is_file():
        return {}
    return read_typed(path, values, "remove it: it is made again")


def _write(path: Path, values: TypeAdapter[dict[str, Value]], known: dict[str, Value]) -> None:
    make_folder(path.parent)
    write_json(path, values.dump_python(known, mode="json"))
