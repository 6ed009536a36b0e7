"""Some splits of a table alone: what is left out is not read, and not judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import DataConfig
from pipeline.config_file import load_config
from pipeline.data.manifest import Manifest, read_manifest
from pipeline.data.volume_inputs import input_cases
from pipeline.errors import ConfigError, DataError
from pipeline.inputs import is_override
from pipeline.progress import Silent

ROWS = ("a,AD,train", "b,CN,Training", "c,AD,val", "d,CN,dev", "e,AD,test", "f,CN,testing")


def table(folder: Path, rows: tuple[str, ...] = ROWS, header: str = "image,label,split") -> Path:
    """A manifest and the files of its cases, but for those of the test part."""
    for row in rows:
        name, *_, split = row.split(",")
        if not split.startswith("test"):
            (folder / f"{name}.nii").write_bytes(b"x")
    lines = [row.replace(",", ".nii,", 1) for row in rows]
    path = folder / "cases.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def read(path: Path, *splits: str) -> Manifest:
    chosen = splits or None
    return read_manifest(
        DataConfig.model_validate({"source": "manifest", "manifest": str(path), "splits": chosen})
    )


def test_only_the_cases_of_the_splits_are_read(tmp_path: Path) -> None:
    manifest = read(table(tmp_path), "train", "val")
    assert [case.case_id for case in manifest.cases] == ["a", "b", "c", "d"]
    assert [case.split for case in manifest.cases] == ["train", "train", "val", "val"]
    assert "split train and val: 4 of 6 cases" in manifest.notes()


def test_without_the_key_all_are_read(tmp_path: Path) -> None:
    path = table(tmp_path)
    for name in "ef":
        (tmp_path / f"{name}.nii").write_bytes(b"x")
    manifest = read(path)
    assert len(manifest.cases) == 6
    assert not any(line.startswith("split") for line in manifest.notes())


def test_a_case_of_no_known_split_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, (*ROWS, "g,AD,holdout", "h,CN,"))
    with pytest.raises(DataError) as caught:
        read(path, "train", "val")
    told = str(caught.value)
    assert "line 8: E_SPLIT: the split is 'holdout', not one of train, val and test" in told
    assert "line 9: E_SPLIT: no split, and data.splits chooses by it" in told


def test_left_out_cases_are_not_judged(tmp_path: Path) -> None:
    path = table(tmp_path, (*ROWS, "g,,test", "h,CM,test"))
    assert len(read(path, "train", "val").cases) == 4


def test_covariates_of_left_out_cases_are_not_judged(tmp_path: Path) -> None:
    taught = ("a,AD,61,train", "b,CN,62,train", "c,AD,63,train", "d,CN,64,train")
    rows = (*taught, "e,AD,inf,test", "f,CN,inf,test")
    path = table(tmp_path, rows, "image,label,age,split")
    data = {"source": "manifest", "manifest": str(path), "covariates": ("age",)}
    chosen = DataConfig.model_validate({**data, "splits": ("train",)})
    assert len(read_manifest(chosen).cases) == 4
    with pytest.raises(DataError, match="E_COVARIATE"):
        read_manifest(DataConfig.model_validate({**data, "splits": ("train", "test")}))


def test_no_case_is_called_otherwise_where_others_are_left_out(tmp_path: Path) -> None:
    for patient in "ab":
        (tmp_path / patient).mkdir()
        (tmp_path / patient / "ct.nii").write_bytes(b"x")
    for name in "cde":
        (tmp_path / f"{name}.nii").write_bytes(b"x")
    others = ("c.nii,AD,P3,train", "d.nii,CN,P4,train", "e.nii,CN,P5,train")
    lines = ("a/ct.nii,AD,P1,train", *others, "b/ct.nii,AD,P2,test")
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(["image,label,patient_id,split", *lines]) + "\n")
    assert [case.case_id for case in read(path, "train").cases] == ["P1_ct", "c", "d", "e"]


def test_a_table_without_the_column_or_the_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    path = table(tmp_path / "none", ("a,AD,x", "b,CN,y"), "image,label,site")
    with pytest.raises(DataError, match=r"has no column split") as caught:
        read(path, "train")
    assert "leave data.splits out" in str(caught.value)
    path = table(tmp_path, ("a,AD,train", "b,CN,train"))
    with pytest.raises(DataError, match=r"no case of cases\.csv is of the split test"):
        read(path, "test")


def test_what_a_model_is_asked_about_is_not_cut(tmp_path: Path) -> None:
    path = table(tmp_path, ("a,AD,train", "b,CN,val"))
    data = DataConfig.model_validate(
        {"source": "manifest", "manifest": str(path), "splits": ("train",)}
    )
    assert [case.case_id for case in input_cases([path], data, False, Silent())] == ["a", "b"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["data.splits=[]"], "data.splits"),
        (["data.splits=[training]"], "data.splits"),
        (["data.splits=train"], "data.splits"),
        (["data.splits=[train,train]"], "names a split twice"),
        (
            ["data={source: phantoms, manifest: null, splits: [train]}"],
            "generated volumes have no splits",
        ),
        (["data.splits=[train,val]", "cv.scheme=official"], "set cv.scheme=kfold"),
    ],
)
def test_other_values_are_refused(settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("base", ["data.source=manifest", "data.manifest=cases.csv", *settings])
    assert words in str(caught.value)


def test_a_trained_run_keeps_its_splits() -> None:
    with pytest.raises(ConfigError, match=r"data\.splits.* cannot be changed"):
        is_override("data.splits=[test]")
