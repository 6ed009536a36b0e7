"""An audit on real files: each planted problem is found, and nothing where nothing is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from audit_makers import (
    SPACING,
    Scans,
    blobs,
    clean_scans,
    near_other_label,
    near_other_patient,
    near_other_split,
    noisy,
    same_other_geometry,
    same_other_label,
    same_other_patient,
    same_other_split,
    shortcut,
    straddling,
    too_few,
    truncated,
)

from dicom_makers import InThisProcess, save, slices
from pipeline import audit_probe, audit_reading
from pipeline.audit import Audit, audit
from pipeline.data import fingerprint
from pipeline.data.formats import dicom_series
from pipeline.data.formats.dicom_header import Answer
from pipeline.data.formats.dispatch import read_volume
from pipeline.data.volume import Volume
from pipeline.errors import ConfigError, DataError
from pipeline.evaluation.audit_record import read_audit
from pipeline.progress import Silent
from pipeline.storage import read_table

pytestmark = pytest.mark.usefixtures("quick_probe")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Scans:
    """What all sets have in common, read once."""
    return clean_scans(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture
def scans(shared: Scans, tmp_path: Path) -> Scans:
    return shared.twin(f"{tmp_path.name}-", tmp_path)


@pytest.fixture
def fresh(tmp_path: Path) -> Scans:
    """A set of its own, of which nothing was read."""
    return clean_scans(tmp_path / "data", 6)


def run(scans: Scans, *overrides: str, name: str = "audit") -> Audit:
    return audit(scans.config(*overrides), scans.out / name, Silent())


def codes(found: Audit) -> list[str]:
    return [item.code for item in found.record.decisions]


def test_nothing_is_found_where_nothing_is_wrong(scans: Scans) -> None:
    found = run(scans)
    record = found.record
    assert found.passed
    assert (record.cases, record.patients, record.classes) == (20, 10, ("a", "b"))
    assert (record.refused, record.doubts, record.pairs, record.outliers) == ((), (), (), ())
    assert (record.straddlers, record.mixed_patients) == ((), {})
    assert record.scans == {2: 10}
    assert record.nearest is not None
    assert record.nearest > 0.2
    assert not record.shortcut.tells
    assert record.shortcut.auroc is not None
    assert read_table(found.folder / "quarantine.csv") == []


PLANTED: list[tuple[Callable[[Scans], None], list[str]]] = [
    (truncated, ["E_REFUSED"]),
    (same_other_patient, ["E_DUP_CONTENT"]),
    (same_other_geometry, ["E_DUP_CONTENT"]),
    (same_other_label, ["E_LABEL_CONFLICT"]),
    (same_other_split, ["E_DUP_SPLIT", "E_STRADDLE"]),
    (near_other_patient, ["W_NEAR_PATIENT"]),
    (near_other_label, ["W_NEAR_LABEL"]),
    (near_other_split, ["W_NEAR_SPLIT", "E_STRADDLE"]),
    (straddling, ["E_STRADDLE"]),
    (too_few, ["E_FEW_PATIENTS"]),
    (shortcut, ["W_SHORTCUT"]),
]


@pytest.mark.parametrize(
    ("plant", "wanted"), PLANTED, ids=lambda item: getattr(item, "__name__", "")
)
def test_each_planted_problem_is_found_and_no_other(
    plant: Callable[[Scans], None], wanted: list[str], scans: Scans
) -> None:
    plant(scans)
    found = run(scans)
    assert codes(found) == wanted
    assert not found.passed
    assert all(item.remedy for item in found.record.decisions)
    printed = "\n".join(found.lines())
    assert [code for code in wanted if code not in printed] == []


def test_every_refused_volume_is_listed_with_code_reason_and_remedy(scans: Scans) -> None:
    truncated(scans)
    constant = np.full((8, 8, 8), 3.0, dtype=np.float32)
    scans.add("p00", "a", constant)
    found = run(scans)
    rows = read_table(found.folder / "quarantine.csv")
    assert [row["code"] for row in rows] == ["E_TRUNCATED", "E_CONSTANT"]
    assert [row["case_id"] for row in rows] == ["scan03", "scan20"]
    assert list(rows[0]) == ["case_id", "file", "code", "reason", "remedy"]
    assert all(row["reason"] and row["remedy"] for row in rows)
    assert len(found.record.volumes) == 19


def test_volumes_that_the_user_left_out_are_listed_and_need_no_decision(scans: Scans) -> None:
    truncated(scans)
    found = run(scans, "data.max_quarantine=1")
    assert found.passed
    assert [item.code for item in found.record.refused] == ["E_TRUNCATED"]


@pytest.mark.parametrize("axes", [(-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, -1)])
def test_a_mirrored_copy_is_found_and_its_axes_named(
    axes: tuple[int, int, int], scans: Scans
) -> None:
    mirrored = np.ascontiguousarray(scans.voxels(4)[:: axes[0], :: axes[1], :: axes[2]])
    scans.add("new", "a", noisy(mirrored))
    (pair,) = run(scans).record.pairs
    assert (pair.first, pair.second) == ("scan04", "scan20")
    assert pair.mirrored == tuple(n for n, sign in zip("xyz", axes, strict=True) if sign < 0)
    assert pair.differs == ("patient",)


def test_a_copy_within_a_patient_is_told_and_needs_no_decision(scans: Scans) -> None:
    scans.add("p00", "a", scans.voxels(0))
    found = run(scans)
    assert found.passed
    assert [pair.kind for pair in found.record.pairs] == ["same"]
    assert any("1 pair of one patient" in line for line in found.lines())


def test_several_labels_of_a_patient_are_told_and_need_no_decision(scans: Scans) -> None:
    scans.add("p00", "b", blobs(500))
    found = run(scans)
    assert found.passed
    assert found.record.mixed_patients == {"p00": ("a", "b")}


def test_a_flipped_header_is_no_copy_of_itself_but_another_orientation(scans: Scans) -> None:
    scans.add("p00", "a", blobs(500), axes=(-1, -1, 1))
    found = run(scans)
    assert [(item.case_id, item.code) for item in found.record.outliers] == [
        ("scan20", "W_ORIENTATION_OTHER")
    ]
    assert "LPS" in found.record.outliers[0].text


OUTLIERS: list[tuple[str, Callable[[Scans], object]]] = [
    ("W_SPACING_OUTLIER", lambda s: s.add("p00", "a", blobs(500), spacing=(2.0, 2.0, 40.0))),
    ("W_SPACING_OUTLIER", lambda s: s.add("p00", "a", blobs(500), spacing=(2.0, 2.0, 7.0))),
    ("W_SHAPE_OUTLIER", lambda s: s.add("p00", "a", blobs(500, (90, 18, 16)))),
    ("W_FIELD_OF_VIEW", lambda s: s.add("p00", "a", blobs(500), spacing=(2.0, 2.0, 1.2))),
    ("W_INTENSITY_OUTLIER", lambda s: s.add("p00", "a", 1e-3 * blobs(500))),
    ("W_INTENSITY_OUTLIER", lambda s: s.add("p00", "a", blobs(500) + 3000)),
    ("W_MODALITY", lambda s: s.add("p00", "a", blobs(500) - 1000)),
]


@pytest.mark.parametrize(("code", "plant"), OUTLIERS)
def test_each_kind_of_outlier_is_found_at_its_case_alone(
    code: str, plant: Callable[[Scans], object], scans: Scans
) -> None:
    plant(scans)
    record = run(scans).record
    assert code in {item.code for item in record.outliers}
    assert {item.case_id for item in record.outliers} == {"scan20"}
    assert record.decisions == ()


def test_doubtful_files_are_listed(scans: Scans) -> None:
    scans.replace(0, lambda content: content + b"more")
    doubts = run(scans).record.doubts
    assert [(item.case_id, item.code) for item in doubts] == [("scan00", "W_TRAILING")]


def test_a_line_that_the_manifest_reader_refuses_is_named_and_left_out(scans: Scans) -> None:
    scans.rows.append(dict(scans.rows[0]))
    found = run(scans)
    assert codes(found) == ["E_MANIFEST"]
    assert {item.line for item in found.record.manifest} == {22}
    assert found.record.cases == 20


def test_a_manifest_of_one_class_is_refused_before_anything_is_read(scans: Scans) -> None:
    for row in scans.rows:
        row["label"] = "a"
    with pytest.raises(DataError, match="E_ONE_CLASS"):
        run(scans)
    assert not (scans.out / "audit" / "audit.json").exists()


def test_without_a_patient_column_it_says_so(scans: Scans) -> None:
    for row in scans.rows:
        row.pop("patient_id")
    record = run(scans).record
    assert record.patients_assumed
    assert record.patients == 20


def test_nothing_usable_is_still_a_page(scans: Scans) -> None:
    for place in range(len(scans.rows)):
        scans.replace(place, lambda _: b"no volume")
    found = run(scans)
    assert codes(found) == ["E_REFUSED", "E_ONE_CLASS"]
    assert found.record.volumes == ()
    assert found.record.shortcut.reason
    assert "20 volumes cannot be used" in (found.folder / "index.html").read_text()


def test_the_record_is_what_was_written(scans: Scans) -> None:
    near_other_patient(scans)
    truncated(scans)
    found = run(scans)
    assert read_audit(found.folder / "audit.json") == found.record
    assert found.record.format == 1


def test_a_second_audit_reads_and_learns_nothing_and_writes_the_same(
    fresh: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    near_other_patient(fresh)
    first = run(fresh).folder
    before = {name: (first / name).read_bytes() for name in ("index.html", "audit.json")}

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was read again")

    for module in (fingerprint, audit_reading):
        monkeypatch.setattr(module, "read_volume", never)
    monkeypatch.setattr(audit_probe, "answer_by", never)
    run(fresh)
    assert {name: (first / name).read_bytes() for name in before} == before


def test_a_series_is_read_thrice_by_the_first_audit_and_never_by_the_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans, asked = Scans(tmp_path, tmp_path), Counter[str]()
    for number in range(6):
        name = f"s{number}"
        save(tmp_path / name, slices(6, size=(8, 8), seed=number))
        row = {"image": name, "case_id": name, "label": "ab"[number % 2]}
        scans.rows.append({**row, "patient_id": f"p{number}", "site": "", "split": ""})

    class Counted(InThisProcess):
        def headers(self) -> dict[str, Answer]:
            asked[self.folder.name] += 1
            return super().headers()

    monkeypatch.setattr(dicom_series, "SeriesProcess", Counted)
    first = run(scans).record
    # As training reads it, for its signature, and for what its files are.
    assert asked == Counter({f"s{number}": 3 for number in range(6)})
    assert {item.file_format for item in first.volumes} == {"dicom, Explicit VR Little Endian"}
    asked.clear()
    assert run(scans).record == first
    assert asked == Counter()
    (tmp_path / "s4" / "IM0003").touch()
    assert run(scans).record == first
    assert asked == Counter({"s4": 2})  # its content was known, so not its signature
    kept = (tmp_path / ".volclass-cache/audit/file-facts-1.json").read_text()
    assert "s4" not in kept


def test_another_label_is_learnt_anew(scans: Scans) -> None:
    first = run(scans).record.shortcut
    for row in scans.rows:
        row["site"] = "north" if row["label"] == "a" else "south"
    second = run(scans).record.shortcut
    assert first.key != second.key
    assert (first.tells, second.tells) == (False, True)


def test_a_damaged_record_of_an_earlier_audit_is_replaced(scans: Scans) -> None:
    found = run(scans)
    (found.folder / "audit.json").write_text("{}")
    assert run(scans).record == found.record


def test_a_stopped_audit_goes_on_and_ends_as_if_it_had_not_been(
    fresh: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(fresh, name="whole/audit").folder
    seen: list[Path] = []

    def stopped(path: Path) -> Volume:
        seen.append(path)
        if len(seen) == 7:
            raise KeyboardInterrupt
        return read_volume(path)

    monkeypatch.setattr(fingerprint, "read_volume", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(fresh, name="other/audit")
    assert not (fresh.out / "other/audit/audit.json").exists()
    again = run(fresh, name="other/audit").folder
    for name in ("index.html", "audit.json", "quarantine.csv", "metadata/predictions.csv"):
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_volume_that_changes_during_the_audit_is_refused(
    fresh: Scans, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fresh.folder / fresh.rows[1]["image"]
    monkeypatch.setattr(fingerprint, "read_volume", lambda _: read_volume(other))
    with pytest.raises(DataError, match="changed meanwhile"):
        run(fresh)


@pytest.mark.parametrize("name", ["config.yaml", "folds.json", "competitor.json", "ladder.json"])
def test_a_folder_of_other_results_is_left_alone(name: str, scans: Scans) -> None:
    out = scans.out / "audit"
    out.mkdir()
    (out / name).write_text("{}")
    with pytest.raises(ConfigError, match="other results"):
        run(scans)
    assert [path.name for path in out.iterdir()] == [name]


def test_the_spacing_of_the_files_is_judged_and_not_that_of_the_preprocessing(
    scans: Scans,
) -> None:
    record = run(scans, "preprocess.spacing=[4,4,4]").record
    assert {item.spacing for item in record.volumes} == {SPACING}
    assert {item.orientation for item in record.volumes} == {"RAS"}
