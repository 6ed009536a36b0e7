"""MetaImage: what its header may say, and every header that is refused, written by hand."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from pipeline.data.formats.dispatch import companions, read_volume
from pipeline.data.formats.rules import Rules, reading_by
from pipeline.data.volume import VolumeError

nib: Any = nibabel  # has no types for what is used here
sitk: Any = SimpleITK  # has no types
VALUES = np.random.default_rng(0).integers(0, 99, (5, 4, 3)).astype("<i2")
DATA = VALUES.tobytes(order="F")
GOOD = {
    "ObjectType": "Image",
    "NDims": "3",
    "DimSize": "5 4 3",
    "ElementSpacing": "2 1.5 3",
    "TransformMatrix": "-1 0 0 0 -1 0 0 0 1",
    "Offset": "-1 -2 3",
    "ElementType": "MET_SHORT",
}
AFFINE = np.array([[2.0, 0, 0, 1], [0, 1.5, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]])


def meta(data: bytes = DATA, file: str = "LOCAL", /, **changes: str | None) -> bytes:
    """A file with some fields changed; `None` takes a field out."""
    fields = GOOD | changes | {"ElementDataFile": file}
    lines = [f"{name} = {text}" for name, text in fields.items() if text is not None]
    return "\n".join([*lines, ""]).encode() + data


def written(folder: Path, content: bytes) -> Path:
    path = folder / "patient 1.mha"
    path.write_bytes(content)
    return path


def refusal(path: Path) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        read_volume(path)
    return caught.value


def assert_good(path: Path) -> None:
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, VALUES)
    np.testing.assert_allclose(volume.affine, AFFINE)


ALIKE: list[dict[str, str | None]] = [
    {},
    {"ObjectType": None},
    {"ElementSpacing": None, "ElementSize": "2 1.5 3"},
    {"TransformMatrix": None, "Rotation": "-1 0 0 0 -1 0 0 0 1"},
    {"TransformMatrix": None, "Orientation": "-1 0 0 0 -1 0 0 0 1"},
    {"Offset": None, "Position": "-1 -2 3"},
    {"Offset": None, "Origin": "-1 -2 3"},
    {"Offset": "-1 -2 3", "Origin": "-1 -2 3"},
    {"AnatomicalOrientation": "???", "CenterOfRotation": "7 7 7", "Modality": "MET_MOD_CT"},
    {"BinaryData": "True", "BinaryDataByteOrderMSB": "False", "CompressedData": "False"},
    {"ElementNumberOfChannels": "1", "HeaderSize": "0", "DistanceUnits": "mm"},
    {"HeaderSize": "-1"},
    {"ElementToIntensityFunctionSlope": "1", "ElementToIntensityFunctionOffset": "0"},
    {
        "NDims": "4",
        "DimSize": "5 4 3 1",
        "ElementSpacing": "2 1.5 3 1",
        "TransformMatrix": "-1 0 0 0 0 -1 0 0 0 0 1 0 0 0 0 1",
        "Offset": "-1 -2 3 0",
    },
]


@pytest.mark.parametrize("changes", ALIKE)
def test_headers_that_say_the_same(changes: dict[str, str | None], tmp_path: Path) -> None:
    path = written(tmp_path, meta(**changes))
    assert_good(path)
    assert not read_volume(path).findings


def test_separators_and_line_ends_are_read(tmp_path: Path) -> None:
    header = b"Comment = a: b = c\n" + meta(b"")
    assert_good(written(tmp_path, header + DATA))
    assert_good(written(tmp_path, header.replace(b"\n", b"\r\n") + DATA))
    assert_good(written(tmp_path, meta(b"").replace(b" =", b":") + DATA))


def test_axes_are_as_simpleitk_reads_them(tmp_path: Path) -> None:
    """The rows of the matrix are the directions of the axes, so a turn is not its inverse."""
    turned = {"TransformMatrix": "0 0.6 0.8 1 0 0 0 0.8 -0.6", "AnatomicalOrientation": "RAI"}
    path = written(tmp_path, meta(**turned))
    image = sitk.ReadImage(str(path))
    direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    ours = read_volume(path).original_affine
    np.testing.assert_allclose(ours[:3, :3], np.diag([-1, -1, 1]) @ direction, atol=1e-12)


def test_bytes_are_read_in_either_order_and_behind_a_header(tmp_path: Path) -> None:
    big = VALUES.astype(">i2").tobytes(order="F")
    assert_good(written(tmp_path, meta(big, BinaryDataByteOrderMSB="True")))
    assert_good(written(tmp_path, meta(big, ElementByteOrderMSB="True")))
    for compressed in (zlib.compress(DATA), gzip.compress(DATA)):
        assert_good(written(tmp_path, meta(compressed, CompressedData="True")))
    path = written(tmp_path, meta(b"", "my scan.raw", HeaderSize="7"))
    (tmp_path / "my scan.raw").write_bytes(b"1234567" + DATA)
    assert_good(path)
    assert companions(path) == (tmp_path / "my scan.raw",)
    assert_good(written(tmp_path, meta(b"", "my scan.raw", HeaderSize="-1")))
    (tmp_path / "v 50%.raw").write_bytes(DATA)
    assert_good(written(tmp_path, meta(b"", "v 50%.raw")))


@pytest.mark.parametrize("letters", ["LPS", "RAS", "PIR", "SLA"])
def test_without_orientation_a_volume_is_refused_or_lies_as_the_user_says(
    letters: str, tmp_path: Path
) -> None:
    path = written(tmp_path, meta(TransformMatrix=None))
    error = refusal(path)
    assert (error.code, error.reason) == (
        "E_ORIENT_MISSING",
        "it has no TransformMatrix; ITK assumes LPS",
    )
    with reading_by(Rules(orientation=letters)):
        volume = read_volume(path)
    assert [finding.code for finding in volume.findings] == ["W_ORIENTATION"]
    assert nib.aff2axcodes(volume.original_affine) == tuple(letters)
    sizes = np.linalg.norm(volume.original_affine[:3, :3], axis=0)
    np.testing.assert_allclose(sizes, [2, 1.5, 3])
    np.testing.assert_allclose(volume.original_affine[:3, 3], [1, 2, 3])
    if letters == "LPS":  # which ITK assumes
        image = sitk.ReadImage(str(path))
        direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        ours = np.diag([-1, -1, 1]) @ volume.original_affine[:3, :3]
        np.testing.assert_allclose(direction, ours)


def test_doubtful_headers_are_read_with_a_finding(tmp_path: Path) -> None:
    for name in ("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"):
        path = written(tmp_path, meta(**{name: "3"}))
        assert [finding.code for finding in read_volume(path).findings] == ["W_SLOPE"]
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), VALUES.T)
    path = written(tmp_path, meta() + b"more")
    assert [finding.code for finding in read_volume(path).findings] == ["W_TRAILING"]


PACKED = zlib.compress(DATA)
BAD: list[tuple[str, bytes, str]] = [
    ("E_TRUNCATED", meta()[:60], "within its header"),
    ("E_TRUNCATED", meta()[:-1], "can hold"),
    ("E_TRUNCATED", meta(PACKED[:-1], CompressedData="True"), "stops after"),
    ("E_TRUNCATED", meta(zlib.compress(DATA[:-1]), CompressedData="True"), "of the 120 bytes"),
    ("E_TRUNCATED", meta(b"", CompressedData="True"), "can hold"),
    ("E_TRUNCATED", meta(HeaderSize="999"), "can hold"),
    ("E_CRC", meta(PACKED[:-4] + b"abcd", CompressedData="True"), "data check"),
    ("E_CRC", meta(CompressedData="True"), "header check"),
    ("E_BUDGET", meta(DimSize="5000 4000 3000"), "declares"),
    ("E_BUDGET", meta(HeaderSize="-1", DimSize=f"5 4 {10**17}"), "declares"),
    ("E_DIMS", meta(DimSize="5 0 3"), "5 x 0 x 3"),
    ("E_NDIM", meta(NDims="2", DimSize="5 4"), "2 dimensions"),
    ("E_NDIM", meta(NDims="4", DimSize="5 4 3 2"), "4 dimensions"),
    ("E_NDIM", meta(NDims="11", DimSize="5 4 3" + " 1" * 8), "11 dimensions; 10"),
    ("E_HEADER", meta(ElementSpacing="1 1 1 1"), "3 numbers"),
    ("E_CHANNELS", meta(ElementNumberOfChannels="3"), "3 channels"),
    ("E_HEADER", meta(ElementNumberOfChannels="0"), "ElementNumberOfChannels"),
    ("E_HEADER", meta(ObjectType="Mesh"), "Mesh"),
    ("E_HEADER", meta(DimSize=None), "states no DimSize"),
    ("E_HEADER", meta(DimSize="5 4 x"), "DimSize"),
    ("E_HEADER", meta(DimSize="5 4 1_0"), "DimSize"),
    ("E_HEADER", meta(NDims="2"), "NDims"),
    ("E_HEADER", meta(dimsize="5 4 3"), "DimSize twice"),
    ("E_HEADER", meta(Origin="1 2 3"), "contradict"),
    ("E_HEADER", meta(Offset="1 2"), "3 numbers"),
    ("E_HEADER", meta(Offset="1 2 nan"), "3 numbers"),
    ("E_HEADER", meta(TransformMatrix="1 0 0 1"), "9 numbers"),
    ("E_HEADER", meta(CompressedData="perhaps"), "perhaps"),
    ("E_HEADER", meta(Comment="x" * (1 << 20)), "1,048,576 bytes"),
    ("E_HEADER", meta(ElementType=None), "states no ElementType"),
    ("E_DTYPE", meta(ElementType="MET_LONG"), "MET_LONG"),
    ("E_DTYPE", meta(ElementType="MET_SHORT_ARRAY"), "MET_SHORT_ARRAY"),
    ("E_ENCODING", meta(BinaryData="False"), "as text"),
    ("E_OFFSET", meta(HeaderSize="-2"), "-2"),
    ("E_OFFSET", meta(PACKED, HeaderSize="-1", CompressedData="True"), "-1"),
    ("E_SPACING", meta(ElementSpacing=None), "ElementSpacing"),
    ("E_SPACING", meta(ElementSpacing="1 1"), "ElementSpacing"),
    ("E_SPACING", meta(ElementSpacing="1 -1 1"), "ElementSpacing"),
    ("E_SPACING", meta(ElementSpacing="1 nan 1"), "ElementSpacing"),
    ("E_SPACING", meta(DistanceUnits="um"), "'um', not mm"),
    ("E_AFFINE", meta(TransformMatrix="1 0 0 1 0 0 0 0 1"), "singular"),
    ("E_AFFINE", meta(Offset="1e99 0 0"), "beyond 1000 km"),
    ("E_AFFINE", meta(ElementSpacing="1e300 1 1", TransformMatrix="1e300 0 0 0 1 0 0 0 1"), "1000"),
    ("E_RAW_MISSING", meta(b"", "x.raw"), "x.raw"),
    ("E_HEADER", meta(b"", ""), "states no ElementDataFile"),
    *(
        ("E_DETACHED", meta(b"", name), why)
        for name, why in (
            ("LIST", "several files"),
            ("LIST 2", "several files"),
            ("slice%03d.raw 1 3 1", "several files"),
            ("/etc/hostname", "outside"),
            ("../x.raw", "outside"),
            ("a/../../x.raw", "outside"),
            ("C:\\x.raw", "a Windows path"),
            ("sub\\x.raw", "a Windows path"),
            ("C:x.raw", "outside"),
        )
    ),
]


@pytest.mark.parametrize(
    ("code", "content", "why"), BAD, ids=[f"{code}-{why}" for code, _, why in BAD]
)
def test_bad_files_are_refused(code: str, content: bytes, why: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    error = refusal(path)
    assert (error.code, error.file) == (code, path)
    assert why in error.reason
    assert companions(path) == ((tmp_path / "x.raw",) if code == "E_RAW_MISSING" else ())


def test_links_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "outside.raw").write_bytes(DATA)
    (tmp_path / "inside" / "x.raw").symlink_to(tmp_path / "outside.raw")
    path = written(tmp_path / "inside", meta(b"", "x.raw"))
    error = refusal(path)
    assert (error.code, "link" in error.reason) == ("E_DETACHED", True)
    assert companions(path) == ()
