"""Which slices speak: told without claiming more than is seen, and drawn in the page."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from slice_runs import ALL, HOSTILE, even, made_by, make_slice_run, nearly_even, wandering

from pipeline.reports.page import write_report
from pipeline.reports.run_files import read_run
from pipeline.reports.slice_plots import steps
from pipeline.reports.slice_section import case_strip, slice_section
from pipeline.reports.slice_words import class_prior
from pipeline.storage import write_text


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_a_run_without_slices_has_no_word_of_them(empty: Path) -> None:
    made_by("page").make_run(empty, pictures=False)
    run = read_run(empty)
    page = write_report(empty).page.read_text()
    assert run.slices is None
    assert slice_section(run) is None
    assert case_strip(run, 0, "strip0") is None
    assert "#slices" not in page
    assert "Which slices" not in page
    assert "Start of the" not in page
    assert "Jain and Wallace" not in page


def test_the_page_names_the_heaviest_slice_and_draws_a_strip_a_case(empty: Path) -> None:
    make_slice_run(empty)
    page = write_report(empty).page.read_text()
    assert re.search(
        r"Axial slice 3 of 16 weighs most: on average over 30 cases \d+\s% of the weight, "
        r"[34]\.\d times an even share of 6\.2\s%\.",
        page,
    )
    assert '<a href="#slices">Slices</a>' in page
    assert page.count('aria-label="Slices of case') == 12
    assert page.count("<figcaption style=") == 12
    assert page.count("Axial slices from bottom to top") == 1
    assert "Jain and Wallace 2019" in page
    assert "</strong>all 16 slices</figcaption>" in page
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)
    assert len(page) < 600_000


def test_every_axis_has_a_drawing_and_its_share_of_the_weight(empty: Path) -> None:
    make_slice_run(empty, ("a", "b", "c"), ALL)
    section = slice_section(read_run(empty))
    assert section is not None
    assert [item.title for item in section.drawings] == ["Axial", "Coronal", "Sagittal"]
    assert section.drawings[0].detail.startswith("8 of 16 slices, ")
    shares = [int(re.findall(r"(\d+)\s%", item.detail)[0]) for item in section.drawings]
    assert sum(shares) == pytest.approx(100, abs=2)
    assert "half the sum over the classes" in section.reading[1]
    for item in section.drawings:
        root = ET.fromstring(item.svg.replace("xlink:href", "href"))
        assert {e.text for e in root.iter() if e.tag == "text"} >= {"weight, %", "|p - prior|"}


def test_weights_near_even_are_not_made_much_of(empty: Path) -> None:
    make_slice_run(empty, weigh=nearly_even, patients=40)
    section = slice_section(read_run(empty))
    assert section is not None
    assert section.seen.startswith("No slice stands out")
    assert "1.00 times an even share" in section.seen
    assert "single case" not in section.seen
    assert not section.equal


def test_heavy_slices_at_changing_places_are_told_apart_from_even_weights(empty: Path) -> None:
    make_slice_run(empty, weigh=wandering, scans=6, patients=60)
    section = slice_section(read_run(empty))
    assert section is not None
    assert section.seen.startswith("No slice stands out")
    assert "In a single case the heaviest slice has on average 8.5 even shares" in section.seen


@pytest.mark.parametrize(
    ("pool", "reason"), [("mean", "the mean over slices"), ("gru", "recurrent units")]
)
def test_equal_weights_are_said_to_say_nothing_and_not_drawn(
    empty: Path, pool: str, reason: str
) -> None:
    make_slice_run(empty, weigh=even, model={"slices": {"pool": pool}})
    run = read_run(empty)
    section, strip = slice_section(run), case_strip(run, 0, "strip0")
    assert section is not None
    assert strip is not None
    assert section.equal
    assert section.seen.startswith("Every slice has the same weight")
    assert reason in section.seen
    assert "weight" not in section.drawings[0].svg
    assert "weight" not in strip.caption
    page = write_report(empty).page.read_text()
    assert "\u00a0% of the weight" not in page
    assert "Jain and Wallace" not in page


def test_one_slice_a_case_is_compared_with_nothing(empty: Path) -> None:
    make_slice_run(empty, axes=(("coronal", 9, (4,)),), weigh=even)
    assert "reads one slice of each case" in write_report(empty).page.read_text()


def test_max_pooling_calls_weights_what_they_are(empty: Path) -> None:
    make_slice_run(empty, model={"slices": {"pool": "max"}})
    section = slice_section(read_run(empty))
    assert section is not None
    assert section.reading[0].startswith("Weight: the share of the features that a slice wins")


def test_a_strip_marks_the_heaviest_slice_of_its_case(empty: Path) -> None:
    make_slice_run(empty, axes=ALL, weigh=wandering)
    run = read_run(empty)
    assert run.slices is not None
    for row in range(6):
        strip = case_strip(run, row, f"strip{row}")
        assert strip is not None
        axis, index = run.slices.place(int(run.slices.weights[row].argmax()))
        assert strip.caption.startswith(f"Heaviest: {axis.name} slice {index} with ")
        root = ET.fromstring(strip.svg.replace("xlink:href", "href"))
        words = [e.text for e in root.iter() if e.tag == "text"]
        assert words.count(f"slice {index}") == 1
        assert [word for word in words if word and word.startswith("slice ")] == [f"slice {index}"]
        assert "var(--accent)" in strip.svg
        assert len(strip.svg) < 20_000


def test_the_prior_is_even_where_training_balances_the_classes(empty: Path) -> None:
    make_slice_run(empty, patients=41)
    run = read_run(empty)
    assert class_prior(run).tolist() == pytest.approx([63 / 123, 60 / 123])
    config = yaml.safe_load((empty / "config.yaml").read_text())
    config["train"]["class_weights"] = "balanced"
    write_text(empty / "config.yaml", yaml.safe_dump(config))
    assert class_prior(read_run(empty)).tolist() == [0.5, 0.5]
    assert "equal chances of all classes" in write_report(empty).page.read_text()


def test_hostile_names_are_escaped_and_equal_files_give_equal_bytes(
    empty: Path, tmp_path: Path
) -> None:
    make_slice_run(empty, HOSTILE, names={row: f"{HOSTILE[1]}{row}" for row in range(30)})
    config = yaml.safe_load((empty / "config.yaml").read_text())
    config["model"] = {"init": HOSTILE[0], "weights": "/home/you/secret/net.pth"}
    write_text(empty / "config.yaml", yaml.safe_dump({**config, "report": {"gallery": 5}}))
    page = write_report(empty).page.read_text()
    assert "<script" not in page
    assert "<img " not in page
    assert not re.search(r"https?:|//\w", page)
    assert "/home/" not in page
    assert page == write_report(empty, tmp_path / "again").page.read_text()


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30).map(sorted))
def test_colours_deepen_with_the_distance_from_the_prior(lean: list[float]) -> None:
    found = steps(np.asarray(lean))
    assert (np.diff(found) >= 0).all()
    assert set(np.abs(found).tolist()) <= {1, 2, 3, 4, 5}
    assert ((found > 0) == (np.asarray(lean) >= 0)).all()


def test_features_of_an_untrained_network_are_told_at_the_top(empty: Path) -> None:
    make_slice_run(empty, model={"slices": {"pool": "attention", "frozen": True}})
    report = write_report(empty)
    assert "those of an untrained network" in report.notices[0]
    page = report.page.read_text()
    assert page.index("untrained network") < page.index('class="hero"')
    assert "Start of the weights: random." in page


def test_slices_are_not_wider_than_a_laptop_or_a_phone(tmp_path: Path) -> None:
    measure, run = made_by("browser"), tmp_path / "run"
    browser = measure._browser()
    run.mkdir()
    long = "a_class_with_a_name_that_goes_on_and_on_without_a_space_and_on_and_on_until_the_end"
    make_slice_run(run, ("a", long, "c"), ALL, names={0: "x" * 150})
    page = html.escape(write_report(run).page.read_text())
    frames = "".join(measure._FRAME.format(page=page, width=width) for width in measure.WIDTHS)
    outer = tmp_path / "outer.html"
    outer.write_text(measure._MEASURE.replace("{frames}", frames))
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [browser, *measure._FLAGS, profile, "--window-size=1800,3000", "--dump-dom",
         outer.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    found = re.findall(r'<p id="found">(.*?)</p>', done.stdout, flags=re.DOTALL)
    assert found == ["; ".join(f"width {w} blank 0 wide 0 undefined" for w in measure.WIDTHS)]
    assert "Content Security Policy" not in done.stderr
