"""Text of a manifest that was made to do harm stays text in every table and on every page."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import SMALL, Lines, write_volumes
from leak_makers import write_rows
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.compare import compare
from pipeline.config_file import load_config
from pipeline.crossval import cross_validate
from pipeline.features import extract
from pipeline.predict import predict
from pipeline.progress import Silent
from pipeline.storage import read_table

HOSTILE = (
    '=HYPERLINK("http://x.example","y")',
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "{{ 7 * 7 }}",
    "javascript:alert(1)",
    "\x1b[31mred",
)
#: Blanks at the ends of an identity are refused, but the name of a file may begin with them.
BLANK = ("\t=1+1", "\r=1+1")
LABELS = (HOSTILE[0], HOSTILE[2])
STARTS = ("=", "+", "-", "@", "\t", "\r")


class Seen(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes an element."""
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Notes text."""
        self.text += data


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, predictions, features and a comparison of cases with hostile names."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "data").mkdir()
    rows = read_table(write_volumes(folder / "data"))
    names = [*HOSTILE, *(f"{text}2" for text in HOSTILE)]
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        patient = HOSTILE[number // 2]
        site = HOSTILE[number % len(HOSTILE)]
        file = name.replace("/", "_") + ".nii.gz"
        (folder / "data" / row["image"]).rename(folder / "data" / file)
        label = LABELS[row["label"] == "left"]
        row.update(image=file, case_id=name, patient_id=patient, site=site, label=label)
    manifest = write_rows(folder / "data" / "manifest.csv", rows)
    settings = [*SMALL, f"data.manifest={manifest}", "train.epochs=1", "report.gallery=20"]
    out = folder / "out"
    cross_validate(load_config("base", settings), out / "run", Silent())
    predict(out / "run", [str(manifest)], out / "p.csv", Silent())
    new = folder / "new"
    new.mkdir()
    for text in BLANK:
        (new / f"{text}.nii.gz").write_bytes((folder / "data" / rows[0]["image"]).read_bytes())
    predict(out / "run", [str(new)], out / "new.csv", Silent())
    extract(out / "run", [], out / "f.parquet", Silent())
    compare([out / "run", again(folder, settings)], out / "compared", Silent())
    return out


def again(folder: Path, settings: list[str]) -> Path:
    """Another run on the folds of the first one, whose folder has a hostile name."""
    run = folder / "out" / HOSTILE[2].replace("/", "_")
    cross_validate(load_config("base", [*settings, "train.lr=0.01"]), run, Silent())
    return run


def cells(out: Path) -> Iterator[tuple[Path, str]]:
    """Every cell of every table, as a spreadsheet reads it."""
    for path in sorted(out.rglob("*.csv")):
        with path.open(newline="", encoding="utf-8") as handle:
            for line in csv.reader(handle):
                for cell in line:
                    yield path, cell


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_no_cell_of_any_table_is_a_formula(outputs: Path) -> None:
    found = list(cells(outputs))
    assert {path.name for path, _ in found} >= {"predictions.csv", "log.csv", "p.csv", "new.csv"}
    unsafe = [item for item in found if item[1].startswith(STARTS) and not is_number(item[1])]
    assert unsafe == []
    text = {cell for _, cell in found}
    for name in (*HOSTILE, *BLANK):
        assert {name, f"'{name}"} & text, name


def test_tables_are_read_back_as_they_were_meant(outputs: Path) -> None:
    rows = read_table(outputs / "run" / "predictions.csv")
    assert {row["case_id"] for row in rows} >= set(HOSTILE)
    assert {row["patient_id"] for row in rows} == set(HOSTILE)
    assert {row["label"] for row in rows} == set(LABELS)
    assert {f"p_{label}" for label in LABELS} <= set(rows[0])
    assert {row["case_id"] for row in read_table(outputs / "new.csv")} == set(BLANK)


def test_pages_show_hostile_text_and_obey_none(outputs: Path) -> None:
    pages = sorted(outputs.rglob("index.html"))
    assert len(pages) == 3
    for page in pages:
        seen = Seen()
        seen.feed(page.read_text(encoding="utf-8"))
        assert not seen.tags & {"script", "iframe", "object", "embed", "base", "form", "link"}
        assert [name for name, _ in seen.attributes if name.startswith("on")] == []
        links = [value for name, value in seen.attributes if name in ("src", "href", "action")]
        assert [
            link for link in links if not link.startswith(("data:image/png;base64,", "#"))
        ] == []
        assert LABELS[0] in seen.text or LABELS[1] in seen.text


def test_every_name_stands_on_the_page_of_its_run(outputs: Path) -> None:
    seen = Seen()
    seen.feed((outputs / "run" / "report" / "index.html").read_text(encoding="utf-8"))
    whole = seen.text + "".join(value for _, value in seen.attributes)
    assert [name for name in LABELS if name not in whole] == []


def test_pictures_stay_in_their_folder_under_harmless_names(outputs: Path) -> None:
    pictures = list((outputs / "run" / "cases").iterdir())
    assert len(pictures) == 20
    assert all(set(path.name) <= set(SAFE) for path in pictures)


SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"


def test_json_keeps_the_names_as_data(outputs: Path) -> None:
    document = json.loads((outputs / "run" / "folds.json").read_text())
    assert set(HOSTILE) <= set(document["cases"])
    assert sorted(document["classes"]) == sorted(LABELS)


def test_lines_that_are_shown_carry_no_command_of_a_terminal(outputs: Path, lines: Lines) -> None:
    data = outputs.parent / "data"
    run = outputs / "run"
    predict(run, [str(data / "manifest.csv")], outputs.parent / "shown.csv", lines)
    assert [text for text in lines.shown if "\x1b" in text] == []


@pytest.fixture(scope="module")
def wrong(outputs: Path) -> Path:
    """A manifest with a copy under another patient and a damaged file, all with such names."""
    data = outputs.parent / "data"
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    copy, bad = "\x1b[32mcopy.nii.gz", "\x1b[33mbad.nii.gz"
    (data / copy).write_bytes((data / rows[0]["image"]).read_bytes())
    (data / bad).write_bytes(b"no volume")
    for image, case_id in ((copy, "\x1b]0;owned\x07copy"), (bad, "\x1b[33mbad")):
        rows.append(rows[0] | {"image": image, "case_id": case_id, "patient_id": "\x1b[34mwho"})
    return write_rows(data / "wrong.csv", rows)


@pytest.mark.usefixtures("quick_probe")
@pytest.mark.parametrize(
    ("verb", "allowed", "code", "told"),
    [
        ("audit", 0, 3, "E_DUP_CONTENT"),
        ("train", 0, 3, "E_NOT_NIFTI"),
        ("train", 1, 3, "E_DUP_CONTENT"),
        ("plan", 0, 0, "E_NOT_NIFTI"),
    ],
)
def test_what_is_printed_of_wrong_data_carries_no_command_of_a_terminal(
    verb: str, allowed: int, code: int, told: str, wrong: Path, tmp_path: Path
) -> None:
    start = [str(wrong)] if verb == "plan" else ["-c", "base", f"data.manifest={wrong}", *SMALL]
    quick = ["system.workers=0", "system.threads=1", f"data.max_quarantine={allowed}", SMALL[3]]
    words = [verb, *start, *quick, "--out", str(tmp_path / "out.yaml")]
    result = CliRunner().invoke(app, words, color=True)
    assert result.exit_code == code, result.output
    assert told in result.output
    assert "?[33mbad" in result.output or "?]0;owned?copy" in result.output
    assert {letter for letter in result.output if not letter.isprintable()} == {"\n"}
