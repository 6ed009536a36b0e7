"""Faulty DICOM folders, rows 54 to 56 of table A: each refused with code, reason, remedy."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    MPEG2MPML,
    EnhancedCTImageStorage,
    RLELossless,
    generate_uid,
)

from dicom_makers import (
    COUNT,
    Spoil,
    at,
    everywhere,
    height,
    place,
    save,
    series,
    slices,
    stored,
    structures,
    without,
    write,
)
from pipeline.data.formats.dicom_series import series_hash
from pipeline.data.formats.dispatch import read_volume
from volume_makers import refusal

pytestmark = pytest.mark.usefixtures("in_this_process")


def doubled(made: list[Dataset]) -> None:
    made.append(twin(made[4]))


def twin(item: Dataset) -> Dataset:
    """Another image at the same place."""
    other = slices(1, seed=9)[0]
    other.SeriesInstanceUID, other.FrameOfReferenceUID = (
        item.SeriesInstanceUID,
        item.FrameOfReferenceUID,
    )
    other.ImagePositionPatient = item.ImagePositionPatient
    return other


def two_echoes(made: list[Dataset]) -> None:
    made += [twin(item) for item in made]


def shifted(number: int, x: float, y: float, z: float) -> Spoil:
    """Moves one slice away from its place."""

    def move(made: list[Dataset]) -> None:
        place(made[number], np.add(made[number].ImagePositionPatient, (x, y, z)))

    return move


def tilted(made: list[Dataset]) -> None:
    for number, item in enumerate(made):
        shifted(0, 0.0, 1.0 * number, 0.0)([item])


def apart(made: list[Dataset]) -> None:
    for number, item in enumerate(made[5:]):
        height(item, 500.0 + 3 * number)


def beside(made: list[Dataset]) -> None:
    for item in made[5:]:
        shifted(0, 40.0, 0.0, 0.0)([item])


def other_size(made: list[Dataset]) -> None:
    made[2].Rows, made[2].PixelData = 6, made[2].PixelData[:108]


def drifting(made: list[Dataset]) -> None:
    for number, item in enumerate(made):
        height(item, 5 + 3 * number + 0.05 * number**2)


def short(made: list[Dataset]) -> None:
    made[4].PixelData = made[4].PixelData[:100]


def long(made: list[Dataset]) -> None:
    made[4].PixelData = bytes(made[4].PixelData) * 2


def in_video(made: list[Dataset]) -> None:
    for item in made:
        item.compress(RLELossless, generate_instance_uid=False)
        item.file_meta.TransferSyntaxUID = MPEG2MPML


#: Row of table A, code, what is done to ten sound slices, and what the reason must say.
FAULTS: list[tuple[str, str, Spoil, str]] = [
    ("54 missing", "E_SLICE_GAP", lambda made: made.pop(4), "no slice at 17 mm; the others are 3"),
    ("54 two missing", "E_SLICE_GAP", lambda made: made.__delitem__(slice(4, 6)), "17 mm, 20 mm"),
    ("54 second missing", "E_SLICE_GAP", lambda made: made.pop(1), "no slice at 8 mm"),
    ("54 duplicate", "E_SLICE_GAP", doubled, r"one position: 17 mm \(IM\d+, IM\d+\)"),
    ("54 uneven", "E_SLICE_GAP", shifted(4, 0, 0, 0.4), r"3.4 mm between IM\d+ and IM\d+ at 14 mm"),
    ("54 drift", "E_SLICE_GAP", drifting, "distances of|drift by up to"),
    ("55 two runs", "E_DICOM_STACKS", two_echoes, "2 slices lie at each of 10 positions"),
    ("55 far apart", "E_DICOM_STACKS", apart, "separate stacks"),
    ("55 very far apart", "E_DICOM_STACKS", shifted(9, 0, 0, 9e5), "300,000 more would fit"),
    ("55 beyond all", "E_AFFINE", shifted(9, 0, 0, 1e300), r"1,000,000 mm in IM\d+"),
    ("55 side by side", "E_DICOM_STACKS", beside, "mm off the line of the others"),
    ("55 one aside", "E_DICOM_STACKS", shifted(4, 0.5, 0, 0), r"IM\d+ is 0.5 mm off the line"),
    (
        "55 orientations",
        "E_DICOM_STACKS",
        at(2, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        "orientation: 9 with 1/0/0/0/1/0, 1 with 1/0/0/0/0/-1",
    ),
    (
        "55 small turn",
        "E_DICOM_STACKS",
        at(2, ImageOrientationPatient=[0.99999, 0.00447, 0, -0.00447, 0.99999, 0]),
        "orientation: IM",
    ),
    ("55 one position", "E_DICOM_STACKS", everywhere(ImagePositionPatient=[1, 2, 3]), "one posit"),
    ("55 frames", "E_DICOM_STACKS", at(2, FrameOfReferenceUID=generate_uid()), "frame of referen"),
    ("55 sizes", "E_DICOM_SIZES", other_size, "9 with 9 x 12 voxels, 1 with 9 x 6 voxels"),
    ("55 pixel spacing", "E_DICOM_SIZES", at(2, PixelSpacing=[0.8, 0.71]), "9 with 0.8/0.7, 1 wit"),
    ("56 tilt", "E_DICOM_TILT", tilted, "18.4 degrees off their normal, 9 mm in all"),
    ("56 short", "E_DICOM_SLICE", short, r"IM\d+ at \(-10, -20, 17\) mm: it holds 100 bytes.*216"),
    ("56 long", "E_DICOM_SLICE", long, "holds 432 bytes"),
    ("56 no pixels", "E_DICOM_SLICE", lambda made: made[4].__delitem__("PixelData"), "by half: IM"),
    (
        "56 no representation",
        "E_DICOM_SLICE",
        lambda made: without("PixelRepresentation")(made[4:5]),
        r"IM\d+ at \(-10, -20, 17\) mm: its header states no PixelRepresentation",
    ),
    ("56 syntax", "E_DICOM_SLICE", in_video, r'MPEG2.*pip install "volclass\[dicom\]".*dcm2niix'),
    ("56 enhanced", "E_DICOM_FRAMES", everywhere(NumberOfFrames=4), "holds 4 frames"),
    ("one slice", "E_NDIM", lambda made: made.__delitem__(slice(1, None)), "one slice"),
    ("no position", "E_AFFINE", without("ImagePositionPatient"), "no ImagePositionPatient"),
    ("no orientation", "E_AFFINE", without("ImageOrientationPatient"), "no ImageOrientation"),
    (
        "no right angle",
        "E_AFFINE",
        everywhere(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]),
        "no right angle",
    ),
    ("no spacing", "E_SPACING", without("PixelSpacing"), "state no PixelSpacing; export them"),
    ("zero spacing", "E_SPACING", everywhere(PixelSpacing=[0, 1]), r"PixelSpacing is \[0.0, 1.0\]"),
    ("colours", "E_CHANNELS", everywhere(SamplesPerPixel=3), "3 channels"),
    ("palette", "E_CHANNELS", everywhere(PhotometricInterpretation="PALETTE COLOR"), "PALETTE"),
    ("bits", "E_DTYPE", everywhere(BitsAllocated=12), "12 bits"),
    ("high bit", "E_DTYPE", everywhere(BitsStored=12, HighBit=15), "up to bit 15"),
    ("slope zero", "E_DICOM_VALUES", at(2, RescaleSlope=0), r"slope \[0.0\]"),
    ("slope large", "E_DICOM_VALUES", at(2, RescaleSlope="1e39"), r"slope \[1e\+39\]"),
    (
        "slope of some",
        "E_DICOM_VALUES",
        lambda made: without("RescaleSlope", "RescaleIntercept")(made[3:5]),
        r"no rescale slope: IM\d+, IM\d+; the others do",
    ),
    (
        "intercept of some",
        "E_DICOM_VALUES",
        lambda made: without("RescaleIntercept")(made[:9]),
        "no rescale intercept: .* and 4 more; the others do",
    ),
    ("mixed", "E_DICOM_VALUES", at(2, PhotometricInterpretation="MONOCHROME1"), "and others"),
    ("table", "E_DICOM_VALUES", everywhere(ModalityLUTSequence=[Dataset()]), "table"),
    ("range", "E_RANGE", everywhere(RescaleSlope="3e36"), "reach from"),
    (
        "constant",
        "E_CONSTANT",
        everywhere(PixelData=bytes(216), RescaleIntercept=0),
        "every voxel is 0",
    ),
]


@pytest.mark.parametrize(
    ("code", "spoil", "says"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_faulty_series_are_refused(code: str, spoil: Spoil, says: str, tmp_path: Path) -> None:
    error = refusal(series(tmp_path / "scan", spoil))
    assert error.code == code
    assert re.search(says, error.reason)
    assert "Canary" not in str(error)


def test_several_series_are_listed_with_how_to_choose(tmp_path: Path) -> None:
    made = [*slices(), *slices(3, size=(6, 5))]
    with pytest.warns(UserWarning, match="Invalid value"):
        everywhere(Modality="<script>")(made[-3:])
    folder = save(tmp_path / "scan", made)
    error = refusal(folder)
    first, second = (series_hash(str(made[index].SeriesInstanceUID)) for index in (0, -1))
    assert error.code == "E_DICOM_SERIES"
    assert f"series={first} (CT, 10 slices of 9 x 12)" in error.reason
    assert f"series={second} (unknown, 3 slices of 5 x 6)" in error.reason
    assert "FOLDER#series=HASH" in str(error)
    assert str(made[0].SeriesInstanceUID) not in str(error)
    other = refusal(tmp_path / "scan#series=nothing")
    assert other.code == "E_DICOM_SERIES"
    assert "0 of its series fit series=nothing" in other.reason
    assert refusal(tmp_path / "none#series=nothing").code == "E_MISSING"


def test_folders_without_an_image(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    assert refusal(tmp_path / "bare").code == "E_IRREGULAR"
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "RS", structures())
    error = refusal(tmp_path / "other")
    assert error.code == "E_IRREGULAR"
    assert "1 RT Structure Set Storage" in error.reason


def enhanced(made: list[Dataset]) -> None:
    del made[1:]
    made[0].SOPClassUID, made[0].NumberOfFrames = EnhancedCTImageStorage, 10
    made[0].PixelData = bytes(made[0].PixelData) * 10
    del made[0].ImagePositionPatient, made[0].PixelSpacing, made[0].ImageOrientationPatient


def test_enhanced_files_are_to_be_converted(tmp_path: Path) -> None:
    error = refusal(series(tmp_path / "scan", enhanced))
    assert error.code == "E_DICOM_FRAMES"
    assert "dcm2niix" in str(error)


def test_the_declared_size_is_checked_before_anything_is_decoded(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan", everywhere(Rows=60_000, Columns=60_000))
    error = refusal(folder)
    assert error.code == "E_BUDGET"
    assert "144,000,000,000" in error.reason
    assert read_volume(series(tmp_path / "good"), budget=4 * 1080).voxels.size == 1080
    assert refusal(tmp_path / "good", budget=4 * 1080 - 1).code == "E_BUDGET"


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(numbers=st.lists(st.integers(0, COUNT + 4), min_size=2, max_size=COUNT + 4))
def test_any_selection_of_slices_is_even_or_refused(
    numbers: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    every = slices(COUNT + 5)
    folder = tmp_path_factory.mktemp("scan")
    save(folder, [every[number] for number in numbers])
    steps = set(np.diff(sorted(numbers)).tolist())
    if len(steps) == 1 and steps != {0}:
        planes = read_volume(folder).voxels[:, ::-1, :][::-1]
        for place, number in enumerate(sorted(numbers)):
            np.testing.assert_array_equal(planes[..., place].T, stored(every[number]) * 2.0 - 1024)
    else:
        assert refusal(folder).code in ("E_SLICE_GAP", "E_DICOM_STACKS")
