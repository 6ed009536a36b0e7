"""Which columns of a manifest can be clinical variables, and what is refused of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config import Config, DataConfig
from pipeline.data.manifest import Manifest, read_manifest
from pipeline.errors import ConfigError, DataError

Read = Callable[..., Manifest]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads a table of six images as a manifest; `{image}` in a cell is the file's name."""

    def reading(
        header: str, rows: Sequence[str], *covariates: str, required: bool = True
    ) -> Manifest:
        lines = [header]
        for number, row in enumerate(rows):
            (tmp_path / f"v{number}.nii").touch()
            lines.append(f"v{number}.nii,{row}")
        path = tmp_path / "manifest.csv"
        path.write_text("\n".join(lines) + "\n")
        data = DataConfig(source="manifest", manifest=str(path), covariates=covariates)
        return read_manifest(data, labels_required=required)

    return reading


ROWS = [f"{'ab'[k % 2]},p{k},{60 + k}, M ,x" for k in range(6)]
HEADER = "image,label,patient_id,age,sex,note"


def test_named_columns_are_read_as_text_and_the_others_are_said_to_be_unread(read: Read) -> None:
    manifest = read(HEADER, ROWS, "age", "sex")
    assert manifest.cases[0].covariates == (("age", "60"), ("sex", "M"))
    assert "not used: note" in manifest.notes()
    assert read(HEADER, ROWS).cases[0].covariates == ()
    assert "not used: age, sex, note" in read(HEADER, ROWS).notes()


@pytest.mark.parametrize("required", [True, False])
def test_an_unknown_column_is_refused_with_the_nearest_name(read: Read, required: bool) -> None:
    with pytest.raises(DataError) as caught:
        read(HEADER, ROWS, "Age", required=required)
    message = str(caught.value)
    assert "no column 'Age', which data.covariates names" in message
    assert "the nearest name there is 'age'" in message
    assert "manifest.csv" in message


@pytest.mark.parametrize(
    "name", ["label", "image", "patient_id", "Site", "split", "case_id", "mask"]
)
def test_a_column_with_a_role_is_refused(read: Read, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} cannot be a covariate") as caught:
        read(HEADER, ROWS, name)
    assert "data.covariates" in str(caught.value)


def test_a_column_that_is_read_as_the_label_is_refused(read: Read) -> None:
    with pytest.raises(ConfigError, match="the column is read as label"):
        read(HEADER.replace("label", "diagnosis"), ROWS, "diagnosis")


def test_in_a_prediction_a_covariate_does_not_take_the_place_of_the_label(read: Read) -> None:
    rows = [row[2:] for row in ROWS]
    manifest = read("image,patient_id,diagnosis,sex,note", rows, "diagnosis", required=False)
    assert manifest.cases[0].covariates == (("diagnosis", "60"),)
    assert manifest.cases[0].label is None


def test_a_covariate_named_twice_is_refused(read: Read) -> None:
    with pytest.raises(ConfigError, match="the covariate age is named twice"):
        read(HEADER, ROWS, "age", "sex", "age")


def test_two_columns_of_one_name_are_refused(read: Read) -> None:
    with pytest.raises(DataError, match="2 columns are named 'age'"):
        read(HEADER.replace("note", "age"), ROWS, "age")


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999"])
def test_an_infinite_cell_is_refused_with_its_line(read: Read, cell: str) -> None:
    rows = [*ROWS[:-1], ROWS[-1].replace("65", cell)]
    with pytest.raises(DataError) as caught:
        read(HEADER, rows, "age")
    assert f"line 7: E_COVARIATE: the covariate age is {cell!r}" in str(caught.value)
    assert read(HEADER, rows, "sex").cases  # a column that nobody reads may hold anything


def test_mixup_and_covariates_exclude_each_other() -> None:
    settings = {"data": {"covariates": ("age",)}, "augment": {"mixup": 0.2}}
    with pytest.raises(ValidationError, match=r"augment\.mixup=0"):
        Config.model_validate(settings)
