"""The page of an audit: what it shows, in which words, and that it fits a phone."""

from __future__ import annotations

import html
import importlib
import io
import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from pipeline.evaluation.audit_record import (
    Area,
    AuditedVolume,
    AuditRecord,
    Decision,
    Doubt,
    GroupRow,
    GroupTable,
    Outlier,
    Pair,
    RefusedVolume,
    Shortcut,
    Straddler,
)
from pipeline.reports.audit_page import render_audit_page
from pipeline.reports.audit_pictures import (
    MOST_OUTLIERS,
    MOST_PAIRS,
    pictured,
    pictured_outliers,
)
from pipeline.reports.audit_words import console_lines, listed

AREA = Area(estimate=0.91, low=0.85, high=0.96, method="m")


def volume(name: str) -> AuditedVolume:
    return AuditedVolume(
        case_id=name,
        patient_id=f"patient_{name}",
        label="tumour",
        site="north",
        split="train",
        file=f"{name}.nii.gz",
        voxel_type="int16",
        file_format="nifti",
        spacing=(1.0, 1.0, 3.0),
        shape=(100, 100, 40),
        orientation="RAS",
        tilt=0.0,
        lowest=0.0,
        highest=1000.0,
    )


def record(names: int = 4, long: str = "", **changes: object) -> AuditRecord:
    """A record with nothing to decide, changed as wanted."""
    volumes = tuple(volume(f"c{number}{long}") for number in range(names))
    plain = AuditRecord(
        cases=names,
        patients=names,
        patients_assumed=False,
        classes=("healthy", "tumour"),
        decisions=(),
        refused=(),
        allowed=0,
        doubts=(),
        pairs=(),
        nearest=0.4,
        straddlers=(),
        mixed_patients={},
        outliers=(),
        tables=(),
        scans={1: names},
        shortcut=Shortcut(auroc=Area(estimate=0.5, low=0.4, high=0.6, method="m"), folds=5),
        volumes=volumes,
    )
    return plain.model_copy(update=changes)


def eventful(long: str = "") -> AuditRecord:
    """Something in every section; `long` is added to every name."""
    row = GroupRow(group=f"north{long}", cases=4, patients=4, counts=(1, 3))
    first, second = f"c0{long}", f"c1{long}"
    refused = RefusedVolume(
        case_id=f"bad{long}", label="tumour", file=f"bad{long}.nii", code="E_CRC",
        reason=f"it is damaged {long}", remedy="copy it again",
    )  # fmt: skip
    return record(
        long=long,
        patients_assumed=True,
        decisions=(Decision(code="E_REFUSED", what="one", remedy="mend it", cases=(first,)),),
        refused=(refused,),
        doubts=(Doubt(case_id=first, file=f"{first}.nii", code="W_SLOPE", text=f"odd {long}"),),
        pairs=tuple(
            Pair(kind="near", first=first, second=second, distance=0.01, mirrored=("x",),
                 differs=("patient",))
            for _ in range(MOST_PAIRS + 1)
        ),
        straddlers=(Straddler(patient_id=f"p{long}", parts={"test": (first,), "train": ("y",)}),),
        mixed_patients={f"p{long}": ("healthy", "tumour")},
        outliers=(Outlier(case_id=second, code="W_SPACING_OUTLIER", text="far too thick"),),
        tables=(GroupTable(name="site", rows=(row, row)),),
        shortcut=Shortcut(auroc=AREA, folds=5, tells=True, notes=("spacing",)),
    )  # fmt: skip


def png(width: int = 480) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (width, 180), 90).save(stream, format="PNG")
    return stream.getvalue()


def text_of(page: str) -> str:
    bare = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def test_a_clean_set_is_told_so() -> None:
    told = text_of(render_audit_page(record(), {}))
    assert "Nothing wrong was found. All 4 volumes can be read." in told
    assert "Things to decide before training 0" in told
    assert "Shortcut: the label" not in told


def test_everything_found_is_on_the_page() -> None:
    found = eventful()
    page = render_audit_page(found, {name: png() for name in pictured(found)})
    told = text_of(page)
    for words in (
        "Do not train yet",
        "Shortcut: the label can be told from metadata alone.",
        "AUROC 0.91, 95 % interval 0.85 to 0.96",
        "The manifest has no patient column.",
        "it is damaged",
        "By class: healthy 0 of 0, tumour 1 of 5",
        "Nearly the same picture, mirrored: left and right exchanged; other patients",
        "distance 0.010",
        "Further pairs",
        "Spacing : far too thick",
        "W_SLOPE",
        "By site",
        "test: c0; train: y",
        "1 of 4. That is no mistake",
    ):
        assert words in told, words
    assert 'class="notice bad"' in page
    assert page.count("<img ") == 2 * MOST_PAIRS + 1


def test_a_volume_without_a_picture_is_still_shown() -> None:
    assert "no picture" in text_of(render_audit_page(eventful(), {}))


def test_outliers_of_the_picture_are_shown_before_those_of_the_header() -> None:
    codes = ["W_ORIENTATION_OTHER", "W_SPACING_OUTLIER", "W_SPACING_OUTLIER"]
    names = ["turned", "thick", "thick"]
    found = tuple(
        Outlier(case_id=name, code=code, text="t") for name, code in zip(names, codes, strict=True)
    )
    assert pictured_outliers(record(outliers=found)) == ("thick", "turned")
    many = tuple(Outlier(case_id=str(n), code="W_MODALITY", text="t") for n in range(99))
    assert len(pictured_outliers(record(outliers=many))) == MOST_OUTLIERS


def test_outliers_beyond_the_pictures_are_in_a_table() -> None:
    names = [f"c{number}" for number in range(MOST_OUTLIERS + 3)]
    many = tuple(Outlier(case_id=name, code="W_MODALITY", text="other") for name in names)
    told = text_of(render_audit_page(record(len(names), outliers=many), {}))
    assert "Further ones" in told
    assert all(re.search(rf"\b{name}\b", told) for name in names)


def test_the_console_says_each_decision_and_its_remedy() -> None:
    lines = console_lines(eventful())
    assert lines[0].startswith("Do not train yet")
    assert lines[1:3] == ["1. E_REFUSED: one: c0", "   what to do: mend it"]


@pytest.mark.parametrize(("count", "end"), [(5, "c4"), (6, "c4 and 1 more")])
def test_a_long_list_is_cut_short(count: int, end: str) -> None:
    assert listed([f"c{n}" for n in range(count)]).endswith(end)


@pytest.mark.parametrize("found", [record(), record(0), eventful()])
def test_equal_records_give_equal_pages(found: AuditRecord) -> None:
    assert render_audit_page(found, {}) == render_audit_page(found, {})


def test_nothing_is_wider_than_a_laptop_or_a_phone(tmp_path: Path) -> None:
    tool = importlib.import_module("test_pipeline_reports_browser")
    found = eventful("_goes_on_and_on_without_a_space" * 4)
    page = html.escape(render_audit_page(found, {name: png() for name in pictured(found)}))
    frames = "".join(tool._FRAME.format(page=page, width=width) for width in tool.WIDTHS)
    outer = tmp_path / "outer.html"
    outer.write_text(tool._MEASURE.replace("{frames}", frames))
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    words = [tool._browser(), *tool._FLAGS, profile, "--window-size=1800,3000", "--dump-dom"]
    done = subprocess.run(
        [*words, outer.as_uri()], check=True, capture_output=True, text=True, timeout=60
    )
    measured = re.findall(r'<p id="found">(.*?)</p>', done.stdout, flags=re.DOTALL)
    wanted = "; ".join(f"width {width} blank 0 wide 0 undefined" for width in tool.WIDTHS)
    assert measured == [wanted]
    assert "Content Security Policy" not in done.stderr
