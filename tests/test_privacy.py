"""What names a person, a folder or a machine is in none of the files that the verbs write."""

from __future__ import annotations

import base64
import csv
import getpass
import gzip
import io
import json
import platform
import re
import shutil
import socket
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import pyarrow.parquet as pq
import pytest
import SimpleITK
from conftest import SMALL, write_volumes
from leak_makers import write_rows
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from dicom_makers import InThisProcess, save, slices
from pipeline.cli import app
from pipeline.data.formats import dicom_series
from pipeline.evaluation import audit_permutation, baselines
from pipeline.storage import read_table

nib: Any = nibabel  # has no types for what is used here
sitk: Any = SimpleITK  # has no types
#: What is planted, by the place that it is planted in.
PLANTED = {
    "NIfTI descrip": "Zq01DESCRIP",
    "NIfTI aux_file": "Zq02AUXFILE",
    "NIfTI intent_name": "Zq03INTENT",
    "NIfTI db_name": "Zq04DBNAME",
    "NIfTI extension": "Zq05EXTENSION",
    "gzip file name": "Zq06GZNAME",
    "NRRD content": "Zq07CONTENT",
    "NRRD comment": "Zq08REMARK",
    "NRRD key": "Zq09KEYVALUE",
    "MetaImage comment": "Zq10COMMENT",
    "MetaImage name": "Zq11NAME",
    "folder of a patient": "Zq12DOE_JANE",
    "folder with a blank": "Zq24DOE JANE",
    "folder with a colon": "Zq25BORN: 1950",
    "folder outside of the root": "Zq26ROE, RICK",
    "cell too many": "Zq27TELEPHONE 555",
    "folder in a series": "Zq28MILLER TOM",
    "user": "zq13user",
    "host": "zq14host",
    "unread column": "Zq15PHONE",
    "damaged file's header": "Zq16DAMAGED",
    "DICOM PatientName": "Zq17NAME",
    "DICOM PatientID": "Zq18ID",
    "DICOM StudyDescription": "Zq19STUDY",
    "DICOM InstitutionName": "Zq20INSTITUTION",
    "DICOM private tag": "Zq21PRIVATE",
    "DICOM UID": "1.2.826.0.1.22223333",
    "DICOM damaged number": "Zq23SLOP",
}
#: The series that are refused, by the name of their folder, and the code of each.
REFUSED = {"p07_1": "E_DICOM_SERIES", "p08_1": "E_DICOM_VALUES"}
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Outputs:
    """Everything that the verbs left behind.

    Attributes:
        folder: With all of it, and nothing else.
        data: The data root, which is in none of it.
        printed: What was shown.
    """

    folder: Path
    data: Path
    printed: str


def spoken_nifti(path: Path) -> None:
    """Gives a packed NIfTI file free text wherever it has room for some."""
    image = nib.load(path)
    image.header["descrip"] = PLANTED["NIfTI descrip"]
    image.header["aux_file"] = PLANTED["NIfTI aux_file"]
    image.header["intent_name"] = PLANTED["NIfTI intent_name"]
    image.header["db_name"] = PLANTED["NIfTI db_name"]
    text = PLANTED["NIfTI extension"].encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", text))
    packed = io.BytesIO()
    with gzip.GzipFile(PLANTED["gzip file name"], "wb", fileobj=packed) as stream:
        stream.write(image.to_bytes())
    path.write_bytes(packed.getvalue())


def spoken_nrrd(path: Path, image: object) -> None:
    """Writes an NRRD file with free text in its header."""
    sitk.WriteImage(image, str(path))
    start, _, rest = path.read_bytes().partition(b"\n")
    lines = [f"# {PLANTED['NRRD comment']}", f"content: {PLANTED['NRRD content']}"]
    lines.append(f"PatientName:={PLANTED['NRRD key']}")
    path.write_bytes(start + b"\n" + "\n".join(lines).encode() + b"\n" + rest)


def spoken_metaimage(path: Path, image: object) -> None:
    """Writes a MetaImage file with free text in its header."""
    sitk.WriteImage(image, str(path))
    head, mark, rest = path.read_bytes().partition(b"ElementDataFile")
    lines = f"Comment = {PLANTED['MetaImage comment']}\nName = {PLANTED['MetaImage name']}\n"
    path.write_bytes(head + lines.encode() + mark + rest)


def spoken_slices(number: int) -> list[Dataset]:
    """A DICOM series that names somebody in every slice."""
    made = slices(8, size=(8, 8), spacing=1.5, seed=number)
    for place, item in enumerate(made):
        item.PatientName = f"{PLANTED['DICOM PatientName']}^Jane"
        item.PatientID = PLANTED["DICOM PatientID"]
        item.StudyDescription = PLANTED["DICOM StudyDescription"]
        item.InstitutionName = PLANTED["DICOM InstitutionName"]
        block = item.private_block(0x0011, PLANTED["DICOM private tag"], create=True)
        block.add_new(1, "LO", PLANTED["DICOM private tag"])
        item.StudyInstanceUID = PLANTED["DICOM UID"]
        item.SeriesInstanceUID = f"{PLANTED['DICOM UID']}.{number}"
        item.SOPInstanceUID = f"{PLANTED['DICOM UID']}.{number}.{place}"
        item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
        item.RescaleSlope = "1.000001"
    return made


def spoken_dicom(folder: Path, number: int) -> None:
    """Writes a series, or two, or one whose slope is a word; as `REFUSED` says."""
    code = REFUSED.get(folder.name)
    more = spoken_slices(number + 100) if code == "E_DICOM_SERIES" else []
    save(folder, [*spoken_slices(number), *more])
    if code == "E_DICOM_VALUES":
        for path in folder.iterdir():
            word = PLANTED["DICOM damaged number"].encode()
            path.write_bytes(path.read_bytes().replace(b"1.000001", word))


def planted_data(folder: Path) -> Path:
    """A data set in which everything names somebody."""
    folder.mkdir()
    rows = read_table(write_volumes(folder))
    private = folder / "images" / PLANTED["folder of a patient"]
    private.mkdir()
    for number, row in enumerate(rows):
        source = folder / row["image"]
        target = named_folder(private, number) / f"{row['patient_id']}_{number % 2}"
        image = sitk.ReadImage(str(source))
        if number in (4, 5, 6, 7, 15, 16, 17):
            source.unlink()
        if number in (4, 5):
            target = target.with_suffix(".nrrd")
            spoken_nrrd(target, image)
        elif number in (6, 7):
            target = target.with_suffix(".mha")
            spoken_metaimage(target, image)
        elif number in (15, 16, 17):
            spoken_dicom(target, number)
        else:
            target = target.with_suffix(".nii.gz")
            shutil.move(source, target)
            spoken_nifti(target)
        row["image"] = str(target.relative_to(folder))
        row["phone"] = PLANTED["unread column"]
    damaged = private / "p09_1.nii.gz"
    raw = bytearray(gzip.decompress(damaged.read_bytes()))
    raw[148 : 148 + 24] = PLANTED["damaged file's header"].encode().ljust(24, b"\0")
    damaged.write_bytes(gzip.compress(bytes(raw))[:-40])
    broken_lines(folder, rows)
    return write_rows(folder / "manifest.csv", rows)


def named_folder(folder: Path, number: int) -> Path:
    """Where a volume lies: some in folders whose names are no single word."""
    if number not in (10, 11, 12):
        return folder
    folder = folder / PLANTED["folder with a blank"] / PLANTED["folder with a colon"]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def broken_lines(folder: Path, rows: list[dict[str, str]]) -> None:
    """Writes a manifest that has every mistake in which a path may be named, and parted images."""
    inside = Path(
        next(row["image"] for row in rows if PLANTED["folder with a blank"] in row["image"])
    )
    outside = folder.parent / PLANTED["folder outside of the root"]
    outside.mkdir()
    shutil.copy(folder / inside, outside / "ct.nii.gz")
    (folder / inside.parent / "none").mkdir()
    missing, empty = inside.with_name("missing.nii.gz"), inside.with_name("none")
    cells = [str(cell) for cell in (missing, empty, inside, inside, outside / "ct.nii.gz")]
    labels = ["left", "left", "left", "right", "left"]
    more = [
        rows[0] | {"image": cell, "label": label, "patient_id": "p00"}
        for cell, label in zip(cells, labels, strict=True)
    ]
    # Half of the images of a series lie below the others.
    series, made = folder / "series" / "p00_s", spoken_slices(200)
    save(series, made[:4])
    save(series / PLANTED["folder in a series"], made[4:])
    more.append(rows[0] | {"image": "series/p00_s", "patient_id": "p00"})
    path = write_rows(folder / "broken.csv", [*rows, *more])
    last = [inside.as_posix(), *[""] * (len(rows[0]) - 1), PLANTED["cell too many"]]
    with path.open("a", newline="") as handle:
        csv.writer(handle).writerow(last)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """One run of each verb, by a user on a machine with names of their own."""
    base = tmp_path_factory.mktemp("base")
    manifest = planted_data(base / "data")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("USER", "LOGNAME", "USERNAME", "LNAME"):
            patch.setenv(name, PLANTED["user"])
        for name in ("HOSTNAME", "HOST", "COMPUTERNAME"):
            patch.setenv(name, PLANTED["host"])
        for module, function in ((socket, "gethostname"), (socket, "getfqdn"), (platform, "node")):
            patch.setattr(module, function, lambda *_: PLANTED["host"])
        patch.setattr(dicom_series, "SeriesProcess", InThisProcess)
        # The probe of an audit writes the same files, however much it learns.
        patch.setattr(baselines, "inner_splits", lambda *_: [])
        patch.setattr(audit_permutation, "SHUFFLINGS", 79)
        assert getpass.getuser() == PLANTED["user"]
        out = base / "outputs"
        printed = "".join(words_of(*called) for called in verbs(manifest, out))
    return Outputs(out, base / "data", printed)


def verbs(manifest: Path, out: Path) -> Iterator[tuple[list[str], int]]:
    """The command lines of all verbs, each after the files that it needs are there, and its code.

    The data are refused where no volume may be, and by the audit, as it finds what to decide.
    """
    settings = [*SMALL, f"data.manifest={manifest}", "train.epochs=1", "data.max_quarantine=3"]
    run = str(out / "run")
    strict = [*settings, "data.max_quarantine=0"]
    yield ["train", "-c", "base", *strict, "--out", str(out / "refused")], 3
    yield ["audit", "-c", "base", *strict, "--out", str(out / "audit")], 3
    broken = [*strict, f"data.manifest={manifest.with_name('broken.csv')}"]
    yield ["audit", "-c", "base", *broken, "--out", str(out / "broken")], 3
    (out / "planned").mkdir()
    quick = ["system.workers=0", "system.threads=1", *SMALL[3:4]]
    yield ["plan", str(manifest), *quick, "--out", str(out / "planned" / "plan.yaml")], 0
    yield ["train", "-c", "base", *settings, "--out", run], 0
    yield ["predict", run, str(manifest), "--out", str(out / "predicted" / "p.csv")], 0
    images = manifest.parent / "images"
    yield ["predict", run, str(images), "--out", str(out / "predicted" / "images.csv")], 0
    series = [str(images / PLANTED["folder of a patient"] / name) for name in REFUSED]
    none = ["data.max_quarantine=0", "--out", str(out / "predicted" / "series.csv")]
    yield ["predict", run, *series, *none], 3
    for name in ("f.parquet", "f.npz"):
        (out / "features").mkdir(exist_ok=True)
        yield ["features", run, "--out", str(out / "features" / name)], 0
    rungs = [{"name": "majority", "kind": "majority"}, {"name": "net", "kind": "train"}]
    plan = manifest.parent / "ladder.yaml"
    plan.write_text(json.dumps({"config": "base", "set": {"train.epochs": 1}, "rungs": rungs}))
    yield ["ladder", "-c", str(plan), *settings, "--out", str(out / "ladder")], 0
    yield ["report", run], 0
    yield ["report", run, str(out / "ladder" / "majority"), "--out", str(out / "compared")], 0


def words_of(arguments: list[str], code: int) -> str:
    """What a verb says that ends with this code."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return str(result.output)


def readable(path: Path) -> Iterator[bytes]:
    """All that a file says, packed parts unpacked."""
    content = path.read_bytes()
    yield content
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield repr((table.to_pydict(), table.schema.metadata)).encode()
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                packed = archive.read(name)
                yield packed
                yield packed.decode("utf-32-le", errors="ignore").encode()
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)
    for picture in re.findall(rb"data:image/png;base64,([A-Za-z0-9+/=]+)", content):
        yield from png_parts(base64.b64decode(picture))
    for place in (match.start() for match in re.finditer(re.escape(_PNG), content)):
        yield from png_parts(content[place:])


def png_parts(content: bytes) -> Iterator[bytes]:
    """The parts of a PNG picture, their text unpacked."""
    assert content.startswith(_PNG)
    place = len(_PNG)
    while place + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        body = content[place + 8 : place + 8 + length]
        place += 12 + length
        if kind in (b"zTXt", b"iTXt"):
            yield zlib.decompress(body.partition(b"\0\0")[2].lstrip(b"\0"))
        if kind != b"IDAT":
            yield kind + body
        if kind == b"IEND":
            return


def first_part(word: str) -> str:
    """What is left of a planted word that was cut at a blank or a mark."""
    return re.split(r"[\s:,]", word)[0]


def files_of(outputs: Outputs) -> list[Path]:
    return [path for path in sorted(outputs.folder.rglob("*")) if path.is_file()]


def test_every_kind_of_file_is_among_the_outputs(outputs: Outputs) -> None:
    files = files_of(outputs)
    kinds = {path.suffix for path in files}
    assert kinds >= {".csv", ".html", ".png", ".safetensors", ".json", ".yaml", ".parquet", ".npz"}
    assert any("tfevents" in path.name for path in files)
    assert len(files) > 100


@pytest.mark.parametrize("folder", ["run", "audit"])
def test_the_refused_volumes_are_named_with_their_reasons(folder: str, outputs: Outputs) -> None:
    rows = read_table(outputs.folder / folder / "quarantine.csv")
    found = {row["case_id"]: row["code"] for row in rows}
    assert found == {"p09_1": "E_TRUNCATED", **REFUSED}
    for name, code in found.items():
        assert re.search(rf"- {name} \({name}.*\): {code}, ", outputs.printed)  # by train
        assert code in (outputs.folder / "planned" / "plan.yaml").read_text()


def test_each_line_that_cannot_be_used_is_told_by_the_name_of_its_file(outputs: Outputs) -> None:
    record = json.loads((outputs.folder / "broken" / "audit.json").read_text())
    codes = [item["text"].partition(":")[0] for item in record["manifest"]]
    wanted = ["E_MISSING", "E_IRREGULAR", "E_DUP_PATH", "E_LABEL_CONFLICT", "E_OUTSIDE_ROOT"]
    assert codes == [*wanted, "E_CELLS"]
    refused = {item["case_id"]: item["code"] for item in record["refused"]}
    assert refused == {"p09_1": "E_TRUNCATED", "p00_s": "E_DICOM_PARTS", **REFUSED}
    texts = " ".join(item["text"] for item in record["manifest"])
    for words in ("…/missing.nii.gz does not", "…/none is a", "…/ct.nii.gz leaves the data root;"):
        assert words in texts


def test_a_series_was_read_and_its_case_predicted(outputs: Outputs) -> None:
    for name in ("run/predictions.csv", "predicted/p.csv", "predicted/images.csv"):
        assert "p08_0" in {row["case_id"] for row in read_table(outputs.folder / name)}
    assert not (outputs.folder / "predicted" / "series.csv").exists()


def test_the_planted_words_are_in_the_data(outputs: Outputs) -> None:
    names = [str(path) for path in outputs.data.rglob("*")]
    said = b"".join(
        part
        for path in outputs.data.rglob("*")
        if path.is_file() and not path.name.startswith("p09_1")
        for part in readable(path)
    )
    here = [word for word in PLANTED.values() if word.encode() in said or word in "".join(names)]
    elsewhere = {PLANTED["user"], PLANTED["host"], PLANTED["damaged file's header"]}
    assert set(here) == set(PLANTED.values()) - elsewhere


@pytest.mark.parametrize("place", PLANTED)
def test_a_planted_word_is_in_no_output(place: str, outputs: Outputs) -> None:
    word = first_part(PLANTED[place]).casefold()
    found = [
        str(path.relative_to(outputs.folder))
        for path in files_of(outputs)
        if word in path.name.casefold()
        or any(word.encode() in part.lower() for part in readable(path))
    ]
    assert found == []


@pytest.mark.parametrize("place", ["data", "outputs", "home"])
def test_no_absolute_folder_is_in_any_output(place: str, outputs: Outputs) -> None:
    folders = {"data": outputs.data, "outputs": outputs.folder, "home": Path.home()}
    word = f"{folders[place]}".encode() + (b"/" if place == "home" else b"")
    found = [
        str(path.relative_to(outputs.folder))
        for path in files_of(outputs)
        if any(word in part for part in readable(path))
    ]
    assert found == []


def test_what_is_shown_names_no_person_and_no_machine(outputs: Outputs) -> None:
    # Folders may be shown to who sits there: a message must say where to look.
    allowed = {word for place, word in PLANTED.items() if place.startswith("folder")}
    words = [first_part(word) for word in {*PLANTED.values()} - allowed]
    assert [word for word in words if word in outputs.printed] == []
