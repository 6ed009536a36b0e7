"""DICOM in every transfer syntax that there is a decoder for gives the voxels it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from dicom_makers import (
    height,
    jpeg_lossless,
    save,
    slices,
    stored,
    truth,
)
from pipeline.data.fingerprint import file_facts
from pipeline.data.formats.dispatch import read_volume

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=["implicit", "big endian", "deflated"],
)
def test_uncompressed_syntaxes(syntax: pydicom.uid.UID, tmp_path: Path) -> None:
    made = slices()
    expected = truth(made)
    for item in made:
        if syntax == ExplicitVRBigEndian:
            item.PixelData = stored(item).astype(">i2").tobytes()
        item.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(read_volume(save(tmp_path / "s", made)).voxels, expected)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, ImplicitVRLittleEndian, None])
def test_data_sets_without_preamble(syntax: pydicom.uid.UID | None, tmp_path: Path) -> None:
    made = slices()
    expected = truth(made)
    for number, item in enumerate(made):
        little = syntax != ExplicitVRBigEndian
        if not little:
            item.PixelData = stored(item).astype(">i2").tobytes()
        del item.file_meta
        item.save_as(
            tmp_path / f"{number}",
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=little,
        )
    np.testing.assert_array_equal(read_volume(tmp_path).voxels, expected)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=["RLE", "JPEG 2000"])
def test_lossless_syntaxes_give_the_same_voxels(syntax: pydicom.uid.UID, tmp_path: Path) -> None:
    made = slices(size=(40, 36))  # the encoder takes none that is much smaller
    expected = truth(made)
    for item in made:
        item.compress(syntax, generate_instance_uid=False)
    folder = save(tmp_path / "s", made)
    np.testing.assert_array_equal(read_volume(folder).voxels, expected)
    assert file_facts(folder).file_format == f"dicom, {syntax.name}"
    assert file_facts(folder).voxel_type == "int16"


def test_jpeg_lossless_gives_the_same_voxels(tmp_path: Path) -> None:
    made = slices()
    expected = truth(made)
    for item in made:
        jpeg_lossless(item)
    np.testing.assert_array_equal(read_volume(save(tmp_path / "s", made)).voxels, expected)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.skipif(
    not (PYDICOM_FILES / "MR_small_jpeg_ls_lossless.dcm").is_file(),
    reason="pydicom came without its test files, and nothing here encodes JPEG-LS",
)
def test_jpeg_ls_gives_the_same_voxels(tmp_path: Path) -> None:
    packed, plain = (
        [pydicom.dcmread(PYDICOM_FILES / name) for _ in range(3)]
        for name in ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm")
    )
    assert packed[0].file_meta.TransferSyntaxUID == JPEGLSLossless
    assert len(list(generate_frames(packed[0].PixelData, number_of_frames=1))) == 1
    for name, items in (("packed", packed), ("plain", plain)):
        for number, item in enumerate(items):
            height(item, 2.0 * number)
            item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        save(tmp_path / name, items)
    assert read_volume(tmp_path / "packed").content == read_volume(tmp_path / "plain").content
