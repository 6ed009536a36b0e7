"""What a volume is once it was read, and every reason for which one is refused.

Any reader of the project gives a `Volume` or raises a `VolumeError`, whatever the file's format.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .series_part import SeriesPart

_FETCH = "copy or download the file again"
_CONVERT = "convert the original images again, e.g. with dcm2niix, to .nii.gz"
_NAME = "name a NIfTI, NRRD, MetaImage or MGH file (.nii.gz, .nrrd, .mha, .mgz and their kin)"
_SPLIT = "write one channel or frame, as one 3D image, to a file of its own, and name that"


class Reason(Enum):
    """Every reason for which a volume is refused: what is said, and what to do."""

    E_MISSING = ("the volume does not exist", "correct the path")
    E_PERMISSION = ("the volume may not be read", "change its permissions")
    E_IO = ("the volume cannot be read from the disk", _FETCH)
    E_IRREGULAR = ("the volume is not a regular file", _NAME)
    E_EMPTY = ("the volume is an empty file", _FETCH)
    E_FORMAT = ("the volume is in no format that is understood", _NAME)
    E_NOT_NIFTI = ("the volume is not a NIfTI file", _NAME)
    E_ANALYZE = (
        "the volume is Analyze 7.5, a format that does not say which side is left",
        _CONVERT,
    )
    E_PAIR = (
        "the volume is one half of a header and image pair",
        "name both files alike, x.hdr and x.img, or convert them to one .nii.gz",
    )
    E_RAW_MISSING = (
        "the second file of the volume is missing",
        "put both files of the volume into one folder, under their own names",
    )
    E_DETACHED = (
        "the second file of the volume may not be opened",
        "put one file with all voxels beside the header, or write header and voxels to one file",
    )
    E_HEADER = ("the volume's header cannot be understood", _CONVERT)
    E_ENCODING = (
        "the way in which the voxels are written is not understood",
        "write the volume again as .nii.gz, or with raw or gzip encoding",
    )
    E_TRUNCATED = ("the volume ends too early", _FETCH)
    E_CRC = ("the volume is damaged: its checksum does not fit its content", _FETCH)
    E_BUDGET = (
        "the volume is larger than allowed",
        "crop or resample it, leave it out, or raise data.max_bytes",
    )
    E_DIMS = ("the volume has an axis without voxels", _CONVERT)
    E_NDIM = ("the volume is not one 3D image", f"{_SPLIT}; data.frame=0 takes the first of frames")
    E_CHANNELS = ("the volume has several channels", _SPLIT)
    E_DTYPE = ("the volume's voxel type is not understood", "convert it to int16 or float32")
    E_OFFSET = ("the header points to voxels in an impossible place", _CONVERT)
    E_SCALE = ("the header's intercept of the grey values is not a number", _CONVERT)
    E_SPACING = ("the header states no valid voxel size", _CONVERT)
    E_AFFINE = ("the header states no valid orientation", _CONVERT)
    E_ORIENT_MISSING = (
        "the header does not say which side of the volume is left",
        "convert the original images again, or say where its axes point to, as the exported images "
        "show it: data.assume_orientation=LPS (or RAS, ...; nifti is what NIfTI-1 suggests)",
    )
    E_ORIENT_CONFLICT = (
        "the header states two orientations that contradict each other",
        "find out which one is true, then set data.prefer=sform or data.prefer=qform",
    )
    E_SHEAR = (
        "the volume's axes are not at right angles",
        "convert the original images again, e.g. with dcm2niix, or set data.shear=resample",
    )
    E_NONFINITE = (
        "the volume holds values that are not finite",
        "replace or leave it out; data.nan=fill puts its least finite value there",
    )
    E_RANGE = (
        "the volume holds values beyond single precision",
        "rescale its values, or subtract an offset",
    )
    E_CONSTANT = ("all voxels of the volume have one value", "leave it out")
    E_DICOM_SERIES = (
        "the folder holds several DICOM series, or not the one that was named",
        "name one of them behind the folder: FOLDER#series=HASH",
    )
    E_DICOM_MIXED = (
        "the DICOM files pass for one series, and are not of one scan",
        "put the files of one scan into a folder of their own, or export the scans again with "
        "their own series UIDs",
    )
    E_DICOM_PARTS = (
        "images of one DICOM series lie in several folders",
        "put all files of the series into one folder, and move copies of them elsewhere",
    )
    E_DICOM_STACKS = (
        "the DICOM series is not one stack of slices",
        "put one stack into a folder of its own, or convert the series, e.g. with dcm2niix, and "
        "name the file that is meant",
    )
    E_DICOM_SIZES = (
        "the slices of the DICOM series have several sizes",
        "put those of one size into a folder of their own (a localiser is no part of the volume)",
    )
    E_SLICE_GAP = (
        "a slice of the DICOM series is missing, or stands there twice",
        "copy the series again, whole; if it was acquired so, convert it, e.g. with dcm2niix, and "
        "look at the result",
    )
    E_DICOM_TILT = (
        "the DICOM slices are shifted against each other, as by a tilted gantry",
        "convert the series with dcm2niix, which straightens it",
    )
    E_DICOM_SLICE = (
        "the DICOM series has files that cannot be read",
        "copy the named files again, or move away what does not belong to the series",
    )
    E_DICOM_FRAMES = (
        "the DICOM files hold several frames each (enhanced, or multi-frame)",
        _CONVERT,
    )
    E_DICOM_VALUES = ("the grey values of the DICOM slices have no sure meaning", _CONVERT)
    E_MASK_EMPTY = (
        "the mask marks no structure",
        "draw it again, or empty its cell in the manifest's mask column",
    )
    E_NOT_SHAPE = (
        "distances are measured of shapes, and the volume has more than two values",
        "threshold it first, or choose another preprocess.intensity",
    )
    E_SHAPE_LOST = (
        "preprocessing leaves nothing of the shape",
        "choose a finer preprocess.spacing or a larger preprocess.size, or set "
        "preprocess.crop=foreground",
    )
    E_MASK_FULL = (
        "the mask marks every voxel",
        "draw it again, with 0 outside the structure, or empty its cell in the mask column",
    )
    E_MASK_VALUES = (
        "the mask looks like a grey image",
        "name a mask of whole numbers with 0 outside the structure; of probabilities, write 1 "
        "where they are above 0.5 and 0 elsewhere",
    )
    E_MASK_GEOMETRY = (
        "the mask has another geometry than its volume",
        "resample it to the volume's grid, or name the mask that was drawn on this volume",
    )


WarningCode = Literal[
    "W_TRAILING",
    "W_SKIPPED",
    "W_SERIES",
    "W_SLICES",
    "W_NAME",
    "W_SLOPE",
    "W_ORIENTATION",
    "W_SPACING",
    "W_SHEAR",
    "W_FRAME",
    "W_FILLED",
    "W_SPARSE",
    "W_WRAPPED",
    "W_SPACING_OUTLIER",
    "W_SHAPE_OUTLIER",
    "W_FIELD_OF_VIEW",
    "W_MODALITY",
    "W_MASK_LOST",
]


class VolumeError(DataError):
    """A volume that is refused.

    Attributes:
        code: The name of its `Reason`.
        file: The path as it was given.
        reason: What exactly is wrong with this file.
    """

    def __init__(self, reason: Reason, file: Path, why: str) -> None:
        what, remedy = reason.value
        super().__init__(f"{reason.name}: {what}", where=str(file), why=why, remedy=remedy)
        self.code = reason.name
        self.file = file
        self.reason = why

    def __reduce__(self) -> tuple[type[VolumeError], tuple[Reason, Path, str]]:
        # The default would call the class with its message alone, which fails between processes.
        return type(self), (Reason[self.code], self.file, self.reason)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something doubtful in a volume that was accepted."""

    code: WarningCode
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A volume in RAS+ order: X to the right, Y to the front, Z to the top.

    Attributes:
        voxels: Grey values (X, Y, Z), C-contiguous, finite, not constant.
        affine: Voxel to RAS mm (4, 4) of `voxels`.
        original_affine: Voxel to RAS mm (4, 4) in the file's own order of axes.
        spacing: Voxel size in mm (x, y, z).
        content: What `content_sha256` gives, whatever the file's encoding.
        findings: What was doubtful.
        series: Of a DICOM series with a UID, which part of it the volume is.
    """

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    original_affine: NDArray[np.float64]
    spacing: tuple[float, float, float]
    content: str
    findings: tuple[Finding, ...] = ()
    series: SeriesPart | None = None

    @property
    def obliquity(self) -> float:
        """Largest angle in degrees between an axis and that of the patient it is nearest to."""
        axes = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        # By the part across: exact for small angles, where the cosine is not.
        across = np.linalg.norm(axes - np.diag(np.diag(axes)), axis=0)
        return float(np.degrees(np.arctan2(across, np.diag(axes))).max())


def content_sha256(voxels: NDArray[np.float32], affine: NDArray[np.float64]) -> str:
    """What a volume is, whatever its file looks like: two SHA-256, `voxels-geometry`.

    Args:
        voxels: (X, Y, Z) in RAS+, C order.
        affine: (4, 4) voxel to mm; rounded to 1e-4 mm, so that float32 headers agree.
    """
    image = hashlib.sha256(str(voxels.shape).encode())
    image.update(np.ascontiguousarray(voxels).data)
    # Adding zero turns -0.0 into 0.0.
    geometry = hashlib.sha256((np.round(affine, 4) + 0.0).astype("<f8").tobytes())
    return f"{image.hexdigest()}-{geometry.hexdigest()}"


def voxels_of(content: str) -> str:
    """The part of a content hash that the same voxels share under any geometry."""
    return content.partition("-")[0]


def with_mask(content: str, mask: str) -> str:
    """The content hash of a case that has a mask, `voxels-geometry-mask`, from those of both."""
    return f"{content}-{hashlib.sha256(mask.encode()).hexdigest()}"


def volume_of(content: str) -> str:
    """The part of a content hash that the volume alone decides, whatever its mask."""
    return "-".join(content.split("-")[:2])


def has_mask(content: str) -> bool:
    """Whether a content hash is that of a volume with its mask."""
    return content != volume_of(content)
