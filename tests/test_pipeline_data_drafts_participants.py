"""A table of participants says nothing of a patient about whom it is not clear."""

from __future__ import annotations

from pathlib import Path

from pipeline.data.drafts.participants import Participants, find_participants

PATIENTS = [f"sub-{p:02d}" for p in range(1, 7)]
HEADER = "participant_id\tage\tgroup\tdx"
ROWS = [f"sub-{p:02d}\t{50 + p}\t{'AD' if p % 2 else 'CN'}\t{p % 2}" for p in range(1, 7)]


def found(folder: Path, *more: str, patients: list[str] = PATIENTS) -> Participants:
    (folder / "participants.tsv").write_text("\n".join([HEADER, *ROWS, *more, ""]))
    table = find_participants(folder, patients)
    assert table is not None
    return table


def test_values_are_by_patient(tmp_path: Path) -> None:
    table = found(tmp_path, patients=["sub-1", "02"])
    assert table.values["age"] == {"sub-1": "51", "02": "52"}
    assert table.warnings == ()


def test_repeated_rows_that_differ_give_no_label(tmp_path: Path) -> None:
    table = found(tmp_path, "sub-01\t61\tCN\t1", "sub-02\tn/a\tcn\t0")
    assert table.taken["label"] == "dx"
    assert table.values["age"] == {f"sub-{p:02d}": str(50 + p) for p in range(2, 7)}
    text = "; ".join(table.warnings)
    assert "for sub-01 differ in the column 'group'; no label was taken from it" in text
    assert "for sub-01 differ in the column 'age'; they get no value" in text
    assert "sub-02" not in text


def test_columns_that_differ_are_no_candidates(tmp_path: Path) -> None:
    table = found(tmp_path, "sub-01\t51\tCN\t0")
    assert "label" not in table.taken
    assert table.candidates == ()


def test_repeated_rows_that_agree_are_one(tmp_path: Path) -> None:
    assert found(tmp_path, ROWS[0]).warnings == ()
    assert found(tmp_path, ROWS[0].removeprefix("sub-")).taken["label"] == "group"


def test_ids_that_differ_in_zeros_are_not_merged(tmp_path: Path) -> None:
    table = found(tmp_path, "sub-1\t99\tCN\t0")
    assert table.values["age"]["sub-01"] == "51"
    assert "differ from sub-01 in leading zeros" in table.warnings[0]
    only = found(tmp_path, "sub-1\t99\tCN\t0", patients=["sub-001", "sub-02"])
    assert only.values["age"] == {"sub-02": "52"}
    both = found(tmp_path, patients=["sub-1", "sub-01"])
    assert both.values["age"] == {"sub-01": "51"}
    assert "sub-1" in both.warnings[0]


def test_a_table_of_others_says_what_was_compared(tmp_path: Path) -> None:
    table = found(tmp_path, patients=["STS_001", "STS_002"])
    assert table.values == {}
    assert table.warnings == (
        "participants.tsv is not used: none of its ids (sub-01, sub-02, sub-03 and 3 more) is the "
        "id of a patient who was recognised in the names (STS_001, STS_002)",
    )
