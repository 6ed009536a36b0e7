"""One volume in every format has one content; damage is refused whatever the format."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.config import PreprocessConfig
from pipeline.data.cache import VolumeCache
from pipeline.data.cases import Case
from pipeline.data.formats.dispatch import companions, read_volume
from pipeline.data.formats.rules import Rules, reading_by
from pipeline.data.transforms import preprocessing_key
from pipeline.data.volume import Finding, Volume, voxels_of
from pipeline.data.volumes import VolumeStore, check_refusals, prepare
from pipeline.errors import DataError
from volume_makers import (
    AFFINE,
    ITK_NAMES,
    LPS,
    Affine,
    copy_of,
    refusal,
    values_of,
    write_all,
)

nib: Any = nibabel  # has no types for what is used here
sitk: Any = SimpleITK  # has no types


@st.composite
def affines(draw: st.DrawFn) -> tuple[Affine, bool]:
    """Voxel to mm, and whether its numbers have an exact float32 form."""
    eighths = st.integers(1, 40).map(lambda number: number / 8)
    axes = np.eye(3)[draw(st.permutations(range(3)))]
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    turn = np.eye(3)
    oblique = draw(st.booleans())
    if oblique:
        angles = draw(st.tuples(*[st.floats(-0.4, 0.4)] * 3))
        turn = nib.eulerangles.euler2mat(*angles)
    spacing = np.array(draw(st.tuples(*[eighths] * 3)))
    offset = [number / 8 for number in draw(st.tuples(*[st.integers(-800, 800)] * 3))]
    return nib.affines.from_matvec(turn @ axes * np.array(signs) * spacing, offset), not oblique


def small_aside(volume: Volume) -> list[Finding]:
    """What is doubtful, but for a field of view that is as small as those drawn here may be."""
    return [item for item in volume.findings if "it has a field of view of" not in item.text]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp("written"), values_of(), AFFINE)


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3).filter(lambda shape: np.prod(shape) > 1),
    dtype=st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]),
    geometry=affines(),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_every_format_gives_one_content(
    shape: tuple[int, int, int], dtype: str, geometry: tuple[Affine, bool], seed: int
) -> None:
    affine, exact = geometry
    values = values_of(dtype, shape, seed)
    with tempfile.TemporaryDirectory() as folder:
        files = write_all(Path(folder), values, affine)
        reference = read_volume(files["nii"])
        for name, file in files.items():
            volume = read_volume(file)
            np.testing.assert_array_equal(volume.voxels, reference.voxels, err_msg=name)
            np.testing.assert_allclose(volume.affine, reference.affine, atol=1e-4, err_msg=name)
            np.testing.assert_allclose(volume.spacing, reference.spacing, atol=1e-4, err_msg=name)
            assert voxels_of(volume.content) == voxels_of(reference.content), name
            assert volume.content == reference.content or not exact, name
            assert volume.voxels.dtype == np.float32
            assert not small_aside(volume), name
            assert len(volume.findings) == len(reference.findings), name


@pytest.mark.parametrize("name", ["nii", "nii.gz", "pair", *ITK_NAMES])
def test_geometry_is_as_simpleitk_reads_it(written: dict[str, Path], name: str) -> None:
    image = sitk.ReadImage(str(written[name]))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(read_volume(written[name]).original_affine, LPS @ affine, atol=1e-5)


@pytest.mark.parametrize("name", ["nii", "nii.gz", "mgh", "mgz", *ITK_NAMES])
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".mgz", ".dcm", ""])
def test_the_content_decides_not_the_name(
    written: dict[str, Path], name: str, ending: str, tmp_path: Path
) -> None:
    path = copy_of(written, name, tmp_path)
    other = path.rename(tmp_path / f"b{ending}")
    assert read_volume(other).content == read_volume(written["nii"]).content


@pytest.mark.parametrize("names", [("a.hdr", "a.img"), ("a.hdr.gz", "a.img.gz")])
@pytest.mark.parametrize("packed", [(False, True), (True, False), (False, False), (True, True)])
def test_either_half_of_a_pair_may_be_named(
    written: dict[str, Path], names: tuple[str, str], packed: tuple[bool, bool], tmp_path: Path
) -> None:
    expected = read_volume(written["pair"])
    for name, half, pack in zip(names, ("a.hdr", "a.img"), packed, strict=True):
        content = (written["pair"].parent / half).read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(content) if pack else content)
    for name, other in (names, names[::-1]):
        volume = read_volume(tmp_path / name)
        assert volume.content == expected.content
        says_otherwise = names[0].endswith(".gz") != packed[0]
        assert [finding.code for finding in volume.findings] == ["W_NAME"] * says_otherwise
        assert companions(tmp_path / name) == (tmp_path / other,)


@pytest.mark.parametrize(
    ("header", "voxels"), [("Ux.Hdr", "Ux.Img"), ("a.HDR", "a.img"), ("a.hdr.GZ", "a.IMG.gz")]
)
def test_halves_of_a_pair_may_differ_in_capitals(
    written: dict[str, Path], header: str, voxels: str, tmp_path: Path
) -> None:
    source = written["pair.gz" if header.endswith("GZ") else "pair"]
    shutil.copy(source, tmp_path / header)
    shutil.copy(source.with_name(source.name.replace("hdr", "img")), tmp_path / voxels)
    for name, other in ((header, voxels), (voxels, header)):
        assert read_volume(tmp_path / name).content == read_volume(source).content
        assert companions(tmp_path / name) == (tmp_path / other,)


@pytest.mark.parametrize(("name", "voxels"), [("pair", "a.img"), ("mhd", "a.raw")])
def test_a_second_file_that_is_a_link_stays_in_its_folder(
    written: dict[str, Path], name: str, voxels: str, tmp_path: Path
) -> None:
    path = copy_of(written, name, tmp_path / "inside")
    file = path.with_name(voxels)
    file.rename(tmp_path / voxels)
    file.symlink_to(tmp_path / voxels)
    error = refusal(path)
    assert error.code == "E_DETACHED"
    assert "is a link that leaves its folder; put both files into one folder" in error.reason
    assert companions(path) == ()
    file.unlink()
    (tmp_path / voxels).rename(path.with_name("other"))
    file.symlink_to("other")
    assert read_volume(path).content == read_volume(written[name]).content
    link = tmp_path / path.name  # the file that is named may lie anywhere
    link.symlink_to(path)
    shutil.copy(file, tmp_path / voxels)
    assert read_volume(link).content == read_volume(path).content


def test_plain_voxels_that_begin_like_gzip_are_plain(tmp_path: Path) -> None:
    values = values_of("u1", (4, 3, 2))
    values[:2, 0, 0] = (0x1F, 0x8B)
    nib.save(nib.Nifti1Pair(values, np.eye(4)), tmp_path / "a.hdr")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.img").voxels, values)


def test_of_two_candidates_the_half_that_is_packed_alike_counts(tmp_path: Path) -> None:
    values = values_of()
    nib.save(nib.Nifti1Pair(values, AFFINE), tmp_path / "a.hdr")
    nib.save(nib.Nifti1Pair(values + 1, AFFINE), tmp_path / "a.hdr.gz")
    assert read_volume(tmp_path / "a.hdr").voxels.max() == 122
    assert read_volume(tmp_path / "a.hdr.gz").voxels.max() == 123


def test_pairs_that_are_not_whole_are_refused(written: dict[str, Path], tmp_path: Path) -> None:
    path = copy_of(written, "pair", tmp_path)
    voxels = path.with_suffix(".img")
    hidden = voxels.rename(tmp_path / "hidden")
    error = refusal(path)
    assert (error.code, "a.img" in error.reason) == ("E_RAW_MISSING", True)
    assert companions(path) == ()
    assert refusal(voxels).code == "E_MISSING"
    hidden.rename(voxels)
    header = path.rename(tmp_path / "hidden")
    error = refusal(voxels)
    assert (error.code, "a.hdr" in error.reason) == ("E_RAW_MISSING", True)
    assert refusal(header).code == "E_PAIR"
    path.write_bytes(written["nii"].read_bytes())
    assert read_volume(path).content == read_volume(written["nii"]).content
    error = refusal(voxels)
    assert (error.code, "of its own" in error.reason) == ("E_PAIR", True)
    content = bytearray(header.read_bytes())
    content[344:348] = bytes(4)
    path.write_bytes(content)
    for half in (path, voxels):
        error = refusal(half)
        assert error.code == "E_ANALYZE"
        assert "which side is left" in str(error)
        assert "dcm2niix" in str(error)


def test_voxels_of_a_pair_are_held_against_its_header(
    written: dict[str, Path], tmp_path: Path
) -> None:
    path = copy_of(written, "pair", tmp_path)
    voxels = path.with_suffix(".img")
    content = voxels.read_bytes()
    for changed, code in (
        (content[:-1], "E_TRUNCATED"),
        (b"", "E_EMPTY"),
        (gzip.compress(content)[:-3], "E_TRUNCATED"),
    ):
        voxels.write_bytes(changed)
        assert refusal(path).code == code
    voxels.write_bytes(content + b"more")
    assert [finding.code for finding in read_volume(path).findings] == ["W_TRAILING"]
    voxels.unlink()
    os.mkfifo(voxels)
    assert refusal(path).code == "E_IRREGULAR"


UNKNOWN: list[tuple[str, bytes, str, str]] = [
    ("a.nrrd", b"\n<!DOCTYPE html><html>login</html>", "E_FORMAT", "HTML"),
    ("a.nii.gz", b"\n<!DOCTYPE html><html>login</html>", "E_NOT_NIFTI", "HTML"),
    ("a.mha", b"version https://git-lfs.github.com/spec/v1\n", "E_FORMAT", "git lfs pull"),
    ("a.mgz", b"PK\x03\x04" + bytes(100), "E_FORMAT", "zip"),
    ("a.dcm", bytes(128) + b"DICM" + bytes(600), "E_FORMAT", "DICOM"),
    ("a.mgz", gzip.compress(b"hello"), "E_FORMAT", "no NIfTI, NRRD, MetaImage or MGH"),
    ("a.mha", b"Name: a list\nID: 5\n" * 90, "E_FORMAT", "no NIfTI, NRRD, MetaImage or MGH"),
    ("a.raw", bytes(100), "E_FORMAT", "name its header"),
    ("a.nrrd", b"NRRD0009\ntype: short\n\n", "E_FORMAT", "NRRD0009"),
    ("a.nrrd", b"", "E_EMPTY", "0 bytes"),
]


@pytest.mark.parametrize(
    ("name", "content", "code", "why"), UNKNOWN, ids=[f"{item[0]}-{item[3]}" for item in UNKNOWN]
)
def test_what_is_no_volume_is_named(
    name: str, content: bytes, code: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    error = refusal(tmp_path / name)
    assert error.code == code
    assert why in error.reason
    assert companions(tmp_path / name) == ()


@pytest.mark.parametrize("name", ["nrrd", "mha"])
def test_a_packed_text_header_says_how_to_unpack(
    written: dict[str, Path], name: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{name}"
    path.write_bytes(gzip.compress(written[name].read_bytes()))
    error = refusal(path)
    assert (error.code, "gunzip" in error.reason) == ("E_FORMAT", True)


def test_things_that_are_no_files_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nrrd")
    (tmp_path / "loop.img").symlink_to(tmp_path / "loop.img")
    for name, code in (("a.nrrd", "E_IRREGULAR"), ("", "E_IRREGULAR"), ("no.mha", "E_MISSING")):
        assert refusal(tmp_path / name).code == code
        assert companions(tmp_path / name) == ()
    assert refusal(tmp_path / "loop.img").code == "E_IO"
    assert refusal(tmp_path / ("x" * 300 + ".img")).code == "E_MISSING"
    assert companions(tmp_path / ("x" * 300 + ".img")) == ()


BAD_VALUES: list[tuple[str, float]] = [
    ("E_NONFINITE", float("nan")),
    ("E_NONFINITE", float("inf")),
    ("E_RANGE", 1e300),
    ("E_CONSTANT", 7.0),
]


@pytest.mark.parametrize(("code", "value"), BAD_VALUES)
def test_bad_values_are_refused_in_every_format(code: str, value: float, tmp_path: Path) -> None:
    values: NDArray[np.float64] = np.full((4, 3, 2), 7.0)
    values[1, 1, 1] = value
    if value < 1e9 or not np.isfinite(value):  # MGH holds float32, but no float64
        values = values.astype(np.float32)
    for name, path in write_all(tmp_path, values, AFFINE).items():
        assert refusal(path).code == code, name


def test_values_that_single_precision_cannot_tell_apart_are_not_called_constant(
    tmp_path: Path,
) -> None:
    steps = np.arange(24).reshape(4, 3, 2)
    for start in (1 << 40, 1 << 60):
        for name, path in write_all(make(tmp_path / str(start)), start + steps, AFFINE).items():
            error = refusal(path)
            assert (error.code, "subtract an offset" in error.reason) == ("E_RANGE", True), name


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_images_of_other_dimensions_are_refused_and_single_frames_read(tmp_path: Path) -> None:
    endings = ("nrrd", "nhdr", "mha", "mhd", "nii")
    for count in (1, 5):
        values = values_of(shape=(6, 5, 4, count))
        for ending in endings:
            frames = [sitk.GetImageFromArray(frame) for frame in values.T]
            sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / f"{count}.{ending}"))
    for ending in endings:
        # SimpleITK names no space in a NRRD file of four dimensions.
        with reading_by(Rules(orientation="LPS")):
            assert read_volume(tmp_path / f"1.{ending}").voxels.size == 120
        error = refusal(tmp_path / f"5.{ending}")
        assert (error.code, "6 x 5 x 4 x 5" in error.reason) == ("E_NDIM", True)
        flat = tmp_path / f"flat.{ending}"
        sitk.WriteImage(sitk.GetImageFromArray(values_of(shape=(6, 5))), str(flat))
        assert refusal(flat).code == "E_NDIM"
    nib.save(nib.MGHImage(values_of(shape=(6, 5, 4, 5)), AFFINE), tmp_path / "5.mgz")
    assert refusal(tmp_path / "5.mgz").code == "E_NDIM"


def colour(path: Path) -> Path:
    image = sitk.GetImageFromArray(values_of("u1", (4, 5, 6, 3)), isVector=True)
    sitk.WriteImage(image, str(path))
    return path


def test_volumes_with_several_channels_are_listed_in_one_message(tmp_path: Path) -> None:
    names = ("c.nrrd", "c.nhdr", "c.mha", "c.mhd", "c.nii", "c.nii.gz")
    colours = [colour(tmp_path / name) for name in names]
    rgb = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), tmp_path / "rgb.nii.gz")
    colours.append(tmp_path / "rgb.nii.gz")
    grey = write_all(tmp_path, values_of(), AFFINE)
    paths = [*grey.values(), *colours]
    cases = [Case(f"case {k}", f"patient {k}", path) for k, path in enumerate(paths)]
    config = PreprocessConfig(spacing=None, size=(8, 8, 8), crop="none")
    store = VolumeStore(config, VolumeCache(tmp_path / "cache", preprocessing_key(config)))
    contents, refused = prepare(store, cases, 0, lambda: None)
    assert len(contents) == len(grey)
    assert len(set(contents.values())) == 1
    assert {item.code for item in refused} == {"E_CHANNELS"}
    with pytest.raises(DataError, match="7 volumes cannot be used") as caught:
        check_refusals(refused, 0)
    for path in colours:
        assert f"({path.name}): E_CHANNELS, it has 3 channels" in str(caught.value)
    assert "write one channel" in str(caught.value)
