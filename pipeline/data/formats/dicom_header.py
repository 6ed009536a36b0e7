"""What the header of a DICOM file says, as far as a volume needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_SHOWN = 5
#: From the middle of a scanner; none reaches as far.
FARTHEST_MM = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceHeader:
    """One image of a series; numbers are as the file states them, checked later.

    Attributes:
        file: Name of the file, without folders; who asked for the header knows it.
        series: Series Instance UID; never shown.
        frame_of_reference: UID of the space of the positions; never shown.
        modality: E.g. `CT`; free text in a hostile file.
        derived: Whether it was computed from other images, or comes from no scanner.
        syntax: The standard's name of the transfer syntax.
        decodable: Whether a decoder for it is installed.
        pixels: Whether pixel data follow the header.
        rows: Number of voxels along a column.
        columns: Number of voxels along a row.
        frames: Number of images in the file.
        samples: Values a voxel.
        colours: Photometric interpretation.
        allocated: Bits that a value takes.
        stored: Bits of them that count.
        high: Number of the highest of these.
        signed: 1 for two's complement.
        table: Whether a table takes the place of slope and intercept.
        slope: One factor from the stored to the true value; none where it is not stated.
        intercept: One number, added after the factor; none where it is not stated.
        padding: The stored value that stands for what was not measured, and where it is a range its
            other end; none where it is not stated.
        spacing: Between rows, between columns, in mm.
        orientation: Directions (LPS) of a row (3) and of a column (3).
        position: Centre of the first voxel, in LPS mm.
        number: Instance number; -1 where there is none.
        between: From the centre of a slice to that of the next, in mm.
        thickness: Of the slice, in mm.
        acquired: Images in the acquisition; 0 where it is not stated.
        scan: What tells one scan from another, by keyword: a hash of each, "" where it is absent.
        settings: What the scanner was set to, by keyword; None where it is absent or no number.
    """

    file: str = ""
    series: str
    frame_of_reference: str
    modality: str
    derived: bool
    syntax: str
    decodable: bool
    pixels: bool
    rows: int
    columns: int
    frames: int
    samples: int
    colours: str
    allocated: int
    stored: int
    high: int
    signed: int
    table: bool
    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    padding: tuple[float, ...]
    spacing: tuple[float, ...]
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    number: int
    between: tuple[float, ...]
    thickness: tuple[float, ...]
    acquired: int
    scan: Mapping[str, str]
    settings: Mapping[str, float | None]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """How a stored value comes from the decoder."""
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.allocated // 8}")

    @property
    def rescale(self) -> tuple[np.float64, np.float64]:
        """Slope and intercept in single precision, as NIfTI keeps them.

        So a series and its conversion have the same voxels, not only nearly. Not finite where the
        header states no number, several, or one beyond single precision; 1 and 0 where it states
        nothing.
        """
        slopes, intercepts = self.slope or (1.0,), self.intercept or (0.0,)
        one = len(slopes) == len(intercepts) == 1
        stated = (slopes[0], intercepts[0]) if one else (np.nan, np.nan)
        with np.errstate(over="ignore"):
            slope, intercept = np.array(stated).astype(np.float32).astype(np.float64)
        return slope, intercept

    @property
    def size(self) -> str:
        """Columns and rows in words."""
        return f"{self.columns} x {self.rows}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a file of the folder is.

    Attributes:
        kind: `other` is a DICOM object without an image of a patient, `none` is no DICOM,
            `memory` took more memory than allowed.
        what: The standard's name of the object, or what is damaged.
        header: Of an image.
    """

    kind: Literal["image", "other", "none", "damaged", "memory"]
    what: str = ""
    header: SliceHeader | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices that make a volume.

    Attributes:
        slices: Ordered by position along their normal.
        affine: Index (column, row, slice) to RAS mm (4, 4).
        shape: Number of columns, rows and slices.
    """

    slices: tuple[SliceHeader, ...]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]


def millimetres(*numbers: float) -> str:
    """Places along axes in words, with six digits and no minus zero."""
    # Rounded first: a billionth of a millimetre below zero is zero, too.
    return ", ".join(f"{round(number, 6) + 0.0:.6g}" for number in numbers)


def listed(items: Sequence[str]) -> str:
    """The first few in words, and how many there are."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    shown = (item.encode(errors="backslashreplace").decode() for item in items[:_SHOWN])
    return ", ".join(shown) + more
