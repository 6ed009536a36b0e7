"""Row 54: a scan that lacks every second slice, or its ends, told by its numbers and lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_makers import Spoil, everywhere, save, slices, truth, without
from pipeline.data.formats.dispatch import read_volume
from volume_makers import refusal

pytestmark = pytest.mark.usefixtures("in_this_process")


def scan(folder: Path, *spoils: Spoil) -> Path:
    made = slices()
    for spoil in spoils:
        spoil(made)
    return save(folder, made)


def told(folder: Path) -> list[tuple[str, str]]:
    return [(item.code, item.text) for item in read_volume(folder).findings]


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


@pytest.mark.parametrize("step", [2, 3, 4])
@pytest.mark.parametrize("gap", [0.1, 0.3, 0.6])
def test_series_numbered_in_turn_whose_headers_state_the_gap_are_a_doubt(
    gap: float, step: int, tmp_path: Path
) -> None:
    made = slices()
    for number, item in enumerate(made):
        item.InstanceNumber, item.SpacingBetweenSlices = 1 + step * number, gap
        item.SliceThickness = 3 - gap
    volume = read_volume(save(tmp_path / "scan", made))
    np.testing.assert_array_equal(volume.voxels, truth(made))
    (finding,) = volume.findings
    assert finding.code == "W_SLICES"
    assert f"in steps of {step}; its slices lie 3 mm apart, and Spacing" in finding.text


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
