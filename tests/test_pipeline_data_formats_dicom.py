"""A folder of DICOM files is the volume that its slices make, by the standard and other tools."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from dicom_makers import (
    COUNT,
    PIXELS,
    SPACING,
    height,
    save,
    series,
    slices,
    stored,
    structures,
    truth,
    write,
)
from pipeline.data.formats.dicom_process import CHILD
from pipeline.data.formats.dicom_series import series_hash
from pipeline.data.formats.dispatch import companions, read_volume

nib: Any = nibabel  # has no types for what is used here
sitk: Any = SimpleITK  # has no types
ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("VOLCLASS_DATA", ROOT.parent / "shared" / "data"))
TWINS = DATA / "sts" / "dicom" / "STS_002"


def turned(x: float, y: float, z: float) -> list[float]:
    """Directions of row and column, turned by three angles."""
    rotation = nib.eulerangles.euler2mat(z, y, x)
    return [float(f"{number:.8f}") for number in (*rotation[:, 0], *rotation[:, 1])]


def test_an_axial_series_is_what_the_standard_says(tmp_path: Path) -> None:
    made = slices()
    volume = read_volume(save(tmp_path / "scan", made))
    np.testing.assert_array_equal(volume.voxels, truth(made))
    assert volume.spacing == pytest.approx((PIXELS[1], PIXELS[0], SPACING))
    first = [-10.0, -20.0, 5.0, 1.0]
    np.testing.assert_allclose(volume.original_affine @ [0, 0, 0, 1], [10, 20, *first[2:]])
    # Two columns on, three rows on, four slices up; LPS to RAS.
    away = [10 - 2 * PIXELS[1], 20 - 3 * PIXELS[0], 5 + 4 * SPACING, 1]
    np.testing.assert_allclose(volume.original_affine @ [2, 3, 4, 1], away)
    assert not volume.findings


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    "orientation",
    [
        [1, 0, 0, 0, 1, 0],
        [1, 0, 0, 0, 0, -1],  # coronal
        [0, 1, 0, 0, 0, -1],  # sagittal
        [-1, 0, 0, 0, 1, 0],  # prone
        turned(0.3, -0.2, 0.4),
        turned(1.2, 0.5, -0.9),
    ],
    ids=["axial", "coronal", "sagittal", "prone", "oblique", "steep"],
)
def test_every_orientation_is_as_simpleitk_reads_and_converts_it(
    orientation: list[float], tmp_path: Path
) -> None:
    folder = save(tmp_path / "scan", slices(orientation=orientation))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    sitk.WriteImage(sitk.Cast(reader.Execute(), sitk.sitkFloat32), str(tmp_path / "twin.nii.gz"))
    twin, volume = read_volume(tmp_path / "twin.nii.gz"), read_volume(folder)
    np.testing.assert_array_equal(volume.voxels, twin.voxels)
    np.testing.assert_allclose(volume.affine, twin.affine, atol=1e-4)


@pytest.mark.skipif(not TWINS.is_dir(), reason="no real series here; VOLCLASS_DATA names them")
@pytest.mark.parametrize("name", ["CT", "MR_T1", "PET"])
def test_real_series_equal_their_nifti_twins(name: str) -> None:
    series_of, twin = read_volume(TWINS / name), read_volume(TWINS / f"{name}.nii.gz")
    np.testing.assert_array_equal(series_of.voxels, twin.voxels)
    np.testing.assert_allclose(series_of.affine, twin.affine, atol=1e-3)
    assert series_of.content == twin.content
    assert series_of.findings == ()


@pytest.mark.usefixtures("in_this_process")
def test_slope_and_intercept_belong_to_each_slice(tmp_path: Path) -> None:
    made = slices()
    for number, item in enumerate(made):
        item.RescaleSlope, item.RescaleIntercept = 2.0 ** (number % 3), -8 * number
    np.testing.assert_array_equal(read_volume(save(tmp_path / "s", made)).voxels, truth(made))
    for item in made:
        item.Modality = "MR"  # of which a scanner need not state them
        del item.RescaleSlope, item.RescaleIntercept
    voxels = read_volume(save(tmp_path / "s", made)).voxels
    for item in made:
        item.RescaleSlope, item.RescaleIntercept = 1, 0
    np.testing.assert_array_equal(voxels, truth(made))


@pytest.mark.usefixtures("in_this_process")
def test_neither_names_nor_numbers_decide_the_order(tmp_path: Path) -> None:
    made = slices()
    for number, item in enumerate(made):
        item.InstanceNumber = (7 * number) % COUNT
    folder = save(tmp_path / "a", made)
    other = tmp_path / "b"
    other.mkdir()
    for number, item in enumerate(reversed(made)):
        write(other / f"{number}.dcm", item)
    assert read_volume(folder).content == read_volume(other).content
    np.testing.assert_array_equal(read_volume(folder).voxels, truth(made))


@pytest.mark.usefixtures("in_this_process")
def test_only_the_stored_bits_count(tmp_path: Path) -> None:
    made = slices()
    for item in made:
        item.BitsStored, item.HighBit = 12, 11
        values = stored(item).copy() % 2048
        item.PixelData = (values | 0x5000).astype("<i2").tobytes()  # something else in bits above
    voxels = read_volume(save(tmp_path / "s", made)).voxels
    for item in made:
        item.PixelData = (stored(item) & 0x0FFF).astype("<i2").tobytes()
    np.testing.assert_array_equal(voxels, truth(made))


@pytest.mark.usefixtures("in_this_process")
def test_monochrome1_is_a_matter_of_display(tmp_path: Path) -> None:
    made = slices()
    for item in made:
        item.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(read_volume(save(tmp_path / "s", made)).voxels, truth(made))


@pytest.mark.usefixtures("in_this_process")
def test_what_is_no_image_is_skipped_and_counted_without_its_words(tmp_path: Path) -> None:
    made = slices()
    folder = save(tmp_path / "scan", made)
    write(folder / "RS.dcm", structures())
    (folder / "notes.txt").write_text("Canary^Planted")
    (folder / "README").write_bytes(b"")
    (folder / "sub" / "deeper").mkdir(parents=True)
    write(folder / "sub" / "deeper" / "IM9999", slices(1)[0])
    (folder / "sub" / "link").symlink_to("../IM0003")
    (folder / ".hidden").mkdir()
    write(folder / ".hidden" / "IM9999", made[0])
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.voxels, truth(made))
    (finding,) = volume.findings
    assert finding.code == "W_SKIPPED"
    assert finding.text.endswith(": 1 RT Structure Set Storage, 2 no DICOM, 1 sub-folder")


@pytest.mark.usefixtures("in_this_process")
def test_one_of_several_series_can_be_named(tmp_path: Path) -> None:
    first, second = slices(), slices(6, size=(7, 8), seed=5)
    folder = save(tmp_path / "scan", [*first, *second])
    uid = str(second[0].SeriesInstanceUID)
    for choice in (series_hash(uid), series_hash(uid)[:6].upper(), uid):
        volume = read_volume(folder.with_name(f"scan#series={choice}"))
        np.testing.assert_array_equal(volume.voxels, truth(second))
    inside = folder / f"#series={series_hash(str(first[0].SeriesInstanceUID))}"
    np.testing.assert_array_equal(read_volume(inside).voxels, truth(first))
    assert len(companions(inside)) == len(first) + len(second)


@pytest.mark.usefixtures("in_this_process")
def test_a_folder_that_is_named_like_a_choice_is_itself(tmp_path: Path) -> None:
    made = slices()
    folder = save(tmp_path / "scan#series=abc", made)
    np.testing.assert_array_equal(read_volume(folder).voxels, truth(made))


@pytest.mark.usefixtures("in_this_process")
def test_rounded_positions_are_even_enough_and_a_padded_slice_is_named(tmp_path: Path) -> None:
    made = slices(spacing=0.725)
    for number, item in enumerate(made):
        height(item, round(5 + 0.725 * number, 1))
    expected = truth(made)
    made[3].PixelData = bytes(made[3].PixelData) + bytes(6)
    volume = read_volume(save(tmp_path / "s", made))
    np.testing.assert_array_equal(volume.voxels, expected)
    assert volume.spacing[2] == pytest.approx(0.725, abs=0.02)
    assert [finding.code for finding in volume.findings] == ["W_TRAILING"]


def test_the_process_imports_little_so_that_it_starts_soon() -> None:
    tree = ast.parse(CHILD.read_text(encoding="utf-8"))
    found = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert found - sys.stdlib_module_names == {"numpy", "pydicom"}


def test_headers_with_many_digits_and_odd_texts_raise_no_warning(tmp_path: Path) -> None:
    def long(made: list[Dataset]) -> None:
        for item in made:
            item.add_new((0x0020, 0x0010), "SH", "too long for its kind of text")
            item.add_new((0x0018, 0x0050), "DS", "3.26999999999998000001")

    with pytest.warns(UserWarning, match="exceeds the maximum length"):
        folder = series(tmp_path / "s", long)
    assert read_volume(folder).findings == ()
