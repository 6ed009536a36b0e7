"""The label in disguise: found in numbers and words, and not where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.cases import Case
from pipeline.data.covariate_table import judged
from pipeline.data.covariates import covariate_kinds
from pipeline.errors import StorageError
from pipeline.evaluation import baselines as tables
from pipeline.evaluation.baselines import Lesson
from pipeline.evaluation.disguise import DISGUISE, Judged, read_judged, write_judged

PATIENTS = 40


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Iterator[None]:
    """Enough for what is tested, and quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_TREES", 20)
        yield


def judge_columns(
    columns: dict[str, Callable[[int, np.random.Generator], str]],
    label: Callable[[int], int] = lambda patient: patient % 2,
    scans: Sequence[int] = (2,),
) -> Judged:
    """Judges columns that are functions of the patient, on patients with these numbers of scans."""
    random = {name: np.random.default_rng([5, place]) for place, name in enumerate(columns)}
    cases, labels = [], []
    for patient in range(PATIENTS):
        cells = tuple((name, made(patient, random[name])) for name, made in columns.items())
        for scan in range(scans[patient % len(scans)]):
            cases.append(
                Case(f"c{patient:02d}_{scan}", f"p{patient:02d}", Path("c"), covariates=cells)
            )
            labels.append(label(patient))
    lesson = Lesson(
        np.array(labels), np.array([case.patient_id for case in cases]), max(labels) + 1
    )
    return judged(cases, covariate_kinds(cases, list(columns)), lesson, 0)


def noise(_: int, random: np.random.Generator) -> str:
    return str(random.integers(30, 80))


LEAKS: dict[str, Callable[[int, np.random.Generator], str]] = {
    "the label as a word": lambda patient, _: ("healthy", "tumour")[patient % 2],
    "the label as a number": lambda patient, _: str(patient % 2),
    "turned round": lambda patient, random: str(9 - 5 * (patient % 2) + random.uniform(0, 2)),
    "between two others": lambda patient, random: str(
        random.uniform(4, 6) if patient % 2 else random.choice([1, 9])
    ),
    "missing in one class": lambda patient, _: "NA" if patient % 2 else str(patient),
    "two words a class": lambda patient, random: ("ab", "cd")[patient % 2][random.integers(2)],
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_column_that_tells_the_label_is_found(name: str) -> None:
    found = judge_columns({"leak": LEAKS[name], "age": noise})
    assert found.disguised == ("leak",)
    (warning,) = found.warnings()
    assert "the covariate leak alone tells the label" in warning
    assert f"{PATIENTS} patients" in warning
    assert found.alone["age"] < 0.8


HONEST: dict[str, Callable[[int, np.random.Generator], str]] = {
    "noise": noise,
    "a word that names the patient": lambda patient, _: f"code {patient}",
    "informative": lambda patient, random: str(patient % 2 + random.normal()),
    "rarely missing": lambda patient, _: "" if patient in (3, 8) else "7",
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_column_raises_no_banner(name: str) -> None:
    found = judge_columns({"honest": HONEST[name]})
    assert found.warnings() == ()
    assert found.alone["honest"] == found.together < 0.95


def test_an_informative_column_is_said_to_inform() -> None:
    found = judge_columns({"noise": noise, "informative": HONEST["informative"]})
    assert found.alone["informative"] > found.alone["noise"] + 0.1


def test_two_columns_that_make_the_label_together_are_found() -> None:
    """Neither a nor b tells the label, their difference does."""

    def height(patient: int, _: np.random.Generator) -> str:
        return str(np.random.default_rng(patient).uniform(0, 20))

    def width(patient: int, _: np.random.Generator) -> str:
        return str(np.random.default_rng(patient).uniform(0, 20) + 1.0 - 2.0 * (patient % 2))

    found = judge_columns({"height": height, "width": width})
    assert found.disguised == ()
    assert found.together > DISGUISE
    (warning,) = found.warnings()
    assert "height, width together tell the label" in warning


def test_of_three_classes_a_leak_is_found_whichever_way_they_are_numbered() -> None:
    found = judge_columns(
        {"grade": lambda patient, _: str((2, 0, 1)[patient % 3]), "age": noise},
        label=lambda patient: patient % 3,
    )
    assert found.disguised == ("grade",)


def test_a_patient_with_many_scans_counts_once() -> None:
    """Nine scans of every fourth patient would make a weak column look strong."""

    def weak(patient: int, _: np.random.Generator) -> str:
        return str(patient % 2) if patient % 4 == 0 else "0.5"

    few = judge_columns({"weak": weak}, scans=(1,))
    many = judge_columns({"weak": weak}, scans=(9, 1, 1, 1))
    assert many.alone["weak"] == pytest.approx(few.alone["weak"], abs=0.08)


def test_the_same_seed_gives_the_same_figures() -> None:
    columns = {"age": noise, "informative": HONEST["informative"]}
    assert judge_columns(columns) == judge_columns(columns)


def test_with_a_single_patient_of_a_class_there_is_still_a_figure() -> None:
    found = judge_columns({"age": noise}, label=lambda patient: int(patient == 0))
    assert 0.5 <= found.alone["age"] <= 1.0


def test_the_file_is_read_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "covariates_judged.json"
    found = Judged(cases=4, patients=2, alone={"age": 0.5}, together=0.5)
    write_judged(path, found)
    assert read_judged(path) == found
    path.write_text('{"cases": 1}')
    with pytest.raises(StorageError, match="is damaged"):
        read_judged(path)
