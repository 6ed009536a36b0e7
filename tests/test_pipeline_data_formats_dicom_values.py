"""What grey values of DICOM slices mean: their unit, and padding that is none of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from dicom_makers import Spoil, at, everywhere, save, slices, stored, truth, without
from pipeline.data.formats.dispatch import read_volume
from volume_makers import refusal

pytestmark = pytest.mark.usefixtures("in_this_process")

SLOPE, INTERCEPT = "RescaleSlope", "RescaleIntercept"
ORIGINAL = everywhere(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])


def scan(folder: Path, *spoils: Spoil) -> Path:
    made = slices()
    for spoil in spoils:
        spoil(made)
    return save(folder, made)


def told(folder: Path) -> list[tuple[str, str]]:
    return [(item.code, item.text) for item in read_volume(folder).findings]


@pytest.mark.parametrize("kind", [ORIGINAL, everywhere(ImageType=""), lambda made: None])
@pytest.mark.parametrize(
    ("modality", "lacking", "says"),
    [
        ("CT", (SLOPE, INTERCEPT), "no rescale slope and no rescale intercept"),
        ("CT", (SLOPE,), "no rescale slope"),
        ("CT", (INTERCEPT,), "no rescale intercept"),
        ("PT", (SLOPE, INTERCEPT), "no rescale slope"),
        ("PT", (SLOPE,), "no rescale slope"),
    ],
)
def test_a_scanners_ct_or_pet_without_its_unit_is_refused(
    modality: str, lacking: tuple[str, ...], says: str, kind: Spoil, tmp_path: Path
) -> None:
    spoils = (kind, everywhere(Modality=modality), without(*lacking))
    error = refusal(scan(tmp_path / "scan", *spoils))
    assert error.code == "E_DICOM_VALUES"
    assert error.reason.startswith(f"its {modality} slices state {says}, so that their unit is")


@pytest.mark.parametrize("kind", [["DERIVED", "PRIMARY"], ["ORIGINAL", "SECONDARY", "AXIAL"]])
@pytest.mark.parametrize(
    ("modality", "says"), [("CT", "no rescale slope and no rescale intercept"), ("PT", "no resc")]
)
def test_what_was_computed_from_a_scan_is_taken_as_stored_with_a_doubt(
    modality: str, says: str, kind: list[str], tmp_path: Path
) -> None:
    made = slices()
    everywhere(Modality=modality, ImageType=kind)(made)
    without(SLOPE, INTERCEPT)(made)
    volume = read_volume(save(tmp_path / "scan", made))
    (finding,) = volume.findings
    assert finding.code == "W_SLOPE"
    assert finding.text.startswith(f"its {modality} slices state {says}")
    everywhere(RescaleSlope=1, RescaleIntercept=0)(made)
    np.testing.assert_array_equal(volume.voxels, truth(made))
    mixed = without(SLOPE, INTERCEPT)
    half = [everywhere(ImageType=kind), at(3, ImageType=["ORIGINAL", "PRIMARY"])]
    spoils = (everywhere(Modality=modality), *half, mixed)
    assert refusal(scan(tmp_path / "mixed", *spoils)).code == "E_DICOM_VALUES"


@pytest.mark.parametrize(
    "spoils",
    [
        [everywhere(Modality="MR"), without(SLOPE, INTERCEPT)],
        [everywhere(Modality="PT"), without(INTERCEPT)],
        [everywhere(Modality="NM"), without(SLOPE, INTERCEPT)],
        [everywhere(Modality="PT"), at(3, RescaleSlope="0.00005")],
        [everywhere(Modality="MR"), at(3, RescaleSlope="1.5", RescaleIntercept=-3)],
        [at(3, RescaleSlope="2.0", RescaleIntercept="-1.024e3")],
    ],
    ids=["MR", "PET without intercept", "NM", "slopes of PET", "slopes of MR", "written otherwise"],
)
def test_units_that_are_no_doubt(spoils: list[Spoil], tmp_path: Path) -> None:
    assert told(scan(tmp_path / "scan", *spoils)) == []


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (at(3, RescaleSlope=20), "9 with slope 2 and intercept -1024, 1 with slope 20 and "),
        (at(3, RescaleIntercept=0), "9 with slope 2 and intercept -1024, 1 with slope 2 and "),
    ],
)
def test_a_ct_with_several_slopes_or_intercepts_is_a_doubt(
    odd: Spoil, says: str, tmp_path: Path
) -> None:
    made = slices()
    odd(made)
    volume = read_volume(save(tmp_path / "scan", made))
    np.testing.assert_array_equal(volume.voxels, truth(made))
    ((code, text),) = [(item.code, item.text) for item in volume.findings]
    assert code == "W_SLOPE"
    assert says in text


def ring(value: int, *, signed: bool, lowest: int = 0) -> Spoil:
    """Fills the first rows with one stored value; the picture starts at `lowest`."""

    def spoil(made: list[Dataset]) -> None:
        for item in made:
            values = stored(item).astype(np.int64) + 500 + lowest
            values[:3] = value
            item.PixelRepresentation = int(signed)
            item.PixelData = values.astype("<i2" if signed else "<u2").tobytes()

    return spoil


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("value", "signed", "stated"),
    [
        (63536, False, {"PixelPaddingValue": 63536}),
        (4095, False, {"PixelPaddingValue": 4095}),
        (32000, True, {"PixelPaddingValue": 32000}),
        (4000, False, {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 3900}),
        (4000, False, {"PixelPaddingValue": 3900, "PixelPaddingRangeLimit": 4095}),
    ],
)
def test_padding_that_is_brighter_than_the_picture_is_told(
    value: int, signed: bool, stated: dict[str, int], implicit: bool, tmp_path: Path
) -> None:
    made = slices()
    ring(value, signed=signed)(made)
    everywhere(**stated)(made)
    if implicit:
        for item in made:
            item.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    found = dict(told(save(tmp_path / "scan", made)))
    assert found["W_FILLED"].startswith(
        f"270 voxels hold its PixelPaddingValue, {2 * value - 1024:g}, which stands for"
    )
    assert set(found) == {"W_FILLED"} | ({"W_WRAPPED"} if value == 63536 else set())


@pytest.mark.parametrize(
    "spoils",
    [
        [ring(0, signed=False, lowest=5), everywhere(PixelPaddingValue=0)],
        [ring(-2000, signed=True, lowest=-1000), everywhere(PixelPaddingValue=-2000)],
        [ring(500, signed=False), everywhere(PixelPaddingValue=500)],
        [ring(-5, signed=True), everywhere(PixelPaddingValue=32000)],
        [ring(4095, signed=False), everywhere(RescaleSlope=-2, PixelPaddingValue=4095)],
    ],
    ids=["below", "signed", "amid", "nowhere", "turned round"],
)
def test_padding_that_is_not_brighter_is_no_doubt(spoils: list[Spoil], tmp_path: Path) -> None:
    assert told(scan(tmp_path / "scan", *spoils)) == []


def test_padding_without_its_sign_in_the_header_is_the_same_value(tmp_path: Path) -> None:
    made = slices()
    ring(-2000, signed=True)(made)
    for item in made:
        item.add_new("PixelPaddingValue", "US", 63536)
    assert told(save(tmp_path / "scan", made)) == []
    ring(30000, signed=True)(made)
    for item in made:
        item.add_new("PixelPaddingValue", "US", 30000)
    assert [code for code, _ in told(save(tmp_path / "scan", made))] == ["W_FILLED"]
