"""Drawings are small, clean SVG, leave matplotlib's state alone, and words fit their numbers."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure

from pipeline.evaluation.calibration import ReliabilityBin
from pipeline.evaluation.curves import GRID, Curve
from pipeline.evaluation.intervals import Estimate
from pipeline.reports.plots import (
    best_epoch,
    learning_plot,
    precision_recall_plot,
    reliability_plot,
    roc_plot,
)
from pipeline.reports.run_tables import Epoch
from pipeline.reports.svg import drawing, inline_svg
from pipeline.reports.wording import counted, interval, number, verdict

CURVE = Curve(np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.8, 1.0]), GRID * 0.5, GRID)
EPOCHS = [
    Epoch(1, 0.9, 0.8, None, best=True, seconds=1.0),
    Epoch(2, 0.5, None, 0.7, best=True, seconds=None),
    Epoch(3, 0.4, 0.9, 0.6, best=False, seconds=1.0),
]


def drawings() -> list[Markup]:
    bins = [ReliabilityBin(9, 4, 0.62, 0.5, 0.2, 0.8), ReliabilityBin(14, 6, 0.97, 1.0, 0.9, 1.0)]
    return [
        roc_plot(CURVE, "one", "about"),
        precision_recall_plot(CURVE, 0.95, "two", "about", compact=True),
        reliability_plot(bins, "three", "about"),
        learning_plot(EPOCHS, "four", "about"),
        learning_plot(EPOCHS[:1], "five", "about"),
    ]


def test_drawings_are_whole_sizeless_and_take_the_pages_colours() -> None:
    for svg in drawings():
        root = ET.fromstring(svg.replace("xlink:href", "href"))
        assert root.get("role") == "img"
        assert root.get("aria-label") == "about"
        assert root.get("viewBox")
        assert root.get("width") is None
        assert "var(--" in svg
        assert "http" not in svg
        assert "DejaVu" not in svg
        assert len(svg) < 60_000
        assert [e for e in root.iter() if e.tag == "text"]


def test_drawing_twice_gives_the_same_and_touches_no_global_setting() -> None:
    before = dict(mpl.rcParams)
    assert drawings() == drawings()
    assert dict(mpl.rcParams) == before


def test_text_in_a_drawing_is_text_and_nothing_else() -> None:
    with drawing():
        figure = Figure(figsize=(2, 2))
        figure.text(0.1, 0.5, '<script> $x$ id="a" #010101 日本')
        svg = inline_svg(figure, "n", '"><script>')
    root = ET.fromstring(svg)
    assert [e.text for e in root.iter() if e.tag == "text"] == ['<script> $x$ id="a" #010101 日本']
    assert root.get("aria-label") == '"><script>'
    assert "<script" not in svg


def test_the_kept_epoch_is_the_last_best_one() -> None:
    assert best_epoch(EPOCHS) == 2
    assert best_epoch(()) is None


@pytest.mark.parametrize(
    ("estimate", "kind"),
    [
        (Estimate(0.8, 0.6, 0.9, "m"), "good"),
        (Estimate(0.6, 0.4, 0.8, "m"), "open"),
        (Estimate(0.2, 0.1, 0.3, "m"), "bad"),
        (Estimate(0.8, None, None, "m", "one patient"), "open"),
        (Estimate(None, None, None, "m", "no case"), "open"),
    ],
)
def test_the_verdict_follows_the_interval_not_the_estimate(estimate: Estimate, kind: str) -> None:
    assert verdict(estimate)[0] == kind


def test_numbers_and_counts_read_well() -> None:
    assert number(None) == interval(Estimate(0.5, None, None, "m")) == "\N{EN DASH}"
    assert interval(Estimate(0.5, 0.25, 0.75, "m"), 2) == "0.25 to 0.75"
    assert [counted(1, "class"), counted(2, "class"), counted(0, "case")] == [
        "1 class",
        "2 classes",
        "0 cases",
    ]
