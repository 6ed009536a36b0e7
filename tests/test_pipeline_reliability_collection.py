"""Every bad file of the collection meets what table A says; the good cases beside it are read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pipeline.reliability import ROWS, BadFile, Examined, collection, examine
from pipeline.reliability.bad_file import one_file
from pipeline.reliability.dicom_faults import dicom_faults
from pipeline.reliability.privileges import can_be_plain
from pipeline.reliability.values import value_faults
from pipeline.reliability.volumes import GOOD_GZ, nifti, voxels

FILES = collection()


@pytest.fixture(scope="module")
def examined(tmp_path_factory: pytest.TempPathFactory) -> list[Examined]:
    """What became of the first bad file of each row, and of a slice that may not be read."""
    first = {file.row: file for file in reversed(FILES)}.values()
    locked = [file for file in FILES if file.name == "a slice of a folder"]
    return examine([*first, *locked], tmp_path_factory.mktemp("bad"), lambda: None)


def test_the_collection_has_every_row_and_enough_files() -> None:
    rows = Counter(file.row for file in FILES)
    assert set(ROWS) == set(range(1, 59))
    assert {*range(1, 59)} <= set(rows)
    assert len(FILES) >= 120
    assert len({(file.row, file.name) for file in FILES}) == len(FILES)
    assert all(file.codes for file in FILES if file.expected in ("quarantine", "warn"))


def test_what_is_expected_is_what_the_table_says_or_differs_in_words() -> None:
    others = {
        file.row
        for file in FILES
        if not any(ROWS[file.row].allows(file.expected, [code]) for code in file.codes or ("",))
    }
    assert others == {8, 21, 25, 26, 43}
    assert all(ROWS[row].differs for row in others)


def test_the_table_tells_outcomes_and_codes_apart() -> None:
    assert ROWS[3].allows("quarantine", ["E_CRC"])
    assert not ROWS[3].allows("quarantine", ["E_TRUNCATED"])
    assert not ROWS[3].allows("ok", [])
    assert ROWS[29].allows("warn", ["W_SPACING"])
    assert not ROWS[40].allows("traceback", [])


def test_nothing_of_the_collection_changes_from_run_to_run(tmp_path: Path) -> None:
    chosen = [*value_faults(), *dicom_faults()[:1]]
    again = [*value_faults(), *dicom_faults()[:1]]
    for number, (one, other) in enumerate(zip(chosen, again, strict=True)):
        assert one.plant is not None
        assert other.plant is not None
        first, second = (
            _contents(folder / planted(folder))
            for folder, planted in ((tmp_path / f"{number}a", one.plant),
                                    (tmp_path / f"{number}b", other.plant))
        )  # fmt: skip
        assert first == second


def _contents(planted: Path) -> list[bytes]:
    """The bytes of a file, or of all files of a folder."""
    files = sorted(planted.iterdir()) if planted.is_dir() else [planted]
    return [file.read_bytes() for file in files]


@pytest.mark.parametrize("row", sorted(ROWS))
def test_a_bad_file_meets_what_the_table_says(row: int, examined: list[Examined]) -> None:
    found = [item for item in examined if item.row == row]
    if not found:
        assert row == 43
        assert not can_be_plain()
        pytest.skip("the superuser may read every file, and cannot give that up here")
    for item in found:
        assert item.passed, item
        assert item.seconds < 5
        assert not item.silent


def test_no_message_tells_what_headers_say_of_a_patient(examined: list[Examined]) -> None:
    dicom = [item for item in examined if item.row in (54, 55, 56)]
    assert sorted(item.row for item in dicom) == [54, 55, 56]
    assert all(item.message and "Planted" not in item.message for item in dicom)


@pytest.mark.slow
def test_all_bad_files_meet_what_the_table_says(tmp_path: Path) -> None:
    failed = [item for item in examine(FILES, tmp_path, lambda: None) if not item.passed]
    assert failed == []


def test_what_is_not_as_expected_does_not_pass(tmp_path: Path) -> None:
    sound, other = one_file("x.nii.gz", GOOD_GZ), one_file("x.nii", nifti(voxels(5)))
    wrong = [
        BadFile(1, "silent", "quarantine", ("E_CRC",), sound),
        BadFile(2, "another code", "quarantine", ("E_CRC",), one_file("x.nii.gz", b"")),
        BadFile(3, "not the same volume", "ok", (), other, twin=True),
        BadFile(4, "as expected", "ok", (), sound, twin=True),
    ]
    found = examine(wrong, tmp_path, lambda: None)
    assert [item.passed for item in found] == [False, False, False, True]
    assert [item.happened for item in found] == ["ok", "quarantine", "refuse", "ok"]
    assert [item.silent for item in found] == [True, False, False, False]


def test_another_volume_under_a_sound_name_is_silent(tmp_path: Path) -> None:
    other = BadFile(39, "other", "ok", (), one_file("x.nii", nifti(voxels(77))), twin=True)
    (item,) = examine([other], tmp_path, lambda: None)
    assert (item.happened, item.silent, item.passed) == ("ok", True, False)
