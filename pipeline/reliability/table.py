"""The table of bad inputs that a user may bring: what is wrong, and what must become of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .bad_file import Outcome


@dataclass(frozen=True, slots=True)
class Row:
    """A row of table A, the acceptance table of bad inputs.

    Attributes:
        what: What is wrong, in words.
        outcomes: What the table allows to become of it; several where a setting decides.
        code: The code that the table names for files that are left out or refused, if any.
        seconds: Most time that the table gives to one file.
        differs: Where the project does otherwise on purpose, in words.
    """

    what: str
    outcomes: tuple[Outcome, ...]
    code: str = ""
    seconds: float = 5.0
    differs: str = ""

    def allows(self, happened: str, codes: Sequence[str]) -> bool:
        """Whether the table says just this, codes included."""
        if happened not in self.outcomes:
            return False
        return not self.code or happened in ("ok", "warn") or self.code in codes


_LEFT_OUT: tuple[Outcome, ...] = ("quarantine",)
_REFUSED: tuple[Outcome, ...] = ("refuse",)
_WARNED: tuple[Outcome, ...] = ("warn",)
_READ: tuple[Outcome, ...] = ("ok",)
_BY_SETTING: tuple[Outcome, ...] = ("quarantine", "warn")

ROWS: dict[int, Row] = {
    1: Row("truncated .nii.gz", _LEFT_OUT, "E_TRUNCATED"),
    2: Row("truncated .nii", _LEFT_OUT, "E_TRUNCATED"),
    3: Row("wrong gzip checksum or length", _LEFT_OUT, "E_CRC"),
    4: Row("bit flip in the compressed data", _LEFT_OUT, "E_CRC"),
    5: Row("gzip trailer missing", _LEFT_OUT, "E_TRUNCATED"),
    6: Row("bytes after the image", _WARNED),
    7: Row("empty file", _LEFT_OUT, "E_EMPTY"),
    8: Row("text or a web page", _LEFT_OUT, "E_NOT_NIFTI",
           differs="text under the name of another format is `E_FORMAT`, for it never claimed to "
           "be NIfTI"),
    9: Row("a name that says otherwise", _BY_SETTING),
    10: Row("git-lfs pointer", _LEFT_OUT),
    11: Row("NaN", _BY_SETTING),
    12: Row("infinity", _BY_SETTING),
    13: Row("nothing but NaN", _LEFT_OUT),
    14: Row("constant volume", _LEFT_OUT, "E_CONSTANT"),
    15: Row("more than 99 % one value", _WARNED),
    16: Row("float64 beyond float32", _LEFT_OUT, "E_RANGE"),
    17: Row("slope of 0, NaN or infinity", _WARNED),
    18: Row("slope that leaves float32", _LEFT_OUT, "E_RANGE"),
    19: Row("intercept that is no number", _LEFT_OUT),
    20: Row("header claims terabytes", _LEFT_OUT, "E_BUDGET", seconds=1.0),
    21: Row("header claims gigabytes", _LEFT_OUT, "E_BUDGET", seconds=1.0,
            differs="a claim within the budget, but beyond what the file can hold, is "
            "`E_TRUNCATED`: a larger budget would not help"),
    22: Row("zeros that inflate", _LEFT_OUT),
    23: Row("axes of no or negative size", _LEFT_OUT, "E_DIMS"),
    24: Row("4D", ("quarantine", "ok", "warn")),
    25: Row("other numbers of axes", _LEFT_OUT, "E_NDIM",
            differs="several values a voxel on the fifth axis are `E_CHANNELS`, as colours are"),
    26: Row("colour, complex and 128-bit voxels", _LEFT_OUT, "E_DTYPE",
            differs="colours are `E_CHANNELS`, whose remedy is another one"),
    27: Row("no orientation", _BY_SETTING),
    28: Row("two orientations that disagree", _BY_SETTING, "E_ORIENT_CONFLICT"),
    29: Row("voxel size of 0 or less", _BY_SETTING, "E_SPACING"),
    30: Row("singular or NaN affine", _LEFT_OUT, "E_AFFINE"),
    31: Row("sheared axes", _BY_SETTING),
    32: Row("oblique axes", _READ),
    33: Row("mixed orientations", _READ),
    34: Row("spacing outlier", _WARNED),
    35: Row("shape outlier, small field of view", _WARNED),
    36: Row("big endian", _READ),
    37: Row("unknown voxel type", _LEFT_OUT),
    38: Row("voxels outside the file", _LEFT_OUT),
    39: Row("x.nii beside x.nii.gz", _READ),
    40: Row("pipe, socket, device, folder", _REFUSED, seconds=1.0),
    41: Row("path that leaves the data root", _REFUSED, "E_OUTSIDE_ROOT",
            differs="the option that the message prints is `data.allow_outside_root=true`; there "
            "is no `--allow-outside-root`"),
    42: Row("missing file", _REFUSED),
    43: Row("no permission to read", _REFUSED,
            differs="one slice of a DICOM folder that may not be read is met when the folder is "
            "read: its case is left out"),
    44: Row("unusual names", _READ),
    45: Row("one path twice", _REFUSED, "E_DUP_PATH"),
    46: Row("contradicting labels", _REFUSED, "E_LABEL_CONFLICT",
            differs="of equal content, cases and files are named, not lines"),
    47: Row("several scans of a patient", _READ),
    48: Row("one volume under two patients", _REFUSED, "E_DUP_CONTENT"),
    49: Row("mistyped label", _REFUSED),
    50: Row("ids that look like numbers, empty labels", ("ok", "refuse")),
    51: Row("byte order mark, line ends, separators", ("ok", "refuse")),
    52: Row("missing columns, extra cells", _REFUSED),
    53: Row("classes that cannot be split", _REFUSED),
    54: Row("DICOM: missing or duplicate slice", ("quarantine", "ok"), "E_SLICE_GAP"),
    55: Row("DICOM: several series, stacks or sizes", ("quarantine", "ok", "warn")),
    56: Row("DICOM: tilt, damaged or undecodable slices", _LEFT_OUT),
    57: Row("mixed modality", _WARNED),
    58: Row("hostile text", _READ),
}  # fmt: skip
