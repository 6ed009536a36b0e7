"""Manifests of any kind: either refused, or split so that no person and no scan is in two parts."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from leak_makers import Rows, write_rows

from pipeline.config import CvConfig, DataConfig
from pipeline.data.cases import Case
from pipeline.data.folds_file import check_folds
from pipeline.data.manifest import read_manifest
from pipeline.data.splits import Folds, make_folds
from pipeline.data.volume_checks import content_problems
from pipeline.errors import DataError

SPLITS = ("train", "train", "train", "val", "test")
SPELLED = {"train": ("train", "Training"), "val": ("val", "dev"), "test": ("test", "Testing")}


@dataclass(frozen=True)
class Drawn:
    """A table, and which scan is in which of its files."""

    rows: Rows
    contents: dict[str, str]
    official: bool
    seed: int
    folds: int


@st.composite
def tables(draw: st.DrawFn) -> Drawn:
    """Patients with some scans, some of them copies; some patients and copies out of place."""
    random = draw(st.randoms(use_true_random=False))
    labels = draw(st.sampled_from(["ab", "abc"]))
    official = draw(st.booleans())
    leaks = draw(st.sampled_from(["none", "none", "copies", "patients"]))
    rows: Rows = []
    contents: dict[str, str] = {}
    for patient in range(draw(st.integers(8, 30))):
        own, part = random.choice(labels), random.choice(SPLITS)
        for scan in range(random.randint(1, 3)):
            image = f"p{patient:02d}_{scan}.nii.gz"
            contents[image] = f"scan{len(contents)}"
            if scan and random.random() < 0.2:
                contents[image] = contents[f"p{patient:02d}_0.nii.gz"]
            if leaks == "copies" and contents and random.random() < 0.1:
                contents[image] = random.choice(list(contents.values()))
            if leaks == "patients" and random.random() < 0.1:
                part = random.choice(SPLITS)
            cell = random.choice(SPELLED[part])
            row = {"image": image, "label": own, "patient_id": f"q{patient}", "split": cell}
            rows.append({**row, "site": random.choice(["", "north"])})
    random.shuffle(rows)
    seed = draw(st.integers(0, 2**31))
    return Drawn(rows, contents, official, seed, draw(st.integers(2, 5)))


def split_of(folder: Path, drawn: Drawn) -> tuple[list[Case], Folds]:
    """What `train` does with a manifest, but for reading volumes.

    Raises:
        DataError: It is refused.
    """
    manifest = write_rows(folder / "manifest.csv", drawn.rows)
    for row in drawn.rows:
        (folder / row["image"]).touch()
    cases = list(read_manifest(DataConfig(source="manifest", manifest=str(manifest))).cases)
    cv = CvConfig(scheme="official" if drawn.official else "kfold", folds=drawn.folds)
    folds = make_folds(cases, cv, drawn.seed)
    check_folds(folds, cases)
    return cases, folds


def assert_sound(drawn: Drawn) -> None:
    """Asserts that a table is refused, or that its folds have nothing in common."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            cases, folds = split_of(Path(folder), drawn)
        except DataError:
            event("refused")
            return
    contents = {case.case_id: drawn.contents[case.image.name] for case in cases}
    if content_problems(cases, contents):
        event("copies refused")
        owners = defaultdict(set)
        for case in cases:
            owners[contents[case.case_id]].add((case.patient_id, case.label))
        assert any(len(found) > 1 for found in owners.values())
        return
    event("split")
    patients = {case.case_id: case.patient_id for case in cases}
    for fold in folds.folds:
        for what in (patients, contents):
            parts = [{what[name] for name in p} for p in (fold.train, fold.validation, fold.test)]
            assert sum(map(len, parts)) == len(set.union(*parts))
        assert fold.train
        assert fold.validation
        assert fold.test


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_no_person_and_no_scan_is_in_two_parts(drawn: Drawn) -> None:
    assert_sound(drawn)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_no_person_and_no_scan_is_in_two_parts_of_a_thousand(drawn: Drawn) -> None:
    assert_sound(drawn)
