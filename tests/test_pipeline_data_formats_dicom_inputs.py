"""DICOM folders where files are named: manifests, inputs of `predict`, and the cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_makers import save, series, slices, structures, write
from pipeline.config import DataConfig, IntensityConfig, PreprocessConfig
from pipeline.data.cache import VolumeCache, stamp_of
from pipeline.data.cases import Case
from pipeline.data.formats.dicom_folder import holds_dicom
from pipeline.data.formats.dicom_series import series_hash
from pipeline.data.formats.dispatch import companions, read_volume
from pipeline.data.manifest import read_manifest
from pipeline.data.transforms import preprocessing_key
from pipeline.data.volume_files import find_series, find_volumes
from pipeline.data.volume_inputs import input_cases
from pipeline.data.volumes import VolumeStore
from pipeline.errors import DataError
from pipeline.inputs import is_override
from pipeline.predict import predict
from pipeline.progress import Silent
from pipeline.storage import read_table
from volume_makers import put

KEEP = PreprocessConfig(
    spacing=None, size=(9, 12, 10), intensity=IntensityConfig(name="none"), crop="none"
)


def two_series(folder: Path) -> tuple[str, str]:
    """Writes two series into a folder; gives the short names of both."""
    made = [slices(), slices(6, seed=5)]
    save(folder, [*made[0], *made[1]])
    first, second = (series_hash(str(items[0].SeriesInstanceUID)) for items in made)
    return first, second


def cases_of(*inputs: Path) -> dict[str, Path]:
    cases = input_cases(inputs, DataConfig(), False, Silent())
    return {case.case_id: case.image for case in cases}


def manifest(folder: Path, *lines: str) -> DataConfig:
    path = folder / "cases.csv"
    path.write_text("\n".join(("image,label", *lines)))
    return DataConfig(source="manifest", manifest=str(path))


@pytest.mark.usefixtures("in_this_process")
def test_rows_name_folders_and_series_of_folders(tmp_path: Path) -> None:
    series(tmp_path / "p1" / "CT")
    first, second = two_series(tmp_path / "p2" / "CT")
    put(tmp_path / "p3.nii.gz")
    lines = ["p1/CT,a", f"p2/CT#series={first},a", f"p2/CT#series={second},b", "p3.nii.gz,b"]
    cases = read_manifest(manifest(tmp_path, *lines)).cases
    assert len({case.case_id for case in cases}) == 4
    shapes = sorted(read_volume(case.image).voxels.shape for case in cases)
    assert shapes == [(6, 5, 4), (9, 12, 6), (9, 12, 10), (9, 12, 10)]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("plain", "E_IRREGULAR: plain is a directory without DICOM images"),
        ("plans", "E_IRREGULAR: plans is a directory without DICOM images"),
        ("a.nii#series=ab", "E_IRREGULAR: a.nii#series=ab is a file, which holds no series"),
        ("none#series=ab", "E_MISSING: none#series=ab does not exist"),
        ("scan/#series=ab", "E_DUP_PATH: scan/#series=ab is the file of line 2"),
        ("link", "E_OUTSIDE_ROOT: link leaves the data root"),
        ("link#series=ab", "E_OUTSIDE_ROOT: link#series=ab leaves the data root"),
        ("../scan#series=ab", "E_OUTSIDE_ROOT: ../scan#series=ab leaves the data root"),
    ],
)
def test_rows_that_name_no_series_are_refused(cell: str, problem: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    series(tmp_path / "scan")
    series(root / "scan")
    (root / "link").symlink_to(tmp_path / "scan")
    put(root / "a.nii")
    (root / "plain").mkdir()
    (root / "plans").mkdir()
    write(root / "plans" / "RS.dcm", structures())
    with pytest.raises(DataError) as caught:
        read_manifest(manifest(root, "scan#series=ab,a", f"{cell},a", "a.nii,b"))
    assert f"line 3: {problem}" in str(caught.value)


def test_a_folder_of_images_is_one_case_and_a_tree_as_many_as_it_holds(tmp_path: Path) -> None:
    for name in ("p1/CT", "p2/CT", "p2/MR"):
        series(tmp_path / "tree" / name)
    put(tmp_path / "tree" / "p3" / "T1.nii.gz")
    (tmp_path / "tree" / "p2" / "RS").mkdir()
    write(tmp_path / "tree" / "p2" / "RS" / "RS.dcm", structures())
    series(tmp_path / "tree" / ".hidden")
    assert cases_of(tmp_path / "tree" / "p1" / "CT") == {"CT": tmp_path / "tree/p1/CT"}
    assert list(cases_of(tmp_path / "tree")) == ["CT", "CT_2", "MR", "T1"]
    assert len(find_volumes(tmp_path / "tree")) == 1
    assert find_series(tmp_path / "tree" / "p1" / "CT") == [tmp_path / "tree/p1/CT"]
    with pytest.raises(DataError, match="no volume in this folder"):
        cases_of(tmp_path / "tree" / "p2" / "RS")


def test_a_volume_among_images_is_a_case_of_its_own(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    put(folder / "scan.nii.gz")
    put(folder / "T1.nii.gz")
    (folder / "scan.nii.gz").unlink()
    assert list(cases_of(folder)) == ["scan", "T1"]


def test_a_series_is_an_input_and_no_setting(tmp_path: Path) -> None:
    first, second = two_series(tmp_path / "scan")
    names = [f"{tmp_path}/scan#series={name}" for name in (first, second)]
    assert not any(map(is_override, names))
    assert [path.name for path in cases_of(*map(Path, names)).values()] == [
        f"scan#series={first}",
        f"scan#series={second}",
    ]
    with pytest.raises(DataError, match="an input is missing"):
        cases_of(tmp_path / "none#series=ab")


def parts_of_one_scan(folder: Path, *names: str) -> None:
    """Writes a series in equal parts, each into a folder of its own."""
    made = slices(4 * len(names))
    for number, name in enumerate(names):
        save(folder / name, made[4 * number : 4 * number + 4])


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("named", ["top", "cases.csv"])
def test_parts_of_one_series_are_no_two_cases(named: str, reference: Path, tmp_path: Path) -> None:
    parts_of_one_scan(tmp_path / "top", "a", "deep/b")
    save(tmp_path / "top" / "c", slices(4, seed=3))
    manifest(tmp_path, "top/a,", "top/deep/b,", "top/c,")
    with pytest.raises(DataError, match="E_DICOM_PARTS") as caught:
        predict(reference, [str(tmp_path / named)], tmp_path / "p.csv", Silent())
    assert str(caught.value.why).endswith("a (a) and b (b) are parts of one DICOM series")
    assert "put all files of a series into one folder" in str(caught.value.remedy)


@pytest.mark.usefixtures("in_this_process")
def test_the_series_that_was_chosen_of_a_folder_is_held_against_others(
    reference: Path, tmp_path: Path
) -> None:
    made, other = slices(8), slices(4, seed=5)
    (tmp_path / "a").mkdir()
    for number, item in enumerate([*other, *made[:4]]):  # the other series comes first by name
        write(tmp_path / "a" / f"IM{number}", item)
    save(tmp_path / "b", made[4:])
    names = [series_hash(str(items[0].SeriesInstanceUID)) for items in (made, other)]
    chosen, sound = (f"{tmp_path}/a#series={name}" for name in names)
    with pytest.raises(DataError, match="E_DICOM_PARTS"):
        predict(reference, [chosen, str(tmp_path / "b")], tmp_path / "p.csv", Silent())
    assert len(predict(reference, [sound, chosen], tmp_path / "p.csv", Silent())) == 2
    assert len(predict(reference, [sound, str(tmp_path / "b")], tmp_path / "p.csv", Silent())) == 2


def test_directories_of_a_disc_are_no_image(tmp_path: Path) -> None:
    meta = b"\x02\x00\x02\x00UI\x14\x001.2.840.10008.1.3.10"
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + meta + bytes(600))
    assert not holds_dicom(tmp_path)
    write(tmp_path / "IM1", slices(1)[0])
    assert holds_dicom(tmp_path)


def change(folder: Path) -> None:
    made = slices(1, seed=8)[0]
    (folder / "IM0003").write_bytes(b"")
    write(folder / "IM0003", made)


def add(folder: Path) -> None:
    shutil.copy(folder / "IM0003", folder / "IM9999")


def remove(folder: Path) -> None:
    (folder / "IM0003").unlink()


def write_over(folder: Path) -> None:
    """The same size, and the folder itself does not change."""
    with (folder / "IM0003").open("r+b") as handle:
        handle.seek(-2, 2)
        handle.write(b"\x07\x07")


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("alter", [change, add, remove, write_over])
def test_every_file_of_a_folder_counts_for_the_cache(alter: object, tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    store = VolumeStore(KEEP, VolumeCache(tmp_path / "cache", preprocessing_key(KEEP)))
    case = Case("a", "a", folder)
    content = store.inspect(case)
    assert isinstance(content, str)
    assert store.has(case)
    stamp = stamp_of(folder)
    assert len(companions(folder)) == 10
    assert callable(alter)
    alter(folder)
    assert stamp_of(folder) != stamp
    assert not store.has(case)
    assert store.inspect(case) != content


@pytest.mark.usefixtures("in_this_process")
def test_a_chosen_series_is_cached_apart(tmp_path: Path) -> None:
    first, second = two_series(tmp_path / "scan")
    store = VolumeStore(KEEP, VolumeCache(tmp_path / "cache", preprocessing_key(KEEP)))
    cases = [Case(n, n, tmp_path / f"scan#series={n}") for n in (first, second)]
    contents = [store.inspect(case) for case in cases]
    assert len(set(contents)) == 2
    assert all(store.has(case) for case in cases)
    assert [store.inspect(case) for case in cases] == contents


def test_predict_says_first_how_to_name_the_series_that_is_meant(
    reference: Path, tmp_path: Path
) -> None:
    two_series(tmp_path / "both")
    with pytest.raises(DataError, match="E_DICOM_SERIES") as caught:
        predict(reference, [str(tmp_path / "both")], tmp_path / "p.csv", Silent())
    remedy = str(caught.value.remedy)
    assert remedy.startswith("name the series that is meant, FOLDER#series=HASH; else mend")
    assert remedy.endswith("data.max_quarantine=1 leaves them out, and names them")
    assert "report" not in remedy


def dull(made: list[Dataset]) -> None:
    made.pop(4)


def test_predict_takes_folders_and_series_and_tells_nothing_of_their_headers(
    reference: Path, tmp_path: Path
) -> None:
    series(tmp_path / "CT")
    first, _ = two_series(tmp_path / "both")
    out = tmp_path / "p.csv"
    predict(reference, [str(tmp_path / "CT"), f"{tmp_path}/both#series={first}"], out, Silent())
    assert [row["case_id"] for row in read_table(out)] == ["CT", f"both#series={first}"]
    assert "Canary" not in out.read_text()
    with pytest.raises(DataError, match=r"E_SLICE_GAP, no slice at 17 mm"):
        predict(reference, [str(series(tmp_path / "gap", dull))], out, Silent())
