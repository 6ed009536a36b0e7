"""A manifest is read as text, and everything wrong with it is said at once."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from pipeline.config import DataConfig
from pipeline.data.manifest import Manifest, read_manifest
from pipeline.errors import ConfigError, DataError

IMAGES = ("a1", "a2", "b1", "b2")
GOOD = "image,label\na1.nii.gz,AD\na2.nii.gz,AD\nb1.nii.gz,CN\nb2.nii.gz,CN\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with four volumes; their content plays no part here."""
    for name in IMAGES:
        (tmp_path / f"{name}.nii.gz").write_bytes(b"x")
    return tmp_path


def read(folder: Path, text: str | bytes = GOOD, **options: str | bool) -> Manifest:
    path = folder / "cases.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    required = bool(options.pop("labels_required", True))
    data = DataConfig.model_validate({"source": "manifest", "manifest": str(path), **options})
    return read_manifest(data, labels_required=required)


def refusal(folder: Path, text: str | bytes, **options: str | bool) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, text, **options)
    assert "cases.csv" in str(caught.value)
    return str(caught.value)


def rows(*lines: str) -> str:
    """The good manifest with more lines, the first of them line 6."""
    return GOOD + "".join(f"{line}\n" for line in lines)


def test_cases_are_sorted_and_absolute(folder: Path) -> None:
    manifest = read(folder)
    assert [case.case_id for case in manifest.cases] == list(IMAGES)
    assert manifest.cases[0].image == folder / "a1.nii.gz"
    assert [case.label for case in manifest.cases] == ["AD", "AD", "CN", "CN"]
    assert manifest.columns == {"image": "image", "label": "label"}


def test_missing_patients_are_assumed_and_said(folder: Path) -> None:
    manifest = read(folder)
    assert manifest.patients_assumed
    assert manifest.cases[0].patient_id == "a1"
    assert any("no patient_id column" in line for line in manifest.notes())


def test_everything_stays_text(folder: Path) -> None:
    text = (
        "image,label,patient_id,case_id,site,split,age\n"
        "a1.nii.gz,NA,001,1E5,None,train,60\na2.nii.gz,NA,001,01,nan,valid,61\n"
        "b1.nii.gz,1,2.0,1,,VAL,62\nb2.nii.gz,1,2,x,s,test,63\n"
    )
    manifest = read(folder, text)
    by_image = {case.image.name: case for case in manifest.cases}
    assert [by_image[f"{name}.nii.gz"].label for name in IMAGES] == ["NA", "NA", "1", "1"]
    assert [by_image[f"{name}.nii.gz"].case_id for name in IMAGES] == ["1E5", "01", "1", "x"]
    assert [by_image[f"{name}.nii.gz"].patient_id for name in IMAGES] == ["001", "001", "2.0", "2"]
    assert [by_image[f"{name}.nii.gz"].site for name in IMAGES] == ["None", "nan", None, "s"]
    splits = [by_image[f"{name}.nii.gz"].split for name in IMAGES]
    assert splits == ["train", "val", "val", "test"]
    assert manifest.covariates == ("age",)
    assert not manifest.patients_assumed


@pytest.mark.parametrize(("separator", "name"), [(",", "comma"), ("\t", "tab"), (";", "semicolon")])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_separators(
    folder: Path, separator: str, name: str, start: str, end: str
) -> None:
    manifest = read(folder, start + GOOD.replace(",", separator).replace("\n", end))
    assert manifest.separator == name
    assert manifest.cases == read(folder).cases


def test_quotes_blank_lines_and_strange_names(folder: Path) -> None:
    for name in ('c, "d"=<e>.nii.gz', "ü\nx.nii.gz"):
        (folder / name).write_bytes(b"x")
    text = rows("", ",", '"c, ""d""=<e>.nii.gz",AD', '"ü\nx.nii.gz",CN', "missing.nii.gz,CN")
    assert "line 11: E_MISSING" in refusal(folder, text)
    manifest = read(folder, text.replace("missing.nii.gz,CN\n", ""))
    assert {case.case_id for case in manifest.cases} == {*IMAGES, 'c, "d"=<e>', "ü\nx"}


@pytest.mark.parametrize(
    "header",
    ["path,class", "Channel_0,ValueToPredict", "FILENAME,Target", "Image Path,y", "scan,Diagnosis"],
)
def test_aliases_are_understood_and_named(folder: Path, header: str) -> None:
    manifest = read(folder, GOOD.replace("image,label", header))
    image, label = header.split(",")
    assert manifest.columns == {"image": image, "label": label}
    assert f"image (column {image!r})" in manifest.notes()[0]


@pytest.mark.parametrize("column", ["SubjectID", "PatientID", "participant_id", "subject"])
def test_aliases_of_the_patient(folder: Path, column: str) -> None:
    text = "\n".join(
        line + ("," + ("p" if number else column)) for number, line in enumerate(GOOD.split())
    )
    assert {case.patient_id for case in read(folder, text).cases} == {"p"}


def test_a_folder_in_place_of_a_manifest_is_told_what_makes_one_of_it(folder: Path) -> None:
    data = DataConfig.model_validate({"source": "manifest", "manifest": str(folder)})
    with pytest.raises(DataError, match=f"manifest {folder.name} is a folder, not a") as caught:
        read_manifest(data)
    assert (caught.value.remedy or "").startswith(f"volclass init {folder} --out")
    assert caught.value.where == str(folder)


def test_two_columns_for_one_name_are_refused_naming_both(folder: Path) -> None:
    text = "path,filename,label\na1.nii.gz,a1.nii.gz,AD\n"
    assert "'path', 'filename'" in refusal(folder, text)
    assert "'Image', 'image'" in refusal(folder, "Image,image,label\nx,x,AD\n")


def test_a_canonical_name_comes_before_aliases(folder: Path) -> None:
    text = GOOD.replace("\n", ",7\n").replace("image,label,7", "image,label,volume")
    manifest = read(folder, text)
    assert manifest.columns["image"] == "image"
    assert manifest.covariates == ("volume",)


def test_case_ids_come_from_paths_and_know_no_order(folder: Path) -> None:
    for name in ("s1", "s2"):
        (folder / name).mkdir()
        for scan in ("t1.nii.gz", "t1.nii"):
            (folder / name / scan).write_bytes(b"x")
    lines = ["s1/t1.nii.gz,AD", "s2/t1.nii.gz,CN", "s1/../a1.nii.gz,AD", "b1.nii.gz,CN"]
    first = read(folder, "\n".join(["image,label", *lines]))
    assert [case.case_id for case in first.cases] == ["a1", "b1", "t1", "t1_2"]
    assert first.notes()[-1] == (
        "files of several cases have one name, so they are numbered by their paths: "
        "'t1' is line 2, 't1_2' is line 3; a column case_id names them"
    )
    random.Random(0).shuffle(lines)
    assert read(folder, "\n".join(["image,label", *lines])).cases == first.cases
    both = read(folder, "image,label\ns1/t1.nii,AD\ns1/t1.nii.gz,AD\na1.nii.gz,CN\nb1.nii.gz,CN\n")
    assert {case.case_id: case.image.name for case in both.cases} == {
        **{"a1": "a1.nii.gz", "b1": "b1.nii.gz", "t1": "t1.nii", "t1_2": "t1.nii.gz"}
    }


def test_case_ids_name_no_folder_but_the_patients_of_the_table(folder: Path) -> None:
    away = folder.parent / "jsmith" / "data"
    for name in ("Doe_Jane/ct", "Doe_Jane/2/ct", "Roe_Rick/ct", "Roe_Rick/7_ct"):
        (away / name).parent.mkdir(parents=True, exist_ok=True)
        (away / f"{name}.nii.gz").write_bytes(b"x")
    names = ("Doe_Jane/ct", "Roe_Rick/ct", "Roe_Rick/7_ct", "Doe_Jane/2/ct")
    labels = ("AD", "CN", "AD", "CN")
    rows = [f"{away}/{name}.nii.gz,{label}" for name, label in zip(names, labels, strict=True)]
    plain = read(folder, "\n".join(["image,label", *rows]), allow_outside_root=True)
    places = {case.case_id: case.image.relative_to(away) for case in plain.cases}
    by_path = [names[place] for place in (2, 3, 0, 1)]
    assert places == {
        name: Path(f"{path}.nii.gz")
        for name, path in zip(("7_ct", "ct", "ct_2", "ct_3"), by_path, strict=True)
    }
    assert not any(word in str(plain.notes()) for word in ("jsmith", "Doe", "Roe"))
    known = [f"{row},{patient}" for row, patient in zip(rows, "6778", strict=True)]
    text = "\n".join(["image,label,patient_id", *known])
    found = read(folder, text, allow_outside_root=True).cases
    assert [case.case_id for case in found] == ["6_ct", "7_ct", "7_ct_2", "8_ct"]
    assert [case.patient_id for case in found] == [*"6778"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a3.nii.gz,AD", "E_MISSING: a3.nii.gz does not exist; the nearest name there is a"),
        ("a1.nii.gz,AD", "E_DUP_PATH: a1.nii.gz is the file of line 2"),
        ("./sub/../a1.nii.gz,AD", "E_DUP_PATH"),
        ("link.nii.gz,AD", "E_DUP_PATH"),
        ("a1.nii.gz,CN", "E_LABEL_CONFLICT: a1.nii.gz is 'CN' here, 'AD' in line 2"),
        (",AD", "E_EMPTY: the image cell is empty"),
        ("c.nii.gz,", "E_EMPTY: the label cell is empty"),
        ("c.nii.gz", "E_CELLS: it has 1 cells, the header has 2"),
        ("c.nii.gz,AD,x", "E_CELLS: it has 3 cells, the header has 2; the first one too many is"),
        ("c.nii.gz,AD,", "E_CELLS"),
        ("sub,AD", "E_IRREGULAR: sub is a directory"),
        ("pipe.nii.gz,AD", "E_IRREGULAR: pipe.nii.gz is not a regular file"),
        ("c.nii.gz,AD ", "E_LABEL_TYPO: label 'AD ' starts or ends with blanks: did you mean AD?"),
        ("c.nii.gz,Ad", "E_LABEL_TYPO: label 'Ad' differs from 'AD' in case only"),
        ("c.nii.gz,ADD", "label 'ADD' has one case only: did you mean AD? line 6"),
        ("c.nii.gz,MCI", "E_SMALL_CLASS: label 'MCI' has one case only"),
        ("/etc/passwd,AD", "data.root=/etc or data.allow_outside_root=true"),
        ("../c.nii.gz,AD", "to allow it: data.allow_outside_root=true"),
        ("leaving.nii.gz,AD", "E_OUTSIDE_ROOT"),
        ("c.nii.gz\0,AD", "E_MISSING"),
        (f"{'x' * 300}.nii.gz,AD", "E_IO"),
    ],
)
def test_a_bad_line_is_named(folder: Path, line: str, expected: str) -> None:
    (folder / "c.nii.gz").write_bytes(b"x")
    (folder / "sub").mkdir()
    (folder / "link.nii.gz").symlink_to(folder / "a1.nii.gz")
    (folder / "leaving.nii.gz").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe.nii.gz")
    text = refusal(folder, rows(line))
    assert expected in text
    assert "line 6: " in text
    assert "has 1 problem\n" in text


def test_labels_with_patients(folder: Path) -> None:
    (folder / "c1.nii.gz").write_bytes(b"x")
    (folder / "c2.nii.gz").write_bytes(b"x")
    start = "image,label,patient\na1.nii.gz,tumour,1\na2.nii.gz,tumour,2\nb1.nii.gz,tumour,3\n"
    near = start + "b2.nii.gz,no,4\nc1.nii.gz,tumor,5\nc2.nii.gz,tumor,5\n"
    text = refusal(folder, near)
    assert "'tumor' has cases of one patient only: did you mean tumour? line 6" in text
    grades = near.replace("tumour", "grade1").replace("tumor", "grade2").replace("no,", "grade1,")
    assert len(read(folder, grades).cases) == 6


def test_identities_and_splits(folder: Path) -> None:
    text = "image,label,patient_id,case_id,split\na1.nii.gz,AD, 1,x,train\n"
    text += "a2.nii.gz,AD,,x,dev\nb1.nii.gz,CN,2,z,\nb2.nii.gz,CN,3,y,test\n"
    message = refusal(folder, text)
    for part in (
        "line 2: E_BLANKS: patient_id ' 1'",
        "line 3: E_EMPTY: the patient_id cell",
        "line 3: E_DUP_CASE: case_id x stands in line 2",
        "3 problems",
    ):
        assert part in message


def test_all_problems_are_counted_and_twenty_listed(folder: Path) -> None:
    message = refusal(folder, rows(*(f"missing{number}.nii.gz,AD" for number in range(30))))
    assert "30 problems" in message
    assert message.count("E_MISSING") == 20
    assert "... and 10 more, 30 in all" in message


def test_paths_outside_the_root_are_taken_when_allowed(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    absolute = GOOD.replace("a1", f"{folder}/a1").replace("a2", f"{folder}/a2")
    absolute = absolute.replace("b1", f"{folder}/b1").replace("b2", f"{folder}/b2")
    message = refusal(inner, absolute)
    assert f"data.root={folder} or" in message
    assert len(read(inner, absolute, root=str(folder)).cases) == 4
    above = GOOD.replace("a1", "../a1").replace("a2", "../a2")
    above = above.replace("b1", "../b1").replace("b2", "../b2")
    assert "data.root" not in refusal(inner, above)
    allowed = read(inner, above, allow_outside_root=True)
    assert [case.case_id for case in allowed.cases] == list(IMAGES)


def test_one_class_is_refused(folder: Path) -> None:
    assert "E_ONE_CLASS: every label is 'AD'" in refusal(folder, GOOD.replace("CN", "AD"))


def test_prediction_needs_no_labels(folder: Path) -> None:
    manifest = read(folder, "image\na1.nii.gz\n", labels_required=False)
    assert manifest.cases[0].label is None
    manifest = read(folder, "image,label\na1.nii.gz,\n", labels_required=False)
    assert manifest.cases[0].label is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "E_EMPTY"),
        ("\n \n", "E_EMPTY"),
        ("image,label\n", "no cases"),
        ("image,sex\na1.nii.gz,f\n", "no column label\n"),
        ("a,b\n1,2\n", "no column image and no column label"),
        ("image|label\na1.nii.gz|AD\n", "separated by a vertical bar"),
        ('image,label\n"a1.nii.gz,AD\n', "from line 2 on"),
        ("image,label\na1.nii.gz,gesch\u00e4digt\n".encode("latin-1"), "line 2"),
    ],
)
def test_other_files_are_refused(folder: Path, text: str | bytes, expected: str) -> None:
    assert expected in refusal(folder, text)


def test_missing_manifest_is_named_with_its_neighbour(folder: Path) -> None:
    (folder / "cases.csv").write_text(GOOD)
    data = DataConfig(source="manifest", manifest=str(folder / "case.csv"))
    with pytest.raises(DataError, match=r"did you mean cases\.csv"):
        read_manifest(data)
    with pytest.raises(ConfigError, match=r"data\.manifest"):
        read_manifest(DataConfig())


def test_patients_that_differ_in_case_only_would_leak_between_folds(folder: Path) -> None:
    text = "image,label,patient_id\na1.nii.gz,AD,p01\na2.nii.gz,AD,P01\n"
    text += "b1.nii.gz,CN,p02\nb2.nii.gz,CN,p03\n"
    assert "line 3: E_PATIENT_TYPO: patient_id 'P01' differs from 'p01'" in refusal(folder, text)
