"""What cases are called that a user names by files and folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Lines
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import DataConfig
from pipeline.data.volume_files import numbered
from pipeline.data.volume_inputs import input_cases
from pipeline.errors import DataError
from pipeline.progress import Silent
from volume_makers import put

NAMES = st.lists(st.sampled_from(["ct", "ct_2", "ct_3", "ct_2_2", "mr"]), max_size=8)


def named(*inputs: Path) -> dict[str, Path]:
    cases = input_cases(inputs, DataConfig(), False, Silent())
    return {case.case_id: case.image for case in cases}


def test_volumes_of_one_name_are_numbered_and_no_folder_is_named(
    tmp_path: Path, lines: Lines
) -> None:
    for name in ("jsmith/ct", "jsmith/doe/ct", "jsmith/doe/mr", "jsmith/roe/ct_2"):
        put(tmp_path / f"{name}.nii.gz")
    home = tmp_path / "jsmith"
    first, second, other = (
        home / name for name in ("ct.nii.gz", "doe/ct.nii.gz", "roe/ct_2.nii.gz")
    )
    assert named(second, first) == {"ct": second, "ct_2": first}
    assert named(home) == {
        **{"ct": first, "ct_3": second},  # ct_2 is the name of a file
        **{"mr": home / "doe" / "mr.nii.gz", "ct_2": other},
    }
    known = tmp_path / "known.csv"
    known.write_text("image,case_id\njsmith/roe/ct_2.nii.gz,ct\n")
    assert named(first, known, second) == {"ct": other, "ct_2": first, "ct_3": second}
    with pytest.raises(DataError, match=r"several inputs have the name ct\n(.*\n)*.*same volume"):
        named(first, home / "doe" / ".." / "ct.nii.gz")
    input_cases([second, first, home / "doe" / "mr.nii.gz"], DataConfig(), False, lines)
    assert lines.shown == [f"ct is {second}", f"ct_2 is {first}"]


def test_a_name_in_two_manifests_is_told_by_its_lines(tmp_path: Path, lines: Lines) -> None:
    for name in ("a/ct", "b/ct"):
        put(tmp_path / f"{name}.nii.gz")
    table = tmp_path / "cases.csv"
    table.write_text("image\nb/ct.nii.gz\na/ct.nii.gz\n")
    cases = input_cases([table], DataConfig(), False, lines)
    assert {case.case_id: case.image.parent.name for case in cases} == {"ct": "a", "ct_2": "b"}
    assert "'ct' is line 3, 'ct_2' is line 2" in "".join(lines.shown)


@given(names=NAMES, known=NAMES)
def test_numbers_tell_all_names_apart(names: list[str], known: list[str]) -> None:
    found = numbered(names, known)
    assert len({*found}) == len(found)
    assert {*found}.isdisjoint(known)
    for place, (name, new) in enumerate(zip(names, found, strict=True)):
        assert new == name or new.removeprefix(f"{name}_").isdecimal()
        assert (new == name) == (name not in known and name not in names[:place])
