"""Damaged DICOM files, rows 56 and 54 of table A: named, whatever the damage and syntax."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from dicom_makers import (
    jpeg_lossless,
    reread,
    save,
    series,
    slices,
)
from pipeline.data.formats.dicom_header import millimetres
from pipeline.data.formats.dispatch import read_volume
from pipeline.data.volume import Finding
from volume_makers import outcome, refusal

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.mark.parametrize("part", [0.02, 0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("syntax", ["plain", "deflated", "RLE", "JPEG", "JPEG 2000"])
def test_a_slice_that_was_copied_by_half_is_named(part: float, syntax: str, tmp_path: Path) -> None:
    made = slices(3, size=(40, 36))
    for item in made:
        if syntax == "deflated":
            item.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        elif syntax == "JPEG":
            jpeg_lossless(item)
        elif syntax != "plain":
            wanted = {"RLE": RLELossless, "JPEG 2000": JPEG2000Lossless}[syntax]
            item.compress(wanted, generate_instance_uid=False)
    folder = save(tmp_path / "scan", made)
    path, _ = reread(folder, 2)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    error = refusal(folder)
    assert error.code == "E_DICOM_SLICE"
    assert path.name in error.reason


def test_every_end_of_a_file_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "scan", slices(3))
    path, _ = reread(folder, 2)
    content = path.read_bytes()
    for end in range(0, len(content), 97):
        path.write_bytes(content[:end])
        assert refusal(folder).code == "E_DICOM_SLICE", end


def test_a_file_named_like_the_slices_is_no_junk(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    (folder / "IM0010").write_bytes(bytes(900))
    error = refusal(folder)
    assert error.code == "E_DICOM_SLICE"
    assert "IM0010: it is no DICOM file, but is named like the slices" in error.reason


UID_NAME = "1.2.840.113619.2.55.3.604688119.868.1"
HASH_NAME = "9f86d081884c7d659a2feaa0c55ad015"


@pytest.mark.parametrize(
    ("suffix", "name", "content"),
    [
        ("", UID_NAME, b"garbage"),
        ("", HASH_NAME, b"garbage"),
        ("", HASH_NAME, b""),
        ("", "lost.IMA", b"garbage"),
        ("", "lost.bin", b""),
        (".dcm", UID_NAME, b""),
        (".dcm", f"{HASH_NAME}.dcm", b"garbage"),
        (".dcm", f"{HASH_NAME}.DCM", b""),
        (".dcm", HASH_NAME, b""),
        (".001", "other.002", b"garbage"),
    ],
)
def test_a_file_that_may_be_a_lost_slice_is_no_junk(
    suffix: str, name: str, content: bytes, tmp_path: Path
) -> None:
    folder = series(tmp_path / "scan")
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"{'abcdefghij'[number]}{suffix}")
    assert outcome(folder)
    (folder / name).write_bytes(content)
    error = refusal(folder)
    assert error.code == "E_DICOM_SLICE"
    assert f"{name}: " in error.reason
    assert "move away what does not belong" in str(error)


@pytest.mark.parametrize("content", [b"", b"anything"])
def test_what_lies_beside_images_everywhere_is_left_out_and_counted(
    content: bytes, tmp_path: Path
) -> None:
    folder = series(tmp_path / "scan")
    names = ["DICOMDIR", "README", "notes.txt", "meta.json", "x.xml", ".DS_Store", "Thumbs.db"]
    for name in (*names, "._IM0003"):
        (folder / name).write_bytes(content)
    (folder / "kernel.bin").write_bytes(b"anything")
    (finding,) = read_volume(folder).findings
    assert finding == Finding("W_SKIPPED", "no part of the volume: 9 no DICOM")


def test_places_in_messages_have_no_minus_zero(tmp_path: Path) -> None:
    assert millimetres(-0.0, -1e-9, 2.5, -3.0) == "0, 0, 2.5, -3"
    made = slices(3, start=(0.0, 0.0, 0.0))
    made[0].PixelData = bytes(10)
    assert " at (0, 0, 0) mm: " in refusal(save(tmp_path / "scan", made)).reason


def test_damaged_compressed_data_are_refused(tmp_path: Path) -> None:
    made = slices(3, size=(40, 36))
    for item in made:
        item.compress(JPEG2000Lossless, generate_instance_uid=False)
    content = bytearray(made[1].PixelData)
    content[40:90] = bytes(50)
    made[1].PixelData = bytes(content)
    error = refusal(save(tmp_path / "scan", made))
    assert error.code == "E_DICOM_SLICE"
    assert re.search(r"at \(-10, -20, 8\) mm: it cannot be decoded as JPEG 2000", error.reason)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(where=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_changed_byte_gives_a_volume_or_a_refusal(
    where: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = save(tmp_path_factory.mktemp("scan"), slices(3))
    path, _ = reread(folder, 1)
    content = bytearray(path.read_bytes())
    content[where % len(content)] = value
    path.write_bytes(content)
    assert outcome(folder)
