"""Which patients and classes are recognised in names; one patient must never become two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.drafts.labels import guess_layout, words_like_labels
from pipeline.data.drafts.name_tokens import Parts, is_mask, looks_like_id
from pipeline.data.drafts.patients import guess_patients

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
    "suffix": lambda p, s: f"{p:04d}{'abcd'[s - 1]}",
    "kind first": lambda p, s: f"T{s}_patient{p}",
    "folder": lambda p, s: f"P{p:03d}/{'abcd'[s - 1]}{s}{p}x",
    "plain folder": lambda p, s: f"P{p:03d}/T{s}",
    "numbered folder": lambda p, s: f"{p:04d}/scan_{s}",
    "folders of visits": lambda p, s: f"P{p:03d}_{s}/T1",
    "class and folder": lambda p, s: f"{'AD' if p % 2 else 'CN'}/P{p:03d}/T{s}",
}


@pytest.mark.parametrize("pattern", PATTERNS)
@given(
    patients=st.lists(st.integers(1, 99), min_size=2, max_size=12, unique=True),
    data=st.data(),
)
def test_two_scans_of_a_patient_have_one_id(
    pattern: str, patients: list[int], data: st.DataObject
) -> None:
    scans = {p: data.draw(st.integers(1, 4), label=f"scans of {p}") for p in patients}
    truth = [(p, s) for p in patients for s in range(1, scans[p] + 1)]
    files = parts(*(PATTERNS[pattern](p, s) for p, s in truth))
    guessed = guess_patients(guess_layout(files).rest)
    ids: defaultdict[int, set[str]] = defaultdict(set)
    for (p, _), name in zip(truth, guessed.ids, strict=True):
        ids[p].add(name)
    assert [p for p, names in ids.items() if len(names) > 1] == []
    assert len(set(guessed.ids)) == len(patients)


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


def test_sites_are_no_patients() -> None:
    names = [f"{w}_{i}{n:03d}" for i, w in enumerate(NAMES, 1) for n in range(10)]
    assert len(set(guess_patients(parts(*names)).ids)) == 60


def test_a_rule_that_leaves_next_to_nothing_is_not_taken() -> None:
    files = parts(*(f"sub-{g}_{p:03d}_T1" for g in ("a", "b") for p in range(20)))
    guessed = guess_patients(files)
    assert len(set(guessed.ids)) >= 20
    assert any("would give 2 patients only" in text for text in guessed.warnings)


@pytest.mark.parametrize("pattern", ["proj{p}_{s:03d}_x{s}", "STS_{p:03d}_{s}"])
def test_few_words_with_many_files_each_are_doubtful(pattern: str) -> None:
    guessed = guess_patients(grid(pattern, patients=2, scans=20))
    assert any("one patient may have become several" in text for text in guessed.warnings)


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
    assert all(map(looks_like_id, ["P001", "patient1", "subj_3", "sub-a", "0012", "LUNG1-001"]))
    assert not any(map(looks_like_id, ["AD", "0", "grade10", "T1", "tumor", "class_12", "G3"]))
