"""Volumes are equal to nibabel's, and damaged or doubtful files are refused with a reason."""

from __future__ import annotations

import gzip
import os
import pickle
import random
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.data.formats.nifti import read_nifti
from pipeline.data.volume import Reason, VolumeError, content_sha256
from pipeline.errors import DataError

nib: Any = nibabel  # has no types for what is used here
DATA = Path(
    os.environ.get("VOLCLASS_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data")
)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1]])
SHAPE = (12, 10, 8)


def voxels(dtype: str = "<i2", shape: tuple[int, ...] = SHAPE) -> NDArray[np.generic]:
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


def nifti(
    values: NDArray[np.generic],
    affine: NDArray[np.float64] = AFFINE,
    order: Literal["<", ">"] = "<",
    version: Literal[1, 2] = 1,
) -> bytes:
    """The bytes of a valid file."""
    header = (nib.Nifti1Header if version == 1 else nib.Nifti2Header)(endianness=order)
    image = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    content: bytes = image(values, affine, header, dtype=values.dtype).to_bytes()
    return content


def patched(content: bytes, offset: int, layout: str, *values: float) -> bytes:
    """A header with some fields overwritten; offsets as in the NIfTI-1 standard."""
    changed = bytearray(content)
    struct.pack_into("<" + layout, changed, offset, *values)
    return bytes(changed)


DIM, DATATYPE, BITPIX, PIXDIM, OFFSET, SLOPE, INTER = 40, 70, 72, 76, 108, 112, 116
UNITS, QFORM_CODE, SFORM_CODE, QUATERN, SROW = 123, 252, 254, 256, 280
GOOD = nifti(voxels())
NAN = float("nan")


def assert_as_nibabel(path: Path) -> None:
    volume = read_nifti(path)
    image = nib.as_closest_canonical(nib.load(path))
    expected = np.asarray(image.dataobj).astype(np.float32)
    np.testing.assert_array_equal(volume.voxels, expected.reshape(volume.voxels.shape))
    np.testing.assert_allclose(volume.affine, image.affine, atol=1e-9)
    np.testing.assert_allclose(volume.spacing, image.header.get_zooms()[:3], rtol=1e-6)
    np.testing.assert_allclose(volume.original_affine, nib.load(path).affine)
    assert volume.voxels.dtype == np.float32
    assert volume.voxels.flags.c_contiguous
    assert volume.content == content_sha256(volume.voxels, volume.affine)


@pytest.mark.skipif(not (DATA / "sts").is_dir(), reason=f"no real volumes in {DATA}")
def test_real_volumes_are_as_nibabel_reads_them() -> None:
    paths = sorted((DATA / "sts").rglob("*.nii.gz"))
    assert paths
    for path in paths:
        assert_as_nibabel(path)


OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.4) @ np.diag([1.0, -2.0, 0.7]), [3, -40, 12]
)
PERMUTED = np.array([[0, 0, -3.0, 9], [2.0, 0, 0, 1], [0, -1.0, 0, 5], [0, 0, 0, 1]])


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", "<u2", "<i4", "<f4", "<f8"])
@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE, PERMUTED], ids=["flip", "oblique", "permuted"])
def test_types_and_orientations(tmp_path: Path, dtype: str, affine: NDArray[np.float64]) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(nifti(voxels(dtype), affine)))
    assert_as_nibabel(path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_versions_and_byte_orders_give_the_same_bits(
    tmp_path: Path, version: Literal[1, 2], order: Literal["<", ">"]
) -> None:
    path, reference = tmp_path / "x.nii", tmp_path / "reference.nii.gz"
    path.write_bytes(nifti(voxels(f"{order}i2"), AFFINE, order, version))
    reference.write_bytes(gzip.compress(nifti(voxels())))
    assert_as_nibabel(path)
    assert read_nifti(path).content == read_nifti(reference).content


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(patched(nifti(voxels()), SLOPE, "ff", 0.37, -1024))
    assert_as_nibabel(path)
    np.testing.assert_allclose(read_nifti(path).voxels.min(), -1024, atol=1)


def test_twins_in_other_orientations_have_one_content(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), AFFINE)
    contents = set()
    for axes in ("RAS", "LPS", "ASL", "IPR"):
        target = nib.orientations.axcodes2ornt(axes)
        change = nib.orientations.ornt_transform(nib.io_orientation(AFFINE), target)
        path = tmp_path / f"{axes}.nii.gz"
        nib.save(image.as_reoriented(change), path)
        contents.add(read_nifti(path).content)
    assert len(contents) == 1
    other, moved = voxels(), AFFINE.copy()
    other[3, 4, 5] += 1
    moved[0, 3] += 0.001
    for changed in (nifti(other), nifti(voxels(), moved)):
        path.write_bytes(changed)
        assert read_nifti(path).content not in contents


def test_members_padding_and_one_frame_are_accepted(tmp_path: Path) -> None:
    content = nifti(voxels())
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(content[:900]) + gzip.compress(content[900:]))
    whole = read_nifti(path)
    assert not whole.findings
    path.write_bytes(gzip.compress(content) + b"\0" * 100)
    padded = read_nifti(path)
    assert [finding.code for finding in padded.findings] == ["W_TRAILING"]
    path.write_bytes(nifti(voxels(shape=(*SHAPE, 1))))
    frame = read_nifti(path)
    assert whole.content == padded.content == frame.content


def test_format_is_found_by_content(tmp_path: Path) -> None:
    packed, plain = tmp_path / "x.nii", tmp_path / "x.nii.gz"
    plain.write_bytes(nifti(voxels()))
    packed.write_bytes(gzip.compress(nifti(voxels())))
    assert read_nifti(packed).content == read_nifti(plain).content


def test_doubtful_headers_are_read_with_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(patched(nifti(voxels()), SLOPE, "ff", float("nan"), 0))
    assert [finding.code for finding in read_nifti(path).findings] == ["W_SLOPE"]
    path.write_bytes(patched(nifti(voxels()), PIXDIM + 4, "f", -2))
    (finding,) = read_nifti(path).findings
    assert finding.code == "W_SPACING"
    assert finding.text == (
        "its pixdim field is [-2.0, 1.5, 3.0]; the voxel sizes of sform are taken"
    )


@pytest.mark.parametrize("units", [0, 2, 8, 10])
def test_sizes_in_mm_or_of_no_unit_are_read(units: int, tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(patched(GOOD, UNITS, "b", units))
    assert read_nifti(path).spacing == (2.0, 1.5, 3.0)


def test_two_orientations_that_contradict_each_other_are_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    wide = np.diag([-2.0, 1.5, 3.0, 1.0])  # half of its smallest size is 0.75 mm
    image = nib.Nifti1Image(voxels(), wide)
    for shift, found in ((0.0, []), (0.7, []), (0.8, ["W_ORIENTATION"])):
        moved = wide.copy()
        moved[0, 3] += shift
        image.set_sform(wide, code=1)
        image.set_qform(moved, code=1)
        nib.save(image, path)
        volume = read_nifti(path)
        assert [finding.code for finding in volume.findings] == found
        np.testing.assert_allclose(volume.original_affine, wide)
    assert "0.8 mm apart; sform is taken" in volume.findings[0].text
    for number in (9.0, NAN):  # which no rotation has
        path.write_bytes(patched(path.read_bytes(), QUATERN, "f", number))
        (finding,) = read_nifti(path).findings
        assert finding.code == "W_ORIENTATION"
        assert finding.text == "its qform is no rotation; sform is taken"


def filled(value: float, dtype: str = "<f4") -> bytes:
    values = voxels(dtype)
    values[1, 2, 3] = value
    return nifti(values)


PACKED = gzip.compress(GOOD, mtime=0)
BAD: list[tuple[str, bytes, str]] = [
    ("E_EMPTY", b"", "0 bytes"),
    ("E_NOT_NIFTI", b"hello" * 200, "does not start with a NIfTI header"),
    ("E_NOT_NIFTI", b"\n<!DOCTYPE html><html>login</html>", "HTML"),
    ("E_NOT_NIFTI", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ("E_NOT_NIFTI", b"\0" * 128 + b"DICM" + b"\0" * 600, "DICOM"),
    ("E_NOT_NIFTI", gzip.compress(b"hello"), "NIfTI"),
    ("E_ANALYZE", GOOD[:344] + b"\0\0\0\0" + GOOD[348:], "Analyze"),
    ("E_PAIR", GOOD[:344] + b"ni1\0" + GOOD[348:], "second file"),
    ("E_TRUNCATED", GOOD[:200], "header"),
    ("E_TRUNCATED", GOOD[:-1], "can hold"),
    ("E_TRUNCATED", PACKED[: len(PACKED) // 2], "stops after"),
    ("E_TRUNCATED", PACKED[:-8], "stops after"),
    ("E_TRUNCATED", PACKED[:-1], "stops after"),
    ("E_TRUNCATED", PACKED[:5], "stops after"),
    ("E_TRUNCATED", gzip.compress(GOOD[:-1]), "of the 2,272 bytes"),
    ("E_CRC", PACKED[:-8] + b"abcd" + PACKED[-4:], "data check"),
    ("E_CRC", PACKED[:-4] + b"abcd", "length check"),
    ("E_BUDGET", patched(GOOD, DIM, "4h", 3, 32767, 32767, 1000), "declares"),
    ("E_BUDGET", gzip.compress(patched(GOOD, DIM, "4h", 3, 32767, 10000, 16)), "declares"),
    ("E_TRUNCATED", gzip.compress(patched(GOOD, DIM, "4h", 3, 1000, 1000, 500)), "can hold"),
    ("E_DIMS", patched(GOOD, DIM, "4h", 3, 12, 0, 8), "dim field"),
    ("E_DIMS", patched(GOOD, DIM, "4h", 3, 12, -10, 8), "dim field"),
    ("E_DIMS", patched(GOOD, DIM, "h", 0), "dim field"),
    ("E_DIMS", patched(patched(GOOD, OFFSET, "f", 0), DIM, "4h", 3, -5, 6, 7), "dim field"),
    ("E_OFFSET", patched(GOOD, OFFSET, "f", 0), "set vox_offset to 352"),
    ("E_SPACING", patched(GOOD, UNITS, "b", 1), "in metres"),
    ("E_SPACING", patched(GOOD, UNITS, "b", 3 + 8), "in micrometres"),
    ("E_DIMS", patched(GOOD, DIM, "h", 9), "dim field"),
    ("E_NDIM", nifti(voxels(shape=(12, 10))), "2 dimensions: 12 x 10"),
    ("E_NDIM", nifti(voxels(shape=(*SHAPE, 5))), "4 dimensions"),
    ("E_NDIM", nifti(voxels(shape=(*SHAPE, 2, 3))), "5 dimensions"),
    ("E_CHANNELS", nifti(voxels(shape=(*SHAPE, 1, 3))), "3 channels"),
    ("E_CHANNELS", patched(GOOD, DATATYPE, "hh", 128, 24), "3 channels"),
    ("E_CHANNELS", patched(GOOD, DATATYPE, "hh", 2304, 32), "4 channels"),
    ("E_DTYPE", nifti(voxels("c8")), "complex64"),
    ("E_DTYPE", patched(GOOD, DATATYPE, "h", 1234), "1234"),
    ("E_DTYPE", patched(GOOD, DATATYPE, "h", 1536), "float128"),
    ("E_DTYPE", patched(GOOD, BITPIX, "h", 32), "bitpix 32"),
    ("E_OFFSET", patched(GOOD, OFFSET, "f", 100), "byte 100"),
    ("E_OFFSET", patched(GOOD, OFFSET, "f", NAN), "byte nan"),
    ("E_TRUNCATED", patched(GOOD, OFFSET, "f", 5000), "can hold"),
    ("E_BUDGET", patched(GOOD, OFFSET, "f", 1e38), "declares"),
    ("E_SCALE", patched(GOOD, SLOPE, "ff", 1, NAN), "scl_inter"),
    ("E_SPACING", patched(patched(GOOD, SFORM_CODE, "h", 0), PIXDIM + 4, "f", 0), "pixdim"),
    ("E_SPACING", patched(patched(GOOD, SFORM_CODE, "h", 0), PIXDIM + 4, "f", -2), "pixdim"),
    ("E_AFFINE", patched(GOOD, SROW, "f", NAN), "not finite"),
    ("E_AFFINE", patched(GOOD, SROW, "f", 0), "singular"),
    ("E_AFFINE", patched(GOOD, SROW, "8f", 1, 1, 0, 0, 1, 1, 0, 0), "singular"),
    ("E_NONFINITE", filled(NAN), "1 of 960"),
    ("E_NONFINITE", gzip.compress(filled(float("inf"))), "1 of 960"),
    ("E_NONFINITE", nifti(np.full(SHAPE, NAN, "<f4")), "960 of 960"),
    ("E_RANGE", filled(1e300, "<f8"), "1e+300"),
    ("E_RANGE", patched(GOOD, SLOPE, "ff", 1e38, 0), "reach from"),
    ("E_CONSTANT", nifti(np.full(SHAPE, 7, "<i2")), "every voxel is 7"),
    ("E_CONSTANT", nifti(np.zeros(SHAPE, "<f4")), "every voxel is 0"),
]


@pytest.mark.parametrize(
    ("code", "content", "why"), BAD, ids=[f"{code}-{why}" for code, _, why in BAD]
)
def test_bad_files_are_refused_with_code_file_reason_and_remedy(
    tmp_path: Path, code: str, content: bytes, why: str
) -> None:
    path = tmp_path / "patient 1.nii.gz"
    path.write_bytes(content)
    with pytest.raises(VolumeError) as caught:
        read_nifti(path)
    error = caught.value
    assert isinstance(error, DataError)
    assert (error.code, error.file) == (code, path)
    assert why in error.reason
    assert error.remedy
    for part in (code, str(path), error.reason, error.remedy):
        assert part in str(error)


def test_things_that_are_no_files_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    expected = {"pipe.nii.gz": "E_IRREGULAR", "": "E_IRREGULAR", "no": "E_MISSING", "loop": "E_IO"}
    for name, code in expected.items():
        with pytest.raises(VolumeError) as caught:
            read_nifti(tmp_path / name)
        assert caught.value.code == code
    with pytest.raises(VolumeError, match="E_IRREGULAR"):
        read_nifti(Path("/dev/zero"))


def test_system_errors_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(GOOD)

    def failing(error: OSError) -> Callable[..., object]:
        def opened(*_: object) -> object:
            raise error

        return opened

    for error, code in ((PermissionError(13, "no"), "E_PERMISSION"), (OSError(5, "io"), "E_IO")):
        monkeypatch.setattr(Path, "open", failing(error))
        with pytest.raises(VolumeError) as caught:
            read_nifti(path)
        assert caught.value.code == code


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "x.nii").write_bytes(GOOD)
    (tmp_path / "link.nii").symlink_to("x.nii")
    assert read_nifti(tmp_path / "link.nii").voxels.shape == SHAPE


def test_sixty_flipped_bits_are_all_detected(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(nifti(voxels(shape=(40, 40, 30))), mtime=0))
    generator = random.Random(0)
    path = tmp_path / "x.nii.gz"
    for _ in range(60):
        # The ten bytes of the gzip header hold no voxels and no checksum covers them.
        place, bit = generator.randrange(10, len(content)), 1 << generator.randrange(8)
        content[place] ^= bit
        path.write_bytes(content)
        with pytest.raises(VolumeError) as caught:
            read_nifti(path)
        assert caught.value.code.startswith("E_")
        content[place] ^= bit
    path.write_bytes(content)
    assert read_nifti(path).voxels.shape == (40, 40, 30)


def test_bombs_are_refused_at_once_and_in_little_memory(tmp_path: Path) -> None:
    claims = patched(GOOD, DIM, "4h", 3, 1000, 1000, 1000)  # 2 GB, within the default budget
    inflating = gzip.compress(GOOD + bytes(64 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    for name, content, budget, code in (
        ("claims", gzip.compress(claims), 4 << 30, "E_TRUNCATED"),
        ("claims more", gzip.compress(claims), 1 << 30, "E_BUDGET"),
        ("inflates", inflating, 16 << 20, "E_BUDGET"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(VolumeError) as caught:
            read_nifti(path, budget=budget)
        assert caught.value.code == code
    assert time.perf_counter() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_refusal_survives_the_way_between_processes() -> None:
    error = VolumeError(Reason.E_CRC, Path("x.nii.gz"), "incorrect data check")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, VolumeError)
    assert (str(again), again.code) == (str(error), "E_CRC")
