"""Pictures show the right sides, hold nothing but the image, and have safe names."""

from __future__ import annotations

import io
import re
import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.reports.pictures import PANEL, picture_name, three_planes


def picture(volume: NDArray[np.float64], spacing: tuple[float, float, float]) -> NDArray[np.uint8]:
    """The grey values of a picture, shape (rows, columns)."""
    with Image.open(io.BytesIO(three_planes(volume, spacing))) as image:
        assert image.mode == "L"
        return np.asarray(image, dtype=np.uint8)


def centre_of(panel: NDArray[np.uint8]) -> tuple[float, float]:
    """Row and column of the bright part, as shares of the panel."""
    rows, columns = np.nonzero(panel > 200)
    return float(rows.mean() / panel.shape[0]), float(columns.mean() / panel.shape[1])


def test_each_plane_shows_the_patients_sides_where_its_letters_say() -> None:
    volume = np.zeros((1, 40, 40, 40))
    volume[0, 18:35, 28:36, 16:34] = 1.0  # to the right of the middle, in front, upper half
    volume[0, 18:35, 18:30, 16:34] = 1.0
    shown = picture(volume, (1.0, 1.0, 1.0))
    axial, coronal, sagittal = (shown[:, i * PANEL[0] : (i + 1) * PANEL[0]] for i in range(3))
    row, column = centre_of(axial)
    assert row < 0.5  # the front is up
    assert column < 0.5  # the patient's right is at the left
    row, column = centre_of(coronal)
    assert row < 0.5  # the top is up
    assert column < 0.5
    row, column = centre_of(sagittal)
    assert row < 0.5
    assert column < 0.5  # the front is at the left


def test_proportions_follow_the_spacing() -> None:
    cube = np.random.default_rng(0).uniform(0.5, 1.0, (1, 60, 60, 20))
    shown = picture(cube, (1.0, 1.0, 3.0))
    for index in range(3):
        panel = shown[:, index * PANEL[0] + 12 : (index + 1) * PANEL[0] - 12]
        bright_rows = int((panel > 30).any(axis=1).sum())
        assert abs(bright_rows - PANEL[0]) <= 3
    flat = picture(cube, (1.0, 1.0, 1.0))[:, PANEL[0] + 12 : 2 * PANEL[0] - 12]
    assert abs(int((flat > 30).any(axis=1).sum()) - PANEL[0] / 3) <= 3


def test_a_picture_holds_the_image_alone_and_equal_input_gives_equal_bytes() -> None:
    volume = np.random.default_rng(0).random((2, 30, 20, 10))
    content = three_planes(volume)
    kinds, position = [], 8
    while position < len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        kinds.append(content[position + 4 : position + 8])
        position += 12 + length
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
    assert struct.unpack(">II", content[16:24]) == (480, 180)
    assert content == three_planes(volume.copy())


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan, np.inf])
def test_a_constant_or_broken_volume_still_gives_a_picture(value: float) -> None:
    assert picture(np.full((1, 3, 1, 2), value), (1.0, 1.0, 1.0)).shape == (180, 480)


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((4, 4, 4), None), ((1, 0, 4, 4), None), ((1, 4, 4, 4), (1.0, 0.0, 1.0))],
)
def test_what_is_no_volume_is_refused(
    shape: tuple[int, ...], spacing: tuple[float, float, float] | None
) -> None:
    with pytest.raises(ValueError, match=r"needs shape|must be positive"):
        three_planes(np.zeros(shape), spacing)


def test_a_picture_takes_milliseconds() -> None:
    volume = np.random.default_rng(0).random((1, 96, 128, 96))
    took = []
    for _ in range(5):
        start = time.perf_counter()
        three_planes(volume, (1.0, 1.0, 3.0))
        took.append(time.perf_counter() - start)
    assert min(took) < 0.05


@given(st.text(max_size=120))
def test_every_name_is_safe(case_id: str) -> None:
    name = picture_name(case_id)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,90}\.png", name)


@given(st.sets(st.text("aA.b/\\ é", max_size=5), min_size=2))
def test_different_cases_have_different_names(case_ids: set[str]) -> None:
    assert len({picture_name(case) for case in case_ids}) == len(case_ids)


def test_plain_names_are_kept_and_others_escaped() -> None:
    assert picture_name("P001_scan-2.b") == "P001_scan-2.b.png"
    assert picture_name("../x").startswith("___x-")
    assert picture_name("a" * 80) == "a" * 80 + ".png"
    assert len(picture_name("a" * 81)) < 85
