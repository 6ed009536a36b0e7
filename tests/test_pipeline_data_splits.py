"""Folds: no patient in two parts, every case tested once, frozen in a file that is obeyed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from pipeline.config import CvConfig
from pipeline.data.cases import Case
from pipeline.data.folds_file import check_folds, folds_to_json, read_folds, write_folds
from pipeline.data.splits import Fold, Folds, class_order, make_folds
from pipeline.errors import DataError

IMAGE = Path("/data/image.nii.gz")


def case(patient: str, scan: int, label: str, split: str | None = None) -> Case:
    return Case(f"{patient}_{scan}", patient, IMAGE, label, None, split)


def cohort(patients: dict[str, int], scans: int = 2) -> list[Case]:
    """Some patients of each class, each with some scans."""
    return [
        case(f"{label}{number:02}", scan, label)
        for label, count in patients.items()
        for number in range(count)
        for scan in range(scans)
    ]


def patients_in(folds: Folds, case_ids: tuple[str, ...]) -> set[str]:
    return {folds.cases[case_id].patient_id for case_id in case_ids}


def labels_in(folds: Folds, case_ids: tuple[str, ...]) -> set[str]:
    return {folds.cases[case_id].label for case_id in case_ids}


def assert_sound(folds: Folds, cases: list[Case]) -> None:
    tested = Counter(case_id for fold in folds.folds for case_id in fold.test)
    assert tested == Counter(case.case_id for case in cases)
    for fold in folds.folds:
        train, validation, test = (
            patients_in(folds, part) for part in (fold.train, fold.validation, fold.test)
        )
        assert not train & validation | train & test | validation & test
        assert len(fold.train) + len(fold.validation) + len(fold.test) == len(cases)
        assert labels_in(folds, fold.train) == set(folds.classes)
        assert labels_in(folds, fold.test) == set(folds.classes)
        assert fold.validation
    check_folds(folds, cases)


@st.composite
def cohorts(draw: st.DrawFn) -> list[Case]:
    """Patients with one to four scans, some of them with several labels."""
    labels = draw(st.sampled_from(["ab", "abc", "abcd"]))
    cases = []
    for number in range(draw(st.integers(6, 40))):
        own = draw(st.sampled_from(labels))
        for scan in range(draw(st.integers(1, 4))):
            label = draw(st.sampled_from(labels)) if draw(st.integers(0, 4)) == 0 else own
            cases.append(case(f"p{number:02}", scan, label))
    return cases


@settings(max_examples=220, deadline=None)
@given(cohorts(), st.integers(2, 5), st.integers(0, 2**40), st.randoms(use_true_random=False))
def test_folds_of_any_cohort_are_sound_and_know_no_order(
    cases: list[Case], count: int, seed: int, shuffler: random.Random
) -> None:
    cv = CvConfig(folds=count)
    folds = None
    try:
        folds = make_folds(cases, cv, seed)
    except DataError as error:
        code = str(error).partition(":")[0]
    if folds is None:
        event(code)
        assert code in ("E_FEW_PATIENTS", "E_FOLDS", "E_ONE_CLASS")
        return
    assert_sound(folds, cases)
    shuffled = shuffler.sample(cases, len(cases))
    assert make_folds(shuffled, cv, seed) == folds


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(5, 30), min_size=2, max_size=4), st.integers(2, 5), st.integers(0, 99))
def test_one_label_a_patient_always_gives_balanced_folds(
    sizes: list[int], count: int, seed: int
) -> None:
    cases = cohort({f"class{k}": size for k, size in enumerate(sizes)}, scans=1)
    folds = make_folds(cases, CvConfig(folds=count), seed)
    assert_sound(folds, cases)
    for label in folds.classes:
        tested = [
            sum(folds.cases[case_id].label == label for case_id in fold.test)
            for fold in folds.folds
        ]
        assert max(tested) - min(tested) <= 1
        for fold in folds.folds:
            assert any(folds.cases[case_id].label == label for case_id in fold.validation)


def test_validation_is_about_the_wanted_part_of_each_class() -> None:
    folds = make_folds(cohort({"a": 60, "b": 20}), CvConfig(validation=0.2), 0)
    for fold in folds.folds:
        for label in folds.classes:
            held = sum(folds.cases[key].label == label for key in fold.validation)
            rest = sum(folds.cases[key].label == label for key in fold.train)
            assert held / (held + rest) == pytest.approx(0.2, abs=0.03)


def test_seed_changes_the_folds() -> None:
    cases = cohort({"a": 20, "b": 20})
    assert make_folds(cases, CvConfig(), 0) == make_folds(cases, CvConfig(), 0)
    assert make_folds(cases, CvConfig(), 0).folds != make_folds(cases, CvConfig(), 1).folds


def test_as_many_patients_as_folds_reach_every_fold() -> None:
    cases = cohort({"a": 30}) + [
        case(f"rare{number}", scan, "b") for number in range(5) for scan in range(3**number % 7)
    ]
    for seed in range(20):
        assert_sound(make_folds(cases, CvConfig(), seed), cases)


def test_too_few_patients_are_refused_with_the_largest_number_of_folds() -> None:
    with pytest.raises(DataError, match=r"cv\.folds=3, the most") as refusal:
        make_folds(cohort({"a": 9, "b": 3}), CvConfig(), 0)
    assert "class b" in str(refusal.value)
    with pytest.raises(DataError, match="add patients"):
        make_folds(cohort({"a": 9, "b": 1}), CvConfig(), 0)


def test_impossible_folds_are_refused() -> None:
    pairs = {"p": "ab", "q": "bc", "r": "ac"}
    cases = [
        case(patient, scan, label)
        for patient, labels in pairs.items()
        for scan, label in enumerate(labels)
    ]
    with pytest.raises(DataError, match="E_FOLDS"):
        make_folds(cases, CvConfig(folds=2), 0)


def test_one_class_and_missing_labels_are_refused() -> None:
    with pytest.raises(DataError, match="E_ONE_CLASS"):
        make_folds(cohort({"a": 9}), CvConfig(), 0)
    with pytest.raises(DataError, match="x has no label"):
        make_folds([*cohort({"a": 9, "b": 9}), Case("x", "x", IMAGE)], CvConfig(), 0)
    with pytest.raises(DataError, match="E_DUP_CASE"):
        make_folds(cohort({"a": 9, "b": 9}) * 2, CvConfig(), 0)


OFFICIAL = CvConfig(scheme="official")


def official(split: dict[str, list[int]]) -> list[Case]:
    return [
        case(f"{label}{number}", 0, label, name)
        for name, numbers in split.items()
        for number in numbers
        for label in "ab"
    ]


def test_official_split_is_taken_as_it_is() -> None:
    cases = official({"train": [0, 1, 2], "val": [3], "test": [4, 5]})
    (fold,) = make_folds(cases, OFFICIAL, 0).folds
    assert fold.validation == ("a3_0", "b3_0")
    assert fold.test == ("a4_0", "a5_0", "b4_0", "b5_0")
    assert len(fold.train) == 6


def test_official_split_without_validation_takes_it_from_training() -> None:
    folds = make_folds(official({"train": list(range(10)), "test": [10, 11]}), OFFICIAL, 0)
    (fold,) = folds.folds
    assert len(fold.test) == 4
    assert labels_in(folds, fold.validation) == {"a", "b"}
    assert len(fold.train) == 16


def test_official_split_is_refused_where_it_leaks_or_has_gaps() -> None:
    cases = official({"train": [0, 1, 2], "test": [3]})
    with pytest.raises(DataError, match=r"a0 \(train: a0_0, test: a0_1\)"):
        make_folds([*cases, case("a0", 1, "a", "test")], OFFICIAL, 0)
    with pytest.raises(DataError, match="1 have none that is understood: x_0"):
        make_folds([*cases, case("x", 0, "a")], OFFICIAL, 0)
    with pytest.raises(DataError, match="test has a, b"):
        make_folds([*cases, case("c", 0, "c", "train")], OFFICIAL, 0)


@pytest.fixture
def cases() -> list[Case]:
    return [replace(item, site="Bonn") for item in cohort({"a": 8, "b": 8})]


@pytest.fixture
def folds(cases: list[Case]) -> Folds:
    return make_folds(cases, CvConfig(folds=4), 3)


def test_file_has_the_agreed_form_and_comes_back(
    tmp_path: Path, cases: list[Case], folds: Folds
) -> None:
    path = tmp_path / "folds.json"
    write_folds(path, folds, {"a00_0": "cafe"})
    document = json.loads(path.read_text())
    keys = ["format", "scheme", "seed", "classes", "cases", "folds", "sha256"]
    assert list(document) == keys
    assert document["cases"]["a00_0"] == {
        "patient_id": "a00",
        "label": "a",
        "site": "Bonn",
        "content": "cafe",
    }
    assert list(document["folds"][0]) == ["train", "validation", "test"]
    again = read_folds(path)
    assert again == folds
    assert again.cases["a00_0"].content == "cafe"
    assert document["sha256"] == folds.sha256 == again.sha256
    assert folds_to_json(again) == document
    check_folds(again, cases)


def edited(path: Path, original: Folds, /, **changes: JsonValue) -> Path:
    path.write_text(json.dumps({**folds_to_json(original), **changes}))
    return path


def test_file_changed_by_hand_is_refused_unless_the_checksum_is_removed(
    tmp_path: Path, folds: Folds
) -> None:
    path = edited(tmp_path / "folds.json", folds, seed=4)
    with pytest.raises(DataError, match="volclass split"):
        read_folds(path)
    assert read_folds(edited(path, folds, seed=4, sha256=None)).seed == 4


@pytest.mark.parametrize(
    ("changes", "place"),
    [({"format": 2}, "format"), ({"folds": []}, "folds"), ({"cases": {"x": {}}}, "cases.x.label")],
)
def test_other_files_are_refused(
    tmp_path: Path, folds: Folds, changes: dict[str, JsonValue], place: str
) -> None:
    with pytest.raises(DataError, match=place):
        read_folds(edited(tmp_path / "folds.json", folds, **changes))


def test_folds_that_do_not_fit_the_manifest_are_refused_with_every_difference(
    cases: list[Case], folds: Folds
) -> None:
    changed = [replace(cases[1], label="b"), replace(cases[2], patient_id="z"), *cases[3:]]
    with pytest.raises(DataError) as refusal:
        check_folds(folds, [*changed, case("new", 0, "a")])
    for text in (
        "case new_0 is in the manifest and not in the folds",
        "case a00_0 is in the folds and not in the manifest",
        "case a00_1 is a in the folds and b in the manifest",
        "case a01_0 is of patient a01 in the folds and of z in the manifest",
        "4 problems",
    ):
        assert text in str(refusal.value)


def test_leaking_folds_are_refused(cases: list[Case], folds: Folds) -> None:
    first, second, *others = folds.folds
    moved = first.test[0]
    patient = folds.cases[moved].patient_id
    leak = Fold((*first.train, moved), first.validation, first.test[1:])
    with pytest.raises(DataError, match=f"fold 0: patient {patient} is in test and train"):
        check_folds(replace(folds, folds=(leak, second, *others)), cases)
    with pytest.raises(DataError, match=f"case {moved} is in the test part of 2 folds"):
        check_folds(replace(folds, folds=(first, first, *others)), cases)
    with pytest.raises(DataError, match=f"case {moved} is tested in no fold"):
        check_folds(replace(folds, folds=(second, *others)), cases)
    empty = replace(second, validation=())
    with pytest.raises(DataError, match="fold 1: validation is empty"):
        check_folds(replace(folds, folds=(first, empty, *others)), cases)


def test_importing_loads_no_heavy_library() -> None:
    code = (
        "import sys, pipeline.data.folds_file, pipeline.data.manifest;"
        "sys.exit(' '.join({'torch', 'monai', 'sklearn', 'nibabel'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_grades_stand_in_their_order_and_names_in_theirs() -> None:
    assert class_order(["10", "2", "0", "2"]) == ("0", "2", "10")
    assert class_order(["b", "a", "10"]) == ("10", "a", "b")


def test_a_class_that_may_be_a_spelling_is_named_before_fewer_folds() -> None:
    cases = [
        Case(f"c{k}", f"p{k}", Path(f"c{k}.nii"), "tumour" if k < 9 else "tumor") for k in range(11)
    ]
    cases += [Case(f"d{k}", f"q{k}", Path(f"d{k}.nii"), "healthy") for k in range(9)]
    with pytest.raises(DataError, match=r"did you mean tumour\? If not, set cv\.folds=2"):
        make_folds(cases, CvConfig(folds=5), 0)


def test_unknown_words_in_a_split_column_matter_only_where_it_is_used() -> None:
    cases = [Case(f"c{k}", f"p{k}", Path(f"c{k}.nii"), "ab"[k % 2], split=None) for k in range(12)]
    assert len(make_folds(cases, CvConfig(folds=2), 0).folds) == 2
    with pytest.raises(DataError, match="E_SPLIT"):
        make_folds(cases, CvConfig(scheme="official"), 0)


def test_a_case_in_no_part_of_a_fold_is_named() -> None:
    cases = [Case(f"c{k}", f"p{k}", Path(f"c{k}.nii"), "ab"[k % 2]) for k in range(12)]
    folds = make_folds(cases, CvConfig(folds=2), 0)
    first = folds.folds[0]
    lost = first.train[0]
    shorter = Fold(first.train[1:], first.validation, first.test)
    with pytest.raises(DataError, match=f"fold 0: case {lost} is in no part"):
        check_folds(replace(folds, folds=(shorter, folds.folds[1])), cases)
