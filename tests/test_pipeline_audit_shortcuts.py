"""What splits the classes beside the pictures is told by an audit, never passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_makers import Scans, blobs, clean_scans

from pipeline.audit import Audit, audit
from pipeline.progress import Silent

pytestmark = pytest.mark.usefixtures("quick_probe")


@pytest.fixture
def scans(tmp_path: Path) -> Scans:
    return clean_scans(tmp_path / "data")


def run(scans: Scans, *overrides: str) -> Audit:
    return audit(scans.config(*overrides), scans.out / "audit", Silent())


def codes(found: Audit) -> list[str]:
    return [item.code for item in found.record.decisions]


def test_an_orientation_for_each_class_is_a_shortcut_and_named(scans: Scans) -> None:
    rows, scans.rows = scans.rows, []
    for place, row in enumerate(rows):
        axes = (-1, 1, 1) if row["label"] == "a" else (1, 1, 1)
        scans.add(row["patient_id"], row["label"], blobs(700 + place), axes=axes)
    found = run(scans)
    assert codes(found) == ["W_SHORTCUT"]
    (telling,) = found.record.telling
    assert telling.groups == (("LAS", "a", 5), ("RAS", "b", 5))
    header = found.record.shortcut.header
    assert header is not None
    assert header.estimate == 1.0


def test_a_covariate_that_is_the_label_is_a_decision_and_another_is_not(scans: Scans) -> None:
    for place, row in enumerate(scans.rows):
        row["stage"] = "late" if row["label"] == "a" else "early"
        row["age"] = str(40 + (place * 7) % 10)
    found = run(scans, "data.covariates=[stage,age]")
    assert codes(found) == ["W_DISGUISED"]
    assert "covariate stage alone tells the label" in found.record.decisions[0].what
    assert codes(run(scans, "data.covariates=[age]")) == []


def test_groups_that_split_the_classes_are_never_called_good(scans: Scans) -> None:
    for row in scans.rows[:12]:
        row["site"] = "north" if row["label"] == "a" else "south"
    for row in scans.rows[12:]:
        row["site"] = f"of {row['patient_id']}"
    found = run(scans)
    assert [item.name for item in found.record.telling] == ["site"]
    assert "Nothing wrong was found" not in found.lines()[0]
    assert any("groups hold one class alone: north: a (3 patients)" in s for s in found.lines())
