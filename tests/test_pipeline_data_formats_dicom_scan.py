"""Row 55: one series number over several scans, and one scan over several folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_makers import Spoil, at, everywhere, save, slices, truth, without
from pipeline.data.formats.dispatch import read_volume
from volume_makers import refusal

pytestmark = pytest.mark.usefixtures("in_this_process")


def interleaved(keyword: str, first: object, second: object) -> Spoil:
    """Gives neighbours two values in turn, as two scans between each other have."""

    def spoil(made: list[Dataset]) -> None:
        everywhere(**{keyword: first})(made[::2])
        everywhere(**{keyword: second})(made[1::2])

    return spoil


def scan(folder: Path, *spoils: Spoil, count: int = 10) -> Path:
    made = slices(count)
    for spoil in spoils:
        spoil(made)
    return save(folder, made)


def told(folder: Path) -> list[tuple[str, str]]:
    return [(item.code, item.text) for item in read_volume(folder).findings]


@pytest.mark.parametrize("unnumbered", [False, True], ids=["one UID", "no UID"])
@pytest.mark.parametrize(
    ("code", "keyword", "values"),
    [
        ("E_DICOM_MIXED", "PatientID", ("Canary^A", "Canary^B")),
        ("E_DICOM_MIXED", "PatientName", ("Canary^A", "Canary^B")),
        ("E_DICOM_MIXED", "PatientBirthDate", ("19500101", "19700101")),
        ("E_DICOM_MIXED", "SeriesNumber", (6564013, 6564014)),
        ("E_DICOM_MIXED", "StudyInstanceUID", ("1.2.3", "1.2.4")),
        ("E_DICOM_MIXED", "Modality", ("CT", "MR")),
        ("E_DICOM_VALUES", "RescaleType", ("HU", "US")),
        ("E_DICOM_VALUES", "Units", ("BQML", "GML")),
        ("E_DICOM_STACKS", "EchoTime", (2.3, 4.6)),
        ("E_DICOM_STACKS", "EchoTime", (2.3, 2.306)),
        ("E_DICOM_STACKS", "TemporalPositionIdentifier", (1, 2)),
        ("E_DICOM_STACKS", "TemporalPositionIndex", (1, 2)),
        ("E_DICOM_STACKS", "DiffusionBValue", (0.0, 1000.0)),
    ],
)
def test_two_scans_between_each_other_are_no_volume(
    code: str, keyword: str, values: tuple[object, object], unnumbered: bool, tmp_path: Path
) -> None:
    spoils = [interleaved(keyword, *values)]
    if unnumbered:
        spoils.append(everywhere(SeriesInstanceUID=""))
    error = refusal(scan(tmp_path / "scan", *spoils))
    assert error.code == ("E_DICOM_MIXED" if unnumbered else code)
    assert f"differ in {keyword}: 5 like IM" in error.reason
    assert "Canary" not in str(error)


def test_what_only_some_slices_state_differs(tmp_path: Path) -> None:
    error = refusal(scan(tmp_path / "scan", at(3, EchoTime=2.3)))
    assert error.code == "E_DICOM_STACKS"
    assert "EchoTime: 9 like IM0001, 1 like IM0000" in error.reason


@pytest.mark.parametrize(
    ("keyword", "values"),
    [("AcquisitionNumber", (1, 2)), ("ImageType", (["ORIGINAL", "AXIAL"], ["DERIVED", "AXIAL"]))],
)
def test_runs_of_a_table_are_one_volume_and_named(
    keyword: str, values: tuple[object, object], tmp_path: Path
) -> None:
    made = slices()
    everywhere(**{keyword: values[0]})(made[:5])
    everywhere(**{keyword: values[1]})(made[5:])
    volume = read_volume(save(tmp_path / "scan", made))
    np.testing.assert_array_equal(volume.voxels, truth(made))
    assert [(item.code, item.text) for item in volume.findings] == [
        ("W_SERIES", f"its slices differ in {keyword}")
    ]
    everywhere(SeriesInstanceUID="")(made)
    assert refusal(save(tmp_path / "scan", made)).code == "E_DICOM_MIXED"


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("SeriesDescription", ("Canary T1", "Canary T2")),
        ("ContrastBolusAgent", ("", "Canary")),
        ("ContrastBolusAgent", (None, "Canary")),
        ("ConvolutionKernel", ("STANDARD", "BONE")),
        ("ConvolutionKernel", (["Br40d", "3"], ["Br40d", "4"])),
        ("KVP", (80, 140)),
        ("RepetitionTime", (3000, 3010)),
        ("InversionTime", (0, 900)),
        ("FlipAngle", (10, 30)),
        ("AcquisitionNumber", (10001, 10002)),
    ],
)
def test_two_scans_that_settings_alone_tell_apart_are_a_doubt(
    keyword: str, values: tuple[object, object], tmp_path: Path
) -> None:
    spoil = interleaved(keyword, *values)
    found = told(scan(tmp_path / "scan", spoil))
    assert found == [("W_SERIES", f"its slices differ in {keyword}")]
    error = refusal(scan(tmp_path / "scan", spoil, everywhere(SeriesInstanceUID="")))
    assert error.code == "E_DICOM_MIXED"
    assert "Canary" not in str(error)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoTime", (4.6, 4.60004)),
        ("EchoTime", (2.34549, 2.34551)),  # the fourth digit rounds to another one
        ("RepetitionTime", (3000, 3002.9)),
        ("KVP", ("120", "120.00")),
        ("SeriesNumber", ("7", "007")),
        ("PatientName", ("DOE^JOHN^^", "Doe^John")),
        ("PatientName", ("Doe^John=", "Doe  John")),
        *((name, ("", "1")) for name in ("SeriesNumber", "RepetitionTime", "InversionTime")),
        *((name, (None, "1")) for name in ("FlipAngle", "KVP", "ConvolutionKernel")),
        *((name, ("", "Doe")) for name in ("PatientName", "SeriesDescription")),
        ("PatientBirthDate", ("", "19500101")),
    ],
)
def test_what_is_written_in_two_ways_or_left_empty_is_one_scan(
    keyword: str, values: tuple[object, object], tmp_path: Path
) -> None:
    assert told(scan(tmp_path / "scan", interleaved(keyword, *values))) == []


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    time=st.floats(1.0, 20_000.0),
    parts=st.lists(st.floats(0.0, 9e-4), min_size=10, max_size=10),
    more=st.one_of(st.just(0.0), st.floats(4e-3, 10.0)),
)
def test_jitter_of_any_setting_is_no_doubt_and_another_setting_is(
    time: float, parts: list[float], more: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = slices()
    for item, part in zip(made, parts, strict=True):
        item.RepetitionTime = f"{time * (1 + part):.9g}"
    made[6].RepetitionTime = f"{time * (1 + more):.9g}"
    found = told(save(tmp_path_factory.mktemp("scan"), made))
    assert found == [("W_SERIES", "its slices differ in RepetitionTime")] * (more > 0)


@pytest.mark.parametrize("empty", [everywhere(SeriesInstanceUID=""), without("SeriesInstanceUID")])
def test_a_series_without_a_number_is_read_and_named(empty: Spoil, tmp_path: Path) -> None:
    (finding,) = told(scan(tmp_path / "a", empty))
    assert finding[0] == "W_SERIES"
    assert finding[1].endswith("no SeriesInstanceUID; they agree in PatientID")
    (finding,) = told(scan(tmp_path / "b", empty, everywhere(PatientID="")))
    assert finding[1].endswith("no SeriesInstanceUID, PatientID or StudyInstanceUID")


def test_several_images_at_each_place_are_told_apart_by_their_header(tmp_path: Path) -> None:
    made, others = slices(), slices(seed=1)
    for item, other in zip(made, others, strict=True):
        other.SeriesInstanceUID = item.SeriesInstanceUID
        other.FrameOfReferenceUID = item.FrameOfReferenceUID
        item.ImageType, other.ImageType = ["DERIVED", "WATER"], ["DERIVED", "FAT"]
    error = refusal(save(tmp_path / "scan", [*made, *others]))
    assert error.code == "E_DICOM_STACKS"
    assert "2 slices lie at each of 10 positions (they differ in ImageType)" in error.reason


@pytest.mark.parametrize("numbered", [True, False])
def test_a_series_with_images_in_a_sub_folder_is_refused(numbered: bool, tmp_path: Path) -> None:
    made = slices()
    if not numbered:
        everywhere(SeriesInstanceUID="")(made)
    save(tmp_path / "scan", made[:5])
    save(tmp_path / "scan" / "more" / "deep", made[5:])
    error = refusal(tmp_path / "scan")
    assert error.code == "E_DICOM_PARTS"
    # Of the sub-folder nothing: it may be called by a person.
    assert "beside its 5 lie in sub-folders: IM0000, IM0001, IM0002" in error.reason
    assert not any(name in error.reason for name in ("more", "deep"))
    shutil.rmtree(tmp_path / "scan" / "more")
    save(tmp_path / "scan" / "MR", slices(seed=3))
    assert [code for code, _ in told(tmp_path / "scan")] == [
        "W_SKIPPED",
        *([] if numbered else ["W_SERIES"]),
    ]
