"""Cases that share a DICOM series: found by what was kept of the reading, whoever the patients."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_makers import everywhere, height, save, slices
from pipeline.config import IntensityConfig, PreprocessConfig
from pipeline.data.cache import VolumeCache
from pipeline.data.cases import Case
from pipeline.data.formats.dicom_series import series_hash
from pipeline.data.memory import MemoryCache
from pipeline.data.series_checks import check_series, shared_series
from pipeline.data.transforms import preprocessing_key
from pipeline.data.volumes import VolumeStore, prepare
from pipeline.errors import DataError
from volume_makers import put

pytestmark = pytest.mark.usefixtures("in_this_process")

KEEP = PreprocessConfig(
    spacing=None, size=(8, 8, 8), intensity=IntensityConfig(name="none"), crop="none"
)
Two = tuple[list[Dataset], list[Dataset]]
Made = Callable[[], Two]


def store(cache: Path) -> VolumeStore:
    return VolumeStore(KEEP, VolumeCache(cache, preprocessing_key(KEEP)))


def how(
    folder: Path, *patients: str, kept: VolumeStore | None = None, workers: int = 0
) -> list[str]:
    """What is said of the volumes in a folder, in the order of their names."""
    kept = store(folder.parent / "cache") if kept is None else kept
    paths = sorted(folder.iterdir())
    named = patients or ("p",) * len(paths)
    cases = [Case(path.name, who, path) for path, who in zip(paths, named, strict=True)]
    contents, refused = prepare(kept, cases, workers, lambda: None)
    assert [item.case_id for item in refused] == [path.name for path in paths if "bad" in path.name]
    found = shared_series(cases, contents, kept)
    return [f"{item.first.case_id} {item.second.case_id} {item.how}" for item in found]


def halves(*spoil: Callable[[list[Dataset]], object]) -> Two:
    """A series in two, the second half spoilt."""
    made = slices(12)
    for change in spoil:
        change(made[6:])
    return made[:6], made[6:]


def second(**values: object) -> Two:
    """A series, and its number again with other voxels, in which elements differ."""
    one, other = slices(6), slices(6, seed=4)
    for uid in ("SeriesInstanceUID", "FrameOfReferenceUID"):
        everywhere(**{uid: one[0][uid].value})(other)
    everywhere(**values)(other)
    return one, other


def in_turns() -> Two:
    made = slices(12)
    return made[::2], made[1::2]


def again() -> Two:
    made = slices(6)
    return made, made


def another_run() -> Two:
    return halves(everywhere(AcquisitionNumber=2, ImageType=["ORIGINAL", "PRIMARY"]))


def another_size() -> Two:
    one, _ = second()
    return one, [*_with_series(slices(6, size=(14, 9)), one)]


def another_plane() -> Two:
    one, _ = second()
    return one, [*_with_series(slices(6, orientation=(0, 1, 0, 0, 0, -1)), one)]


def _with_series(made: list[Dataset], like: list[Dataset]) -> list[Dataset]:
    everywhere(SeriesInstanceUID=like[0].SeriesInstanceUID)(made)
    return made


def overlapping() -> Two:
    made = slices(12)
    return made[:8], made[5:]


def one_within_the_other() -> Two:
    made = slices(12)
    return made, made[3:9]


def renamed(made: Two, patient: str = "other") -> Two:
    """The second of both given another patient, the first left as it is."""
    one, other = made[0], copy.deepcopy(made[1])
    everywhere(PatientID=patient)(other)
    return one, other


def a_number_lost() -> Two:
    made = halves()
    made[1][2].InstanceNumber = None
    return made


def of_two_studies(one: list[Dataset], other: list[Dataset]) -> Two:
    everywhere(StudyInstanceUID="1.2.3")(one)
    everywhere(StudyInstanceUID="1.2.4")(other)
    return one, other


def echo_rounded() -> Two:
    """Both sides of where the third digit rounds to another one."""
    one, other = halves(everywhere(EchoTime=2.3451))
    everywhere(EchoTime=2.3449)(one)
    return one, other


FOUND: dict[str, tuple[Made, str]] = {
    "halves": (halves, "parts"),
    "in turns": (in_turns, "parts"),
    "overlapping": (overlapping, "parts"),
    "one within the other": (one_within_the_other, "parts"),
    "eleven of twelve": (lambda: (lambda made: (made, made[:11]))(slices(12)), "parts"),
    "another run": (another_run, "parts"),
    "numbered in one": (lambda: halves(everywhere(SeriesNumber=3)), "parts"),
    "named in one": (lambda: halves(everywhere(PatientID="", StudyInstanceUID="")), "parts"),
    "echo rounded": (echo_rounded, "parts"),
    "patients": (lambda: renamed(halves()), "renamed"),
    "patients, overlapping": (lambda: renamed(overlapping()), "renamed"),
    "patients, one within the other": (lambda: renamed(one_within_the_other()), "renamed"),
    "patients, in turns": (lambda: renamed(in_turns()), "renamed"),
    "patients, a number lost": (lambda: renamed(a_number_lost()), "renamed"),
    "studies": (lambda: of_two_studies(*halves()), "renamed"),
    "again": (again, "copies"),
}


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.parametrize("patients", ["pp", "pq"])
def test_parts_and_copies_of_a_series_are_found(name: str, patients: str, tmp_path: Path) -> None:
    made, wanted = FOUND[name]
    for folder, items in zip("ab", made(), strict=True):
        save(tmp_path / "data" / folder, items)
    assert how(tmp_path / "data", *patients) == [f"a b {wanted}"]


def slabs() -> Two:
    """Two sides of a patient, of one series, far apart."""
    made = slices(24)
    return made[:8], made[16:]


def a_time_of_which_an_end_is_lost() -> Two:
    one, other = second()
    return one, other[:-1]


def an_empty_image_alike() -> Two:
    """Air in a frame of padding may be the same in scans of two patients."""
    made = second(PatientID="other")
    for items in made:
        frame = np.zeros((12, 9), dtype="<i2")
        frame[0] = -1000
        items[0].PixelData = frame.tobytes()
    return made


def of_two_patients(start: float) -> Two:
    """Scans of two patients to which a tool gave one series UID, in places of their own."""
    one, other = second(PatientID="other")
    for number, item in enumerate(other):
        height(item, start + 3.0 * number)
    return one, other


WHOLE: dict[str, Made] = {
    "slabs": slabs,
    "a time of which an end is lost": a_time_of_which_an_end_is_lost,
    "echo": lambda: second(EchoTime=80.0),
    "b-value": lambda: second(DiffusionBValue=800.0),
    "time": lambda: second(TemporalPositionIdentifier=2),
    "run in the same place": lambda: second(AcquisitionNumber=2),
    "size": another_size,
    "plane": another_plane,
}


@pytest.mark.parametrize("name", WHOLE)
def test_stacks_of_a_series_are_whole_but_of_one_patient(name: str, tmp_path: Path) -> None:
    for folder, items in zip("ab", WHOLE[name](), strict=True):
        save(tmp_path / "data" / folder, items)
    assert how(tmp_path / "data", *"pp") == []
    assert how(tmp_path / "data", *"pq") == ["a b stacks"]


APART: dict[str, Made] = {
    "patients": lambda: second(PatientID="other"),
    "patients, an empty image alike": an_empty_image_alike,
    "patients, beside each other": lambda: of_two_patients(23.0),
    "patients, in turns": lambda: of_two_patients(6.5),
    "studies": lambda: of_two_studies(*second()),
    "series": lambda: (slices(6), slices(6, seed=2)),
    "none numbered": lambda: halves(everywhere(SeriesInstanceUID="")),
}


@pytest.mark.parametrize("name", APART)
def test_what_is_not_known_for_one_series_is_none(name: str, tmp_path: Path) -> None:
    for folder, items in zip("ab", APART[name](), strict=True):
        save(tmp_path / "data" / folder, items)
    put(tmp_path / "data" / "c.nii.gz")
    put(tmp_path / "data" / "d.nii.gz", low=3.0)
    assert how(tmp_path / "data", *"pqrs") == []


def test_each_part_is_named_with_an_earlier_one(tmp_path: Path) -> None:
    made = slices(12)
    for number, name in enumerate("abc"):
        save(tmp_path / "data" / name, made[4 * number : 4 * number + 4])
    save(tmp_path / "data" / "d", slices(4, seed=9))
    assert how(tmp_path / "data") == ["a b parts", "b c parts"]


def test_what_is_left_of_a_series_without_the_refused_part_is_not_whole(tmp_path: Path) -> None:
    made = slices(18)
    save(tmp_path / "data" / "a", made[:6])
    save(tmp_path / "data" / "b_bad", [*made[6:9], *made[12:15]])
    save(tmp_path / "data" / "c", slices(6, seed=3))
    assert how(tmp_path / "data") == ["a b_bad parts"]
    for spoil in (everywhere(SeriesInstanceUID=""), everywhere(SeriesInstanceUID="1.2.3")):
        spoil(made[6:])
        save(tmp_path / "data" / "b_bad", [*made[6:9], *made[12:15]])
        assert how(tmp_path / "data") == []
    twice = slices(12)
    save(tmp_path / "data" / "d", twice[:6])
    save(tmp_path / "data" / "d_bad", [*twice[6:], *copy.deepcopy(twice[6:])])
    save(tmp_path / "data" / "d_bad_other", renamed((twice[:6], [twice[7], *twice[9:]]))[1])
    for stranger in save(
        tmp_path / "stray", renamed((twice, _with_series(slices(1), twice)), "third")[1]
    ).iterdir():
        shutil.copy(stranger, tmp_path / "data" / "d_bad_other" / "IM9999")
    assert how(tmp_path / "data") == ["d d_bad parts", "d d_bad_other renamed"]
    for name in ("d", "d_bad", "d_bad_other"):
        shutil.rmtree(tmp_path / "data" / name)
    broken = slices(12)
    save(tmp_path / "data" / "w", broken)
    save(tmp_path / "data" / "w_bad", [*broken[:3], *broken[9:]])
    for name, values in (("e", {"EchoTime": 80.0}), ("g", {})):
        one, other = second(**values)
        save(tmp_path / "data" / name, one)
        save(tmp_path / "data" / f"{name}_bad", [*other[:2], *other[3:]])
    assert how(tmp_path / "data") == []


def test_of_one_folder_a_series_may_be_read_and_another_refused(tmp_path: Path) -> None:
    made, gap = slices(6), slices(8, seed=2)
    save(tmp_path / "data" / "bad", [*made, *gap[:3], *gap[5:]])
    name = series_hash(str(made[0].SeriesInstanceUID))
    path = tmp_path / "data" / "bad"
    cases = [Case("one", "p", Path(f"{path}#series={name}")), Case("all", "p", path)]
    kept = store(tmp_path / "cache")
    contents, _ = prepare(kept, cases, 0, lambda: None)
    assert [*contents] == ["one"]
    assert shared_series(cases, contents, kept) == ()
    other = Case("half", "p", save(tmp_path / "data" / "half", made[:3]))
    contents, _ = prepare(kept, [other, cases[1]], 0, lambda: None)
    (found,) = shared_series([other, cases[1]], contents, kept)
    assert (found.first.case_id, found.second.case_id) == ("half", "all")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cache_in_memory_knows_the_series_too(workers: int, tmp_path: Path) -> None:
    for name, items in zip("ab", halves(), strict=True):
        save(tmp_path / "data" / name, items)
    kept = VolumeStore(KEEP, MemoryCache())
    assert how(tmp_path / "data", kept=kept, workers=workers) == ["a b parts"]


def test_a_second_look_reads_nothing_and_a_volume_kept_without_its_series_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, items in zip("ab", halves(), strict=True):
        save(tmp_path / "data" / name, items)
    cache = tmp_path / "cache"
    assert how(tmp_path / "data") == ["a b parts"]
    with monkeypatch.context() as patch:
        patch.setattr(VolumeStore, "_build", None)
        assert how(tmp_path / "data") == ["a b parts"]
    for path in (cache / "index").rglob("*.json"):
        entry = json.loads(path.read_text())
        assert str(slices()[0].PatientID) not in path.read_text()
        del entry["series"]
        path.write_text(json.dumps(entry))
    case = Case("a", "p", tmp_path / "data" / "a")
    assert not store(cache).has(case)
    assert how(tmp_path / "data") == ["a b parts"]


def test_a_refusal_names_both_cases_their_files_and_the_remedy(tmp_path: Path) -> None:
    for name, items in zip(("x", "Doe^Jane"), halves(), strict=True):
        save(tmp_path / name / "scan", items)
    paths = [tmp_path / name / "scan" for name in ("x", "Doe^Jane")]
    cases = [Case(f"c{place}", "p", path) for place, path in enumerate(paths)]
    kept = store(tmp_path / "cache")
    contents, _ = prepare(kept, cases, 0, lambda: None)
    with pytest.raises(DataError) as caught:
        check_series(cases, contents, kept)
    told = "E_DICOM_PARTS: c0 (scan) and c1 (scan) are parts of one DICOM series"
    assert str(caught.value.why).strip() == f"- {told}"
    assert "put all files of a series into one folder" in str(caught.value.remedy)
    shutil.rmtree(paths[1])
    check_series(cases[:1], contents, kept)
