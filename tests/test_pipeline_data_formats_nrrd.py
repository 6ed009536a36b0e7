"""NRRD: what its header may say, and every header that is refused, written by hand."""

from __future__ import annotations

import dataclasses
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from pipeline.data.formats.dispatch import companions, read_volume
from pipeline.data.formats.itk_header import metaimage_for_itk, nrrd_for_itk
from pipeline.data.formats.rules import Rules, reading_by
from pipeline.data.formats.second_opinion import ItkReader, check_with_itk
from pipeline.data.volume import VolumeError

sitk: Any = SimpleITK  # has no types
SHAPE = (5, 4, 3)
VALUES = np.random.default_rng(0).integers(0, 99, SHAPE).astype("<i2")
DATA = VALUES.tobytes(order="F")
GOOD: dict[str, str | None] = {
    "type": "short",
    "dimension": "3",
    "space dimension": None,  # which some readers want before the directions
    "space": "left-posterior-superior",
    "sizes": "5 4 3",
    "space directions": "(-2,0,0) (0,-1.5,0) (0,0,3)",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(-1,-2,3)",
}
AFFINE = np.array([[2.0, 0, 0, 1], [0, 1.5, 0, 2], [0, 0, 3, 3], [0, 0, 0, 1]])


def nrrd(data: bytes = DATA, /, **changes: str | None) -> bytes:
    """A file with some fields changed; `None` takes a field out."""
    fields = GOOD | {name.replace("_", " "): text for name, text in changes.items()}
    lines = [f"{name}: {text}" for name, text in fields.items() if text is not None]
    return "\n".join(["NRRD0004", *lines, "", ""]).encode() + data


def written(folder: Path, content: bytes) -> Path:
    path = folder / "patient 1.nrrd"
    path.write_bytes(content)
    return path


def refusal(path: Path) -> VolumeError:
    with pytest.raises(VolumeError) as caught:
        read_volume(path)
    return caught.value


def assert_good(path: Path, affine: NDArray[np.float64] = AFFINE) -> None:
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, VALUES)
    np.testing.assert_allclose(volume.affine, affine)


ALIKE: list[dict[str, str | None]] = [
    {},
    {"space": "LPS"},
    {"space": "Left-Posterior-Superior"},
    {"space": "RAS", "space_directions": "(2,0,0) (0,1.5,0) (0,0,3)", "space_origin": "(1,2,3)"},
    {
        "space": "left-anterior-superior",
        "space_directions": "(-2,0,0) (0,1.5,0) (0,0,3)",
        "space_origin": "(-1,2,3)",
    },
    {"type": "signed short int"},
    {"type": "int16_t"},
    {"space_units": '"mm" "mm" "mm"', "kinds": "domain domain domain", "content": "a: b"},
    {"centers": "cell cell cell", "thicknesses": "nan nan 3", "labels": '"x" "y" "z"'},
    {"measurement_frame": "(1,0,0) (0,1,0) (0,0,1)", "old min": "0", "sample units": "HU"},
    {
        "space": "left-posterior-superior-time",
        "dimension": "4",
        "sizes": "5 4 3 1",
        "space_directions": "(-2,0,0,0) (0,-1.5,0,0) (0,0,3,0) (0,0,0,1)",
        "space_origin": "(-1,-2,3,0)",
    },
]


@pytest.mark.parametrize(
    "changes",
    [
        {
            "dimension": "4",
            "sizes": "1 5 4 3",
            "space_directions": f"none {GOOD['space directions']}",
        },
    ],
)
def test_what_itk_cannot_read_is_refused(changes: dict[str, str | None], tmp_path: Path) -> None:
    error = refusal(written(tmp_path, nrrd(**changes)))
    assert error.code == "E_HEADER"
    assert error.reason.startswith("SimpleITK cannot read this header: ")
    for noise in ("0x", "ERROR", "[nrrd]", "/proc"):
        assert noise not in str(error)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_geometry_that_itk_sees_otherwise_is_refused(suffix: str, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    image.SetSpacing((1.0, 2.0, 3.0))
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path))
    reader: ItkReader = "NrrdImageIO" if suffix == ".nrrd" else "MetaImageIO"
    header = (nrrd_for_itk if suffix == ".nrrd" else metaimage_for_itk)(path)
    volume = read_volume(path)
    check_with_itk(path, reader, header, volume)
    moved = volume.original_affine.copy()
    moved[0, 3] += 0.01
    with pytest.raises(VolumeError, match=r"0\.01 mm from where SimpleITK sees it"):
        check_with_itk(path, reader, header, dataclasses.replace(volume, original_affine=moved))
    fewer = dataclasses.replace(volume, voxels=volume.voxels[:3])
    with pytest.raises(VolumeError, match="for SimpleITK"):
        check_with_itk(path, reader, header, fewer)
    with pytest.raises(VolumeError, match="cannot read this header") as caught:
        check_with_itk(path, reader, header[:20], volume)
    assert "Reason:" not in str(caught.value)


@pytest.mark.parametrize("changes", ALIKE)
def test_headers_that_say_the_same(changes: dict[str, str | None], tmp_path: Path) -> None:
    path = written(tmp_path, nrrd(**changes))
    assert_good(path)
    assert not read_volume(path).findings


def test_comments_own_keys_and_line_ends_are_read(tmp_path: Path) -> None:
    content = nrrd(b"").replace(b"sizes", b"# a comment\nowner:=a: b\nsizes")
    assert_good(written(tmp_path, content + DATA))
    assert_good(written(tmp_path, content.replace(b"\n", b"\r\n") + DATA))


def test_big_endian_bytes_and_skips_are_read(tmp_path: Path) -> None:
    big = VALUES.astype(">i2").tobytes(order="F")
    assert_good(written(tmp_path, nrrd(big, endian="big")))
    assert_good(written(tmp_path, nrrd(b"12345" + DATA, byte_skip="5")))
    assert_good(written(tmp_path, nrrd(b"12345" + DATA, byte_skip="-1")))
    assert_good(written(tmp_path, nrrd(b"a\nb\n12345" + DATA, line_skip="2", byte_skip="5")))
    packed = b"a\n" + gzip.compress(b"12345" + DATA)
    assert_good(written(tmp_path, nrrd(packed, encoding="gz", line_skip="1", byte_skip="5")))


UNSTATED: list[tuple[dict[str, str | None], str]] = [
    ({"space": None}, "it states no space; ITK assumes LPS"),
    ({"space": None, "space_dimension": "3"}, "it states no space; ITK assumes LPS"),
    (
        {
            "space": None,
            "space_directions": None,
            "spacings": "2 1.5 3",
            "space_origin": None,
        },
        "it states no space; ITK assumes LPS",
    ),
    (
        {"space_directions": None, "spacings": "2 1.5 3", "space": "RAS"},
        "it states no space directions; a NRRD file takes RAS, LAS or LPS here, as its space is",
    ),
]


@pytest.mark.parametrize(("changes", "why"), UNSTATED)
def test_without_orientation_a_volume_is_refused_or_lies_as_the_user_says(
    changes: dict[str, str | None], why: str, tmp_path: Path
) -> None:
    path = written(tmp_path, nrrd(**changes))
    error = refusal(path)
    assert (error.code, why in error.reason) == ("E_ORIENT_MISSING", True)
    signs = {"RAS": (1.0, 1.0), "LAS": (-1.0, 1.0), "LPS": (-1.0, -1.0)}
    own = np.diag([2.0 if "spacings" in changes else -2.0, 1.5, 3.0])
    own[1, 1] *= np.sign(own[0, 0])
    for letters, (x, y) in signs.items():
        with reading_by(Rules(orientation=letters)):
            if changes.get("space") not in (None, letters):
                assert refusal(path).code == "E_ORIENT_MISSING"
                continue
            volume = read_volume(path)
        (finding,) = volume.findings
        assert finding.code == "W_ORIENTATION"
        assert finding.text.endswith(f"{letters} is taken, as data.assume_orientation says")
        expected = np.diag([x, y, 1.0]) @ own
        np.testing.assert_allclose(volume.original_affine[:3, :3], expected)
    for letters in ("PIR", "nifti"):  # of which a NRRD file knows nothing
        with reading_by(Rules(orientation=letters)):
            assert refusal(path).code == "E_ORIENT_MISSING"


def test_what_an_assumed_volume_is_agrees_with_itk(tmp_path: Path) -> None:
    flipped = np.diag([-1.0, -1.0, 1.0])
    for changes, _ in UNSTATED[1:3]:
        path = written(tmp_path, nrrd(**changes))
        with reading_by(Rules(orientation="LPS")):
            ours = read_volume(path).original_affine
        image = sitk.ReadImage(str(path))  # which makes the same assumption
        direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        np.testing.assert_allclose(flipped @ direction, ours[:3, :3])


def test_bytes_behind_the_voxels_are_a_finding(tmp_path: Path) -> None:
    path = written(tmp_path, nrrd() + b"more")
    assert [finding.code for finding in read_volume(path).findings] == ["W_TRAILING"]


PACKED = gzip.compress(DATA, mtime=0)
BAD: list[tuple[str, bytes, str]] = [
    ("E_TRUNCATED", nrrd()[:60], "within its header"),
    ("E_TRUNCATED", nrrd()[:-1], "can hold"),
    ("E_TRUNCATED", nrrd(b"", encoding="gzip"), "can hold"),
    ("E_TRUNCATED", nrrd(PACKED[:-1], encoding="gzip"), "stops after"),
    ("E_TRUNCATED", nrrd(gzip.compress(DATA[:-1]), encoding="gzip"), "of the 120 bytes"),
    ("E_TRUNCATED", nrrd(byte_skip="1"), "can hold"),
    ("E_TRUNCATED", nrrd(DATA[:-1], byte_skip="-1"), "can hold"),
    ("E_TRUNCATED", nrrd(b"a\n", line_skip="9"), "lines to skip"),
    ("E_CRC", nrrd(PACKED[:-8] + b"abcd" + PACKED[-4:], encoding="gzip"), "data check"),
    ("E_CRC", nrrd(encoding="gzip"), "header check"),
    ("E_BUDGET", nrrd(sizes="5000 4000 3000"), "declares"),
    ("E_BUDGET", nrrd(sizes=f"5 4 {10**17}"), "declares"),
    ("E_TRUNCATED", nrrd(PACKED, sizes="500 400 30", encoding="gzip"), "can hold"),
    ("E_DIMS", nrrd(sizes="5 0 3"), "5 x 0 x 3"),
    ("E_DIMS", nrrd(sizes="5 -4 3"), "5 x -4 x 3"),
    ("E_HEADER", nrrd(sizes="5 4 3.5"), "sizes"),
    ("E_HEADER", nrrd(sizes="9" * 5000), "sizes"),
    ("E_HEADER", nrrd(sizes="5 4"), "2 sizes and dimension '3'"),
    ("E_HEADER", nrrd(sizes=None), "states no sizes"),
    ("E_HEADER", nrrd(kinds="domain domain"), "2 kinds"),
    ("E_HEADER", nrrd(encoding=None), "states no encoding"),
    ("E_HEADER", nrrd(endian=None), "states no endian"),
    ("E_HEADER", nrrd(endian="middle"), "middle"),
    ("E_HEADER", nrrd(Sizes="5 4 3"), "sizes twice"),
    ("E_HEADER", nrrd(spbce_directions="(1,0,0) (0,1,0) (0,0,1)"), "no field of NRRD"),
    ("E_HEADER", nrrd(b"", content="x" * (1 << 20)), "1,048,576 bytes"),
    ("E_HEADER", nrrd(space_directions="(1,0,0) (0,1,0)"), "2 space directions"),
    ("E_HEADER", nrrd(space_directions="(1,0) (0,1) (1,1)"), "3 numbers"),
    ("E_HEADER", nrrd(space_directions="(1,0,0) (0,x,0) (0,0,1)"), "direction"),
    ("E_HEADER", nrrd(space_directions="(1,0,0) (0,1,0) (0,0,1) junk"), "junk"),
    ("E_HEADER", nrrd(space_origin="1 2 3"), "space origin"),
    ("E_HEADER", nrrd(space_origin="none"), "None"),
    ("E_AFFINE", nrrd(space_directions="(1,0,0) (1,0,0) (0,0,1)"), "singular"),
    ("E_AFFINE", nrrd(space_directions="(1,0,0) (0,0,0) (0,0,1)"), "singular"),
    ("E_AFFINE", nrrd(space_directions="(1,0,0) (0,nan,0) (0,0,1)"), "not finite"),
    ("E_AFFINE", nrrd(space_origin="(inf,0,0)"), "not finite"),
    ("E_AFFINE", nrrd(space="scanner-xyz"), "which side is left"),
    ("E_AFFINE", nrrd(space="3D-right-handed"), "which side is left"),
    ("E_AFFINE", nrrd(space="left-posterior-inferior"), "which side is left"),
    ("E_SPACING", nrrd(space_directions=None), "spacings"),
    ("E_SPACING", nrrd(space_directions=None, spacings="1 0 1"), "spacings"),
    ("E_SPACING", nrrd(space_directions=None, spacings="1 nan 1"), "spacings"),
    ("E_SPACING", nrrd(space_units='"um" "um" "um"'), "'um', not mm"),
    ("E_SPACING", nrrd(space_directions=None, spacings="1 1 1", units='"cm" "cm" "cm"'), "'cm'"),
    ("E_DTYPE", nrrd(type="block"), "block"),
    ("E_ENCODING", nrrd(encoding="ascii"), "ascii"),
    ("E_ENCODING", nrrd(encoding="bzip2"), "bzip2"),
    ("E_OFFSET", nrrd(byte_skip="-2"), "byte skip"),
    ("E_OFFSET", nrrd(line_skip="-1"), "line skip"),
    ("E_OFFSET", nrrd(encoding="gzip", byte_skip="-1"), "byte skip"),
    ("E_NDIM", nrrd(dimension="2", sizes="5 4", space_directions="(1,0,0) (0,1,0)"), "2 dim"),
    ("E_NDIM", nrrd(dimension="4", sizes="5 4 3 2", space_directions=None), "4 dimensions"),
    (
        "E_NDIM",
        nrrd(
            dimension="4",
            sizes="5 4 3 2",
            space_directions=f"{GOOD['space directions']} none",
            kinds="domain domain domain time",
        ),
        "2 frames",
    ),
    ("E_NDIM", nrrd(dimension="17", sizes="5 4 3" + " 1" * 14), "17 dimensions; 16"),
    ("E_HEADER", nrrd(centers="(cell) cell cell"), "centers"),
    ("E_HEADER", nrrd(axis_mins="0 " * 600), "longer than any real one"),
    (
        "E_CHANNELS",
        nrrd(
            dimension="4", sizes="3 5 4 3", space_directions=None, kinds="vector space space space"
        ),
        "3 channels",
    ),
    (
        "E_CHANNELS",
        nrrd(dimension="4", sizes="2 5 4 3", space_directions=f"none {GOOD['space directions']}"),
        "2 channels",
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
    assert companions(path) == ()


def test_detached_voxels_are_read_from_the_headers_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, stored, encoding in (
        ("my scan.raw", DATA, "raw"),
        ("./sub/ä.raw.gz", gzip.compress(DATA), "gzip"),
    ):
        (tmp_path / name).write_bytes(stored)
        path = written(tmp_path, nrrd(b"", data_file=name, encoding=encoding))
        assert_good(path)
        assert companions(path) == (tmp_path / name,)
    (tmp_path / "link.raw").symlink_to("my scan.raw")
    assert_good(written(tmp_path, nrrd(b"", data_file="link.raw")))


@pytest.mark.parametrize(
    "name",
    [
        "/etc/hostname",
        "../outside.raw",
        "sub/../../outside.raw",
        "C:\\outside.raw",
        "\\\\host\\outside.raw",
        "..\\outside.raw",
        "LIST",
        "LIST 2",
        "slice%03d.raw 1 3 1",
        "leaving.raw",
        "folder/outside.raw",
        "a\x00b",
        "a\x1bb",
        "",
    ],
)
def test_data_files_elsewhere_are_never_opened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "outside.raw").write_bytes(DATA)
    (inside / "leaving.raw").symlink_to(tmp_path / "outside.raw")
    (inside / "folder").symlink_to(tmp_path)
    path = written(inside, nrrd(b"", data_file=name))
    opened: list[Path] = []
    original = Path.open

    def watched(file: Path, *arguments: Any) -> Any:  # noqa: ANN401  # as Path.open itself
        opened.append(file)
        return original(file, *arguments)

    monkeypatch.setattr(Path, "open", watched)
    error = refusal(path)
    assert error.code == "E_DETACHED"
    assert "beside the header" in str(error)
    assert companions(path) == ()
    assert set(opened) == {path}


def test_missing_and_odd_data_files_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, nrrd(b"", data_file="x.raw"))
    error = refusal(path)
    assert (error.code, "x.raw" in error.reason) == ("E_RAW_MISSING", True)
    assert companions(path) == (tmp_path / "x.raw",)
    (tmp_path / "x.raw").write_bytes(b"")
    assert (refusal(path).code, refusal(path).reason) == ("E_EMPTY", "x.raw has 0 bytes")
    (tmp_path / "x.raw").unlink()
    os.mkfifo(tmp_path / "x.raw")
    assert refusal(path).code == "E_IRREGULAR"
    (tmp_path / "loop").symlink_to("loop")
    assert refusal(written(tmp_path, nrrd(b"", data_file="loop"))).code == "E_IO"
    assert refusal(written(tmp_path, nrrd(b"", data_file="x" * 300))).code == "E_RAW_MISSING"
