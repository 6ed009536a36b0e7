"""FreeSurfer's MGH: equal to nibabel's, and damaged or doubtful files are refused or named."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.formats.dispatch import read_volume
from pipeline.data.formats.mgh import read_mgh
from pipeline.data.formats.rules import Rules, reading_by
from pipeline.data.volume import VolumeError

nib: Any = nibabel  # has no types for what is used here
Affine = NDArray[np.float64]
AFFINE = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1]])
SHAPE = (6, 5, 4)
DIMS, TYPE, GOOD_RAS, DELTA, MDC, CENTRE, VOXELS = 4, 20, 28, 30, 42, 78, 284


def mgh(dtype: str = "i2", affine: Affine = AFFINE, shape: tuple[int, ...] = SHAPE) -> bytes:
    values = np.random.default_rng(0).integers(0, 120, shape).astype(dtype)
    content: bytes = nib.MGHImage(values, affine).to_bytes()
    return content


def patched(content: bytes, offset: int, layout: str, *values: float) -> bytes:
    """A header with some fields overwritten."""
    changed = bytearray(content)
    struct.pack_into(">" + layout, changed, offset, *values)
    return bytes(changed)


def written(folder: Path, content: bytes) -> Path:
    packed = content.startswith(b"\x1f\x8b")
    path = folder / f"patient 1.{'mgz' if packed else 'mgh'}"
    path.write_bytes(content)
    return path


OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.4) @ np.diag([1.0, -2.0, 0.7]), [3, -40, 12]
)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4"])
@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE], ids=["permuted", "oblique"])
@pytest.mark.parametrize("packed", [True, False])
def test_volumes_are_as_nibabel_reads_them(
    dtype: str,
    affine: Affine,
    packed: bool,
    tmp_path: Path,
) -> None:
    content = mgh(dtype, affine)
    volume = read_volume(written(tmp_path, gzip.compress(content) if packed else content))
    image = nib.as_closest_canonical(nib.MGHImage.from_bytes(content))
    np.testing.assert_array_equal(volume.voxels, np.asarray(image.dataobj).astype(np.float32))
    np.testing.assert_allclose(volume.affine, image.affine, atol=1e-4)
    assert not volume.findings


def test_tags_behind_the_voxels_are_no_finding_but_bytes_behind_gzip_are(tmp_path: Path) -> None:
    content = mgh() + b"tags and more tags"
    for stored, codes in (
        (content, []),
        (gzip.compress(content), []),
        (gzip.compress(content) + b"junk", ["W_TRAILING"]),
        (content[: VOXELS + 2 * 120], []),
    ):
        findings = read_volume(written(tmp_path, stored)).findings
        assert [finding.code for finding in findings] == codes


def test_a_name_that_says_otherwise_is_a_finding(tmp_path: Path) -> None:
    for name, content in (("a.mgh", gzip.compress(mgh())), ("a.mgz", mgh()), ("a.nii", mgh())):
        (tmp_path / name).write_bytes(content)
        volume = read_volume(tmp_path / name)
        assert [finding.code for finding in volume.findings] == ["W_NAME"]


def test_without_orientation_a_volume_is_refused_or_lies_as_the_user_says(tmp_path: Path) -> None:
    path = written(tmp_path, patched(mgh(), GOOD_RAS, "h", 0))
    for rules in (Rules(), Rules(orientation="nifti")):
        with reading_by(rules), pytest.raises(VolumeError, match="E_ORIENT_MISSING") as caught:
            read_volume(path)
        assert caught.value.reason == "its goodRASFlag is not set; FreeSurfer assumes LIA"
    with reading_by(Rules(orientation="LIA")):
        volume = read_volume(path)
    assert [finding.code for finding in volume.findings] == ["W_ORIENTATION"]
    assert nib.aff2axcodes(volume.original_affine) == ("L", "I", "A")
    assert volume.spacing == (1.0, 1.0, 1.0)


GOOD = mgh()
PACKED = gzip.compress(GOOD, mtime=0)
NAN = float("nan")
BAD: list[tuple[str, bytes, str]] = [
    ("E_TRUNCATED", GOOD[:50], "header"),
    ("E_TRUNCATED", GOOD[:200], "can hold"),
    ("E_TRUNCATED", GOOD[: VOXELS + 239], "can hold"),
    ("E_TRUNCATED", PACKED[:-1], "stops after"),
    ("E_TRUNCATED", PACKED[: len(PACKED) // 2], "stops after"),
    ("E_TRUNCATED", gzip.compress(GOOD[: VOXELS + 239]), "of the 524 bytes"),
    ("E_CRC", PACKED[:-8] + b"abcd" + PACKED[-4:], "data check"),
    ("E_CRC", PACKED[:-4] + b"abcd", "length check"),
    ("E_BUDGET", patched(GOOD, DIMS, "3i", 5000, 4000, 3000), "declares"),
    ("E_TRUNCATED", gzip.compress(patched(GOOD, DIMS, "3i", 500, 400, 300)), "can hold"),
    ("E_DIMS", patched(GOOD, DIMS, "3i", 5, 0, 3), "5 x 0 x 3"),
    ("E_DIMS", patched(GOOD, DIMS, "3i", 5, -4, 3), "5 x -4 x 3"),
    ("E_NDIM", mgh(shape=(*SHAPE, 7)), "6 x 5 x 4 x 7"),
    ("E_DTYPE", patched(GOOD, TYPE, "i", 7), "7"),
    ("E_SPACING", patched(GOOD, DELTA, "f", 0), "delta"),
    ("E_SPACING", patched(GOOD, DELTA, "f", -1), "delta"),
    ("E_SPACING", patched(GOOD, DELTA, "f", NAN), "delta"),
    ("E_AFFINE", patched(GOOD, MDC, "3f", 0, 0, 0), "singular"),
    ("E_AFFINE", patched(GOOD, MDC, "f", NAN), "not finite"),
    ("E_AFFINE", patched(GOOD, CENTRE, "f", float("inf")), "not finite"),
    ("E_NONFINITE", patched(mgh("f4"), VOXELS + 8, "f", NAN), "1 of 120"),
    ("E_CONSTANT", GOOD[:VOXELS] + bytes(240), "every voxel is 0"),
]


@pytest.mark.parametrize(
    ("code", "content", "why"), BAD, ids=[f"{code}-{why}" for code, _, why in BAD]
)
def test_bad_files_are_refused(code: str, content: bytes, why: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    with pytest.raises(VolumeError) as caught:
        read_volume(path)
    assert (caught.value.code, caught.value.file) == (code, path)
    assert why in caught.value.reason


def test_another_version_is_not_guessed_at(tmp_path: Path) -> None:
    path = written(tmp_path, patched(GOOD, 0, "i", 2))
    for read in (read_mgh, read_volume):
        with pytest.raises(VolumeError) as caught:
            read(path)
        assert caught.value.code == "E_FORMAT"
