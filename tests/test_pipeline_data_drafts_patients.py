"""Which patients and classes are recognised in names; one patient must never become two."""

from __future__ import annotations

import string
from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.drafts.labels import guess_layout, words_like_labels
from pipeline.data.drafts.name_tokens import Parts, is_mask, looks_like_id
from pipeline.data.drafts.patients import Patients, guess_patients

NAMES = ("smith", "jones", "wu", "lee", "kim", "novak")


def parts(*paths: str) -> list[Parts]:
    return [tuple(path.split("/")) for path in paths]


def grid(pattern: str, patients: int = 6, scans: int = 3) -> list[Parts]:
    return parts(
        *(pattern.format(p=p, s=s) for p in range(1, patients + 1) for s in range(1, scans + 1))
    )


PATTERNS: dict[str, Callable[[int, int], str]] = {
    "bids": lambda p, s: f"sub-{p:02d}/ses-{s}/anat/sub-{p:02d}_ses-{s}_T1w",
    "bids flat": lambda p, s: f"sub-{p:02d}_ses-{s}_T1w",
    "project": lambda p, s: f"STS_{p:03d}_{s * 7919:06x}",
    "patient": lambda p, s: f"patient{p:02d}_scan{s}",
    "PAT": lambda p, s: f"PAT-{p:04d}-{s}",
    "subj": lambda p, s: f"subj_{p}_run{s}",
    "number": lambda p, s: f"{p:04d}_T{s}",
    "UPENN": lambda p, s: f"UPENN-GBM-{p:05d}_{s}1",
    "TCGA": lambda p, s: f"TCGA-02-{p:04d}-{s:02d}A",
    "CASE": lambda p, s: f"CASE{p}_{'pre' if s % 2 else f'post{s}'}",
    "ADNI": lambda p, s: f"ADNI_{p % 3:03d}_S_{p:04d}_MR_{s}",
    "glued": lambda p, s: f"P{p:03d}V{s}",
    "suffix": lambda p, s: f"{p:04d}{string.ascii_letters[s - 1]}",
    "kind first": lambda p, s: f"T{s}_patient{p}",
    "folder": lambda p, s: f"P{p:03d}/{string.ascii_letters[s - 1]}{s}{p}x",
    "plain folder": lambda p, s: f"P{p:03d}/T{s}",
    "numbered folder": lambda p, s: f"{p:04d}/scan_{s}",
    "folders of visits": lambda p, s: f"P{p:03d}_{s}/T1",
    "class and folder": lambda p, s: f"{'AD' if p % 2 else 'CN'}/P{p:03d}/T{s}",
    "patches in class folders": lambda p, s: f"{'abcd'[s % 4]}{s % 4}x/P{p:02d}_{s:03d}",
    "date and scan": lambda p, s: f"P{p:02d}_20200{s % 9 + 1}{s % 20 + 10}_T{s}",
    "date in the id": lambda p, s: f"bonn_20200{s % 9 + 1}{s % 20 + 10}_{p:03d}_T{s}",
    "AD, date, number": lambda p, s: f"AD_2020{s % 12 + 1:02d}{s % 20 + 10}_{p:02d}_T{s}",
    "Pt": lambda p, s: f"Pt{p:02d}_T{s}",
    "Pt folder": lambda p, s: f"Pt{p:02d}/scan{s}",
    "class and Pt folder": lambda p, s: f"{'tumor' if p % 2 else 'healthy'}/Pt{p:02d}/scan{s}",
    "CT": lambda p, s: f"CT{p:02d}_{s}",
    "HU": lambda p, s: f"HU{p:03d}/scan{s}",
    "brain": lambda p, s: f"brain{p:02d}_T{s}",
    "glued S": lambda p, s: f"P{p:02d}S{s}",
    "glued month": lambda p, s: f"P{p:02d}M{s - 1:02d}",
    "glued time": lambda p, s: f"P{p:02d}{'pre' if s == 1 else f'post{s}'}_T1",
    "glued side": lambda p, s: f"9000{p:03d}{'LR'[s % 2]}_{s}",
    "glued to some": lambda p, s: f"P{p:02d}{'' if s == 1 else f'M{s}'}",
    "glued in folders": lambda p, s: f"P{p:02d}S{s}/T1",
}
#: Where no name says that these are persons: too few of them are assumed, and never written.
GUESSED: dict[str, Callable[[int, int], str]] = {
    "initials": lambda p, s: f"{word(p)}/scan{s}",
    "dates": lambda p, s: f"{word(p)}/2020{s % 12 + 1:02d}{s % 28 + 1:02d}",
    "visits": lambda p, s: f"{word(p)}/visit{s}/T1",
    "visits by date": lambda p, s: f"{word(p)}/2020{s % 12 + 1:02d}{s % 28 + 1:02d}/flair",
    "folders of visits": lambda p, s: f"{word(p)}_{s}/T1",
    "studies": lambda p, s: f"study{p:02d}/{s}",
    "surnames": lambda p, s: f"{word(p)}_{s:02d}",
    "surnames and kinds": lambda p, s: f"{word(p)}_T{s}",
    "surnames and accessions": lambda p, s: f"{word(p)}_{p}{s:05d}",
    "short ids": lambda p, s: f"q{p}_{s:03d}",
}


def word(number: int) -> str:
    """A made-up surname."""
    return f"qx{'aeiou'[number % 5]}{'bfghk'[number // 5 % 5]}{'lmnz'[number // 25]}"


PEOPLE = st.lists(st.integers(1, 99), min_size=2, max_size=12, unique=True)


def split_and_found(
    find: Callable[[int, int], str], scans: dict[int, int]
) -> tuple[list[int], Patients]:
    """The patients who have several ids, and what was guessed."""
    truth = [(p, s) for p in scans for s in range(1, scans[p] + 1)]
    layout = guess_layout(parts(*(find(p, s) for p, s in truth)))
    classes = len(set(layout.labels)) if layout.labels else None
    guessed = guess_patients(layout.rest, classes)
    ids: defaultdict[int, set[str]] = defaultdict(set)
    for (p, _), name in zip(truth, guessed.ids, strict=True):
        ids[p].add(name)
    return [p for p, names in ids.items() if len(names) > 1], guessed


@pytest.mark.parametrize("pattern", PATTERNS)
@given(patients=PEOPLE, most=st.sampled_from([4, 30]), data=st.data())
def test_two_scans_of_a_patient_have_one_id(
    pattern: str, patients: list[int], most: int, data: st.DataObject
) -> None:
    scans = {p: data.draw(st.integers(1, most), label=f"scans of {p}") for p in patients}
    split, guessed = split_and_found(PATTERNS[pattern], scans)
    assert split == []
    assert len(set(guessed.ids)) == len(patients)


@pytest.mark.parametrize("pattern", GUESSED)
@given(patients=PEOPLE, most=st.sampled_from([4, 30]), data=st.data())
def test_what_is_only_guessed_is_not_split_as_if_it_were_known(
    pattern: str, patients: list[int], most: int, data: st.DataObject
) -> None:
    scans = {p: data.draw(st.integers(1, most), label=f"scans of {p}") for p in patients}
    split, guessed = split_and_found(GUESSED[pattern], scans)
    assert guessed.assumed or split == []


@pytest.mark.parametrize(
    ("pattern", "example", "patients"),
    [
        ("STS_{p:03d}_a{s}", "STS_001", 6),
        ("UPENN-GBM-{p:05d}_{s}1", "UPENN-GBM-00001", 6),
        ("TCGA-02-{p:04d}-{s:02d}", "TCGA-02-0001", 6),
        ("T{s}_{p:03d}", "001", 6),
        ("week{s:02d}/P{p:03d}", "P001", 6),
        ("P{p:03d}/{s}_T1", "P001", 6),
        ("BraTS2021_{p:05d}/BraTS2021_{p:05d}_t{s}", "BraTS2021_00001", 6),
        ("{p:06d}_{p}{s:05d}_t2w", "000001", 6),
        ("2021-03-0{s}_{p:04d}", "0001", 6),
        ("2021030{s}_{p:04d}", "0001", 6),
        ("image_{p:03d}_T{s}", "image_001", 6),
        ("Übung_{p:03d} scan {s}", "Übung_001", 6),
        ("患者_{p:03d}_{s}", "患者_001", 6),
    ],
)
def test_the_id_is_what_a_person_would_read(pattern: str, example: str, patients: int) -> None:
    guessed = guess_patients(grid(pattern))
    assert guessed.ids[0] == example
    assert len(set(guessed.ids)) == patients
    assert not guessed.assumed


def test_spellings_of_an_id_are_one_patient() -> None:
    guessed = guess_patients(parts("PAT-0012_a", "pat_12_b", "Pat12_c", "PAT-0013_a"))
    assert guessed.ids == ("PAT-0012", "PAT-0012", "PAT-0012", "PAT-0013")


def test_surnames_are_patients_and_their_numbers_scans() -> None:
    guessed = guess_patients(parts(*(f"{name}_{s:02d}" for name in NAMES for s in (1, 2, 3))))
    assert set(guessed.ids) == set(NAMES)


def test_numbers_that_repeat_behind_words_are_one_patient_and_doubtful() -> None:
    guessed = guess_patients(parts(*(f"{w}_{p:03d}" for w in ("AD", "CN") for p in range(9))))
    assert len(set(guessed.ids)) == 9
    assert any("same numbers" in text for text in guessed.warnings)


def test_numbers_anew_in_each_folder_are_doubtful() -> None:
    guessed = guess_patients(parts(*(f"site{s}/{p:03d}/T1" for s in (1, 2) for p in range(9))))
    assert len(set(guessed.ids)) == 9
    assert any("bare numbers" in text for text in guessed.warnings)


def test_many_files_behind_enough_words_are_merged_by_word_and_doubtful() -> None:
    names = [f"{w}_{i}{n:03d}" for i, w in enumerate(NAMES, 1) for n in range(10)]
    guessed = guess_patients(parts(*names))
    assert set(guessed.ids) == set(NAMES)
    assert any("if these are sites" in text for text in guessed.warnings)


def test_two_words_with_numbers_of_their_own_are_groups() -> None:
    names = [f"{w}_{i}{n:03d}_T{s}" for i, w in enumerate("ab") for n in range(9) for s in (1, 2)]
    guessed = guess_patients(parts(*names))
    assert len(set(guessed.ids)) == 18
    assert any("one patient may have become several" in text for text in guessed.warnings)


@pytest.mark.parametrize(
    ("pattern", "patients", "classes"),
    [
        ("sub-{p:02d}/ses-{s}/sub-{p:02d}_ses-{s}_T1w", 3, None),
        ("sub-{p:02d}_ses-{s}_T1w", 1, None),
        ("sub-{p:02d}_ses-{s}_T1w", 8, 5),
        ("P{p:02d}_{s:03d}", 7, 4),
        ("TCGA-02-{p:04d}-{s:02d}", 3, None),
        ("patient{p}_x{s}", 3, None),
        ("case{p}/x{s}", 3, None),
        ("STS_{p:03d}_{s}", 2, None),
    ],
)
def test_few_patients_with_many_scans_stay_whole(
    pattern: str, patients: int, classes: int | None
) -> None:
    guessed = guess_patients(grid(pattern, patients, 20), classes)
    assert len(set(guessed.ids)) == patients
    assert not guessed.assumed
    assert any(text.startswith(f"only {patients} patient") for text in guessed.warnings)


@pytest.mark.parametrize("pattern", ["proj{p}_{s:03d}_x{s}", "qx{p}/scan{s}"])
def test_too_few_that_no_name_states_are_assumed(pattern: str) -> None:
    guessed = guess_patients(grid(pattern, patients=2, scans=20))
    assert guessed.assumed
    assert any("would give 2 patients only" in text for text in guessed.warnings)
    assert any("one patient may have become several" in text for text in guessed.warnings)


def test_numbered_persons_of_classes_are_several() -> None:
    files = parts(*(f"{c}_{p}/scan{s}" for c in ("HC", "AD") for p in range(9) for s in (1, 2)))
    assert len(set(guess_patients(files).ids)) == 18


def test_one_folder_around_all_is_no_patient() -> None:
    guessed = guess_patients(grid("patient2020/P{p:03d}/T{s}"))
    assert len(set(guessed.ids)) == 6


def test_endings_that_are_merged_are_said() -> None:
    guessed = guess_patients(parts("P01S1", "P01S2", "P02S1", "P02S2", "P03"))
    assert guessed.ids == ("P01", "P01", "P02", "P02", "P03")
    assert any("P01S1, P01S2 were taken for one patient" in text for text in guessed.warnings)


def test_ids_of_bids_are_exact() -> None:
    guessed = guess_patients(parts("sub-1_T1w", "sub-01_T1w", "sub-02_T1w"))
    assert guessed.ids == ("sub-1", "sub-01", "sub-02")
    assert any("sub-01 and sub-1" in text for text in guessed.warnings)


@pytest.mark.parametrize(
    "names", [["smith", "jones", "wu"], ["scan_001", "scan_002"], ["STS_1_a", "STS_1_b"], ["x"]]
)
def test_without_a_pattern_each_file_is_a_patient_with_a_warning(names: list[str]) -> None:
    guessed = guess_patients(parts(*names))
    assert guessed.assumed
    assert guessed.ids == tuple(names)
    assert any("too good" in text for text in guessed.warnings)


def test_a_file_without_the_pattern_is_named() -> None:
    guessed = guess_patients([*grid("sub-{p:02d}_T{s}"), ("template",)])
    assert guessed.ids[-1] == "template"
    assert any("template" in text for text in guessed.warnings)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=12))
def test_any_names_are_answered(names: list[str]) -> None:
    files = parts(*names)
    layout = guess_layout(files)
    guessed = guess_patients(layout.rest)
    assert len(guessed.ids) == len(files)
    assert all(guessed.ids)


@pytest.mark.parametrize(
    ("first", "second"), [("AD", "CN"), ("0", "1"), ("CT", "PET"), ("grade10", "grade11")]
)
def test_class_folders_are_taken(first: str, second: str) -> None:
    files = parts(*(f"{c}/STS_{p:03d}" for c in (first, second) for p in range(5)))
    layout = guess_layout(files)
    assert layout.labels == (first,) * 5 + (second,) * 5
    assert layout.rest[0] == ("STS_000",)


@pytest.mark.parametrize(
    "pattern",
    [
        "P{p:03d}/T{s}",
        "sub-{p:02d}/sub-{p:02d}_T{s}",
        "patient{p}/a{s}",
        "ses-{s}/{p:03d}",
        "site{s}/{p:03d}",
        "{p:03d}_T{s}",
        "one/{p:03d}_T{s}",
    ],
)
def test_other_folders_are_no_classes(pattern: str) -> None:
    assert guess_layout(grid(pattern)).labels is None


def test_folders_of_persons_are_no_classes() -> None:
    files = parts(*(f"{name}/T{s}" for name in NAMES for s in (1, 2)))
    assert guess_layout(files).labels is None
    assert set(guess_patients(files).ids) == set(NAMES)


@pytest.mark.parametrize(
    "names",
    [
        "AB/scan1 AB/scan2 CD/scan1 CD/scan2 CD/scan3 EF/scan1 EF/scan2 EF/scan3 EF/scan4",
        "AD/scan1 AD/scan2 EF/scan1 EF/scan2 EF/scan3 GH/scan1 GH/scan2",
        "anna/20200101 anna/20210101 bert/20200301 bert/20210301 bert/20220301",
        "anna/1 anna/2 bert/1 bert/2 bert/3",
        "study01/1 study01/2 study02/1 study02/2 study02/3",
        "all/anna/T1 all/anna/T2 all/bert/T1 all/bert/T3",
        "tumor/study01/1 healthy/study02/1 healthy/study02/2",
    ],
)
def test_folders_in_which_names_only_count_are_persons(names: str) -> None:
    files = parts(*names.split())
    assert guess_layout(files).labels is None
    guessed = guess_patients(files)
    assert guessed.ids == tuple(path[-2] for path in files)
    assert any("the file names only count" in text for text in guessed.warnings)


@pytest.mark.parametrize(("first", "second"), [("tumor", "healthy"), ("glioma", "x"), ("0", "1")])
def test_folders_with_names_of_classes_are_classes_however_files_are_called(
    first: str, second: str
) -> None:
    files = parts(*(f"{c}/image_{n:03d}" for c in (first, second) for n in range(5 + len(c))))
    assert set(guess_layout(files).labels or ()) == {first, second}


def test_splits_and_spellings_of_classes() -> None:
    files = parts(
        *(f"Train/tumor/P{p:02d}" for p in range(5)),
        *(f"Train/healthy/P{p:02d}" for p in range(5, 10)),
        *(f"test/Tumor/P{p:02d}" for p in range(10, 12)),
        *(f"test/healthy/P{p:02d}" for p in range(12, 14)),
    )
    layout = guess_layout(files)
    assert layout.splits == ("train",) * 10 + ("test",) * 4
    assert layout.labels is not None
    assert set(layout.labels) == {"tumor", "healthy"}
    assert layout.warnings == ("the label 'Tumor' was written 'tumor'",)


def test_words_that_divide_the_patients_are_found() -> None:
    stems = [f"STS_{p:03d}_{kind}" for p in range(4) for kind in ("CT", "PT")]
    patients = [stem[:7] for stem in stems]
    assert words_like_labels(stems, patients) == [{"CT": 4, "PT": 4}]


@pytest.mark.parametrize(
    "path", ["a_mask", "a_seg", "a-label2", "x/derivatives/a", "labelsTr/a", "a_brainmask", "seg-3"]
)
def test_masks_are_recognised(path: str) -> None:
    assert is_mask(tuple(path.split("/")))


@pytest.mark.parametrize("path", ["a_T1", "masked_001", "segre_01", "P01/T1", "---"])
def test_scans_are_no_masks(path: str) -> None:
    assert not is_mask(tuple(path.split("/")))


def test_ids_and_classes_look_different() -> None:
    assert all(map(looks_like_id, ["P001", "patient1", "subj_3", "sub-a", "0012", "Pt01", "CT001"]))
    assert not any(map(looks_like_id, ["AD", "0", "grade10", "T1", "ct2", "class_12", "G3"]))
