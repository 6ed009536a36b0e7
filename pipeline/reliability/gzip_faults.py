"""Rows 1 to 10: files that are cut, flipped, longer than they should be, or something else."""

from __future__ import annotations

from .bad_file import BadFile, Outcome, one_file
from .volumes import GOOD, GOOD_GZ

_HALF, _LENGTH = len(GOOD_GZ) // 2, len(GOOD_GZ)
_HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>" * 20
_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"
_NRRD = b"NRRD0004\ntype: uchar\ndimension: 1\nsizes: 4\nencoding: raw\n\nabcd"


def _flipped(part: float, bit: int) -> bytes:
    content = bytearray(GOOD_GZ)
    content[int(part * _LENGTH)] ^= 1 << bit
    return bytes(content)


def _bad(
    row: int, name: str, file: str, content: bytes, *codes: str, expected: Outcome = "quarantine"
) -> BadFile:
    return BadFile(row, name, expected, codes, one_file(file, content), twin=expected == "warn")


def gzip_faults() -> list[BadFile]:
    """Rows 1 to 10."""
    damaged = ("E_CRC", "E_TRUNCATED", "E_NOT_NIFTI")
    return [
        _bad(1, "cut in half", "x.nii.gz", GOOD_GZ[:_HALF], "E_TRUNCATED"),
        _bad(1, "cut near its end", "x.nii.gz", GOOD_GZ[: _LENGTH - 100], "E_TRUNCATED"),
        _bad(1, "cut within the gzip header", "x.nii.gz", GOOD_GZ[:7], "E_TRUNCATED"),
        _bad(2, "cut in half", "x.nii", GOOD[: len(GOOD) // 2], "E_TRUNCATED"),
        _bad(2, "last byte missing", "x.nii", GOOD[:-1], "E_TRUNCATED"),
        _bad(2, "cut within the header", "x.nii", GOOD[:200], "E_TRUNCATED"),
        _bad(3, "wrong checksum", "x.nii.gz", GOOD_GZ[:-8] + b"abcd" + GOOD_GZ[-4:], "E_CRC"),
        _bad(3, "wrong length", "x.nii.gz", GOOD_GZ[:-4] + b"abcd", "E_CRC"),
        _bad(4, "bit flipped early", "x.nii.gz", _flipped(0.05, 3), *damaged),
        _bad(4, "bit flipped in the middle", "x.nii.gz", _flipped(0.5, 0), *damaged),
        _bad(4, "bit flipped late", "x.nii.gz", _flipped(0.95, 6), *damaged),
        _bad(5, "all of the trailer missing", "x.nii.gz", GOOD_GZ[:-8], "E_TRUNCATED"),
        _bad(5, "half of the trailer missing", "x.nii.gz", GOOD_GZ[:-4], "E_TRUNCATED"),
        _bad(6, "zeros", "x.nii.gz", GOOD_GZ + bytes(512), "W_TRAILING", expected="warn"),
        _bad(6, "text", "x.nii.gz", GOOD_GZ + b"more", "W_TRAILING", expected="warn"),
        _bad(6, "after plain voxels", "x.nii", GOOD + b"more", "W_TRAILING", expected="warn"),
        _bad(7, "compressed name", "x.nii.gz", b"", "E_EMPTY"),
        _bad(7, "plain name", "x.nii", b"", "E_EMPTY"),
        _bad(7, "another format's name", "x.nrrd", b"", "E_EMPTY"),
        _bad(8, "login page", "x.nii.gz", _HTML, "E_NOT_NIFTI"),
        _bad(8, "text", "x.nii", b"not found\n" * 60, "E_NOT_NIFTI"),
        _bad(8, "text under another format's name", "x.mha", b"not found\n" * 60, "E_FORMAT"),
        _bad(9, "plain, named .nii.gz", "x.nii.gz", GOOD, "W_NAME", expected="warn"),
        _bad(9, "compressed, named .nii", "x.nii", GOOD_GZ, "W_NAME", expected="warn"),
        _bad(9, "NIfTI, named .mha", "x.mha", GOOD, "W_NAME", expected="warn"),
        _bad(9, "NRRD of one axis, named .nii.gz", "x.nii.gz", _NRRD, "E_NDIM"),
        _bad(10, "compressed name", "x.nii.gz", _LFS, "E_NOT_NIFTI"),
        _bad(10, "plain name", "x.nii", _LFS, "E_NOT_NIFTI"),
    ]
