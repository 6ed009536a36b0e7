"""Rows 54 and 55: one series number over several scans, and a scan of which slices are missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_makers import InThisProcess, Spoil, at, everywhere, save, slices, truth, without
from pipeline.data.formats import dicom_series
from pipeline.data.formats.dispatch import read_volume
from volume_makers import refusal


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process is for is tested elsewhere; starting one takes half a second."""
    monkeypatch.setattr(dicom_series, "SeriesProcess", InThisProcess)


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
        ("E_DICOM_MIXED", "StudyInstanceUID", ("1.2.3", "1.2.4")),
        ("E_DICOM_MIXED", "Modality", ("CT", "MR")),
        ("E_DICOM_VALUES", "RescaleType", ("HU", "US")),
        ("E_DICOM_VALUES", "Units", ("BQML", "GML")),
        ("E_DICOM_STACKS", "EchoTime", (2.3, 4.6)),
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


def test_jitter_of_an_echo_time_is_no_second_echo(tmp_path: Path) -> None:
    assert told(scan(tmp_path / "scan", interleaved("EchoTime", 4.6, 4.60004))) == []


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


def every(step: int, start: int = 0) -> Spoil:
    """Leaves every so manieth slice."""

    def spoil(made: list[Dataset]) -> None:
        made[:] = made[start::step]

    return spoil


def renumbered(made: list[Dataset]) -> None:
    for number, item in enumerate(made):
        item.InstanceNumber = number + 1


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    step=st.integers(1, 4),
    start=st.integers(0, 3),
    spacing=st.sampled_from([0.5, 1.25, 3.0]),
    first=st.integers(1, 500),
    backwards=st.booleans(),
)
def test_every_so_manieth_slice_is_refused_and_the_whole_stack_is_not(
    step: int,
    start: int,
    spacing: float,
    first: int,
    backwards: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    made = slices(14, spacing=spacing)
    for number, item in enumerate(reversed(made) if backwards else made):
        item.InstanceNumber = first + number
        item.SpacingBetweenSlices, item.ImagesInAcquisition = spacing, 14
    if step == 1:
        assert told(save(tmp_path_factory.mktemp("scan"), made)) == []
        return
    error = refusal(save(tmp_path_factory.mktemp("scan"), made[start::step]))
    assert error.code == "E_SLICE_GAP"
    assert f"in steps of {step}; its slices lie" in error.reason


@pytest.mark.parametrize(
    ("spoils", "says"),
    [
        ([every(2)], "InstanceNumber goes from 1 to 9 in steps of 2"),
        ([every(2), everywhere(SpacingBetweenSlices=6, SliceThickness=3)], "in steps of 2"),
        ([every(2), everywhere(SliceThickness=6)], "in steps of 2"),
        (
            [every(2), renumbered, everywhere(SpacingBetweenSlices=3)],
            "its slices lie 6 mm apart, and SpacingBetweenSlices is 3 mm",
        ),
        (
            [lambda made: made.__delitem__(slice(0, 10, 9)), everywhere(ImagesInAcquisition=10)],
            "ImagesInAcquisition is 10, and these are 8, numbered 2 to 9",
        ),
        (
            [lambda made: made.pop(), everywhere(ImagesInAcquisition=10)],
            "ImagesInAcquisition is 10, and these are 9, numbered 1 to 9",
        ),
    ],
    ids=["numbers", "as stated", "overlapping", "distance", "both ends", "one end"],
)
def test_one_sign_of_missing_slices_is_a_doubt(
    spoils: list[Spoil], says: str, tmp_path: Path
) -> None:
    ((code, text),) = told(scan(tmp_path / "scan", *spoils))
    assert code == "W_SLICES"
    assert says in text


def test_thin_slices_with_gaps_of_just_those_that_are_not_numbered_are_refused(
    tmp_path: Path,
) -> None:
    error = refusal(scan(tmp_path / "scan", every(2), everywhere(SliceThickness=3)))
    assert error.code == "E_SLICE_GAP"
    assert "6 mm apart, and are 3 mm thick" in error.reason


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made.__delitem__(slice(0, 10, 9)),
        everywhere(SpacingBetweenSlices=3.05, SliceThickness=1, ImagesInAcquisition=7),
        everywhere(SpacingBetweenSlices=0),
        without("InstanceNumber"),
    ],
    ids=["numbered from 2", "rounded", "no distance", "no numbers"],
)
def test_what_many_scanners_do_is_no_doubt(spoil: Spoil, tmp_path: Path) -> None:
    assert told(scan(tmp_path / "scan", spoil)) == []


@pytest.mark.parametrize("numbered", [True, False])
def test_a_series_with_images_in_a_sub_folder_is_refused(numbered: bool, tmp_path: Path) -> None:
    made = slices()
    if not numbered:
        everywhere(SeriesInstanceUID="")(made)
    save(tmp_path / "scan", made[:5])
    save(tmp_path / "scan" / "more" / "deep", made[5:])
    error = refusal(tmp_path / "scan")
    assert error.code == "E_DICOM_PARTS"
    assert (
        "5 images of the series beside its 5 lie in sub-folders: more/deep/IM0000," in error.reason
    )
    shutil.rmtree(tmp_path / "scan" / "more")
    save(tmp_path / "scan" / "MR", slices(seed=3))
    assert [code for code, _ in told(tmp_path / "scan")] == [
        "W_SKIPPED",
        *([] if numbered else ["W_SERIES"]),
    ]
