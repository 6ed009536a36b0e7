"""The page of a comparison: right figures and words, escaped, offline, and fit for a phone."""

from __future__ import annotations

import html
import importlib
import re
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from markupsafe import Markup
from matplotlib.figure import Figure

from pipeline.evaluation.comparison_results import ComparisonEvaluation, Pair, Standing
from pipeline.evaluation.competitors import Card, Kind, Start
from pipeline.evaluation.intervals import Estimate
from pipeline.evaluation.paired_tests import PValue
from pipeline.reports import compare_plot
from pipeline.reports.compare_page import matrix, p_text, render_comparison_page, turned
from pipeline.reports.compare_plot import Line, forest_plot
from pipeline.reports.compare_words import chip, limits, line_of, lost, protocol, sentence, warnings

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "日本語 $x$")
Who = tuple[str, Kind, str | None]
VOLUMES: Who = ("volumes", "network", "poolformer3d_t")
SLICES: Who = ("slices", "network", "resnet18")
PROBE: Who = ("probe", "probe", "monai_resnet18")
FROZEN: Who = ("frozen", "probe", "resnet18")
MAJORITY: Who = ("majority", "baseline", None)


def estimate(value: float | None, half: float | None = 0.05) -> Estimate:
    """A figure with an interval of so much to both sides."""
    if value is None:
        return Estimate(None, None, None, "mean over 5 folds", "no case of 'a'")
    if half is None:
        return Estimate(value, None, None, "mean over 5 folds", "one patient gives no interval")
    return Estimate(value, value - half, value + half, "mean over 5 folds")


def make_found(
    who: Sequence[Who] = (VOLUMES, SLICES, MAJORITY),
    areas: Sequence[float | None] = (0.81, 0.79, 0.5),
    p: Sequence[float | None] = (0.4, 0.004, 0.006),
    *,
    start: Start | None = None,
    notes: tuple[str, ...] = (),
    classes: tuple[str, ...] = ("healthy", "tumour"),
    half: float | None = 0.05,
) -> ComparisonEvaluation:
    """Figures of competitors in the order of the ranking; `start` and `notes` are of the last."""
    standings = []
    for place, ((title, kind, network), area) in enumerate(zip(who, areas, strict=True)):
        last = place == len(who) - 1
        card = Card(
            title=title, kind=kind, network=network, start=start if last else None,
            notes=notes if last else (),
        )  # fmt: skip
        figures = dict.fromkeys(("accuracy", "brier", "ece"), estimate(0.7, 0.01))
        standings.append(Standing(title, card, {"auroc": estimate(area, half), **figures}))
    pairs, values = [], iter(p)
    for i in range(len(who)):
        for j in range(i + 1, len(who)):
            first, second, value = areas[i], areas[j], next(values)
            difference = None if first is None or second is None else first - second
            tests = {name: PValue(0.123) for name in ("delong", "mcnemar")}
            tests["resampled_t"] = PValue(None, "fewer than two test folds")
            pairs.append(
                Pair(i, j, estimate(difference, 0.02), estimate(0.1), value, value, 0.25, tests)
            )
    return ComparisonEvaluation(158, 30, classes, 5, 2000, 0, (*standings,), (*pairs,))


def text_of(page: str) -> str:
    """The page without its drawings and style."""
    return re.sub(r"<(svg|style).*?</\1>", "", page, flags=re.DOTALL)


def test_the_page_shows_every_figure_and_how_it_came_about() -> None:
    found = make_found()
    page = render_comparison_page(found)
    for text in (
        "0.810",
        "0.760 to 0.860",
        "-0.020",
        "-0.330 to -0.290",
        "0.400",
        "0.006",
        "0.123",
    ):
        assert text in text_of(page)
    assert "not told apart" in page
    assert "3D network, poolformer3d_t" in page
    assert "All 3 answered the same 158 cases of 30 patients, 2 classes, on the same 5" in page
    assert "How this was computed" in page
    shown = html.unescape(page)
    assert [name for name, told in protocol(found) if name not in shown or told not in shown] == []
    assert page == render_comparison_page(make_found())


@pytest.mark.parametrize(
    ("p", "words", "kind", "short"),
    [
        (
            (0.4, 0.004, 0.006),
            "volumes is best (AUROC 0.81, 0.76 to 0.86); it is not significantly better than "
            "slices; it is better than majority.",
            "open",
            "told apart from 1 of 2 others only",
        ),
        (
            (0.4, 0.4, 0.4),
            "volumes is best (AUROC 0.81, 0.76 to 0.86); it is not significantly better than "
            "slices, majority.",
            "open",
            "No winner",
        ),
        (
            (0.04, 0.04, 0.4),
            "volumes is best (AUROC 0.81, 0.76 to 0.86); it is better than slices, majority.",
            "good",
            "A clear winner",
        ),
        (
            (0.05, None, 0.4),
            "volumes is best (AUROC 0.81, 0.76 to 0.86); it is not significantly better than "
            "slices; it cannot be compared with majority.",
            "open",
            "No winner",
        ),
    ],
)
def test_one_sentence_says_what_the_best_is_not_better_than(
    p: Sequence[float | None], words: str, kind: str, short: str
) -> None:
    found = make_found(p=p)
    assert sentence(found) == words
    assert chip(found)[0] == kind
    assert short in chip(found)[1]
    assert html.escape(words) in render_comparison_page(found)


def test_without_an_auroc_there_is_no_best() -> None:
    found = make_found(areas=(None, None, None), p=(None, None, None))
    assert sentence(found).startswith("None is best")
    assert lost(found) == ""
    assert "no AUROC" in line_of(0, found.standings[0])
    page = render_comparison_page(found)
    assert "nan" not in text_of(page).lower()
    assert "None" not in re.sub("None is best", "", text_of(page))


@pytest.mark.parametrize(
    ("who", "p", "words"),
    [
        ((VOLUMES, SLICES, MAJORITY), 0.4, ""),
        ((PROBE, VOLUMES, SLICES), 0.4, ""),
        ((PROBE, SLICES, VOLUMES), 0.4, ""),
        ((SLICES, PROBE, VOLUMES), 0.4, "ranks above every trained 3D network, the best of which"),
        ((SLICES, MAJORITY), 0.4, ""),
        (
            (SLICES, VOLUMES),
            0.4,
            "3D lost: slices (2D slices, AUROC 0.81, 0.76 to 0.86) ranks above",
        ),
        ((SLICES, VOLUMES), 0.4, "The difference is not significant"),
        ((SLICES, VOLUMES), 0.004, "The difference is significant."),
        ((SLICES, VOLUMES), None, "cannot be computed"),
        ((MAJORITY, PROBE, VOLUMES), 0.4, "3D lost: majority (baseline"),
    ],
)
def test_the_page_says_when_3d_lost(who: Sequence[Who], p: float | None, words: str) -> None:
    areas = (0.81, 0.79, 0.5)[: len(who)]
    found = make_found(who, areas, [p] * (len(who) * (len(who) - 1) // 2))
    assert (words in lost(found)) if words else (lost(found) == "")
    assert ("3D lost" in render_comparison_page(found)) == bool(words)


def test_a_tie_is_neither_a_victory_nor_a_defeat() -> None:
    found = make_found((SLICES, VOLUMES, MAJORITY), (0.8, 0.8, 0.5), (1.0, 0.004, 0.006))
    assert lost(found) == ""
    assert sentence(found) == (
        "slices and volumes are equal and best (AUROC 0.80, 0.75 to 0.85); slices is better than "
        "majority."
    )
    page = render_comparison_page(found)
    assert "Best: slices and volumes." in page
    assert '<td class="judged">equal</td>' in page
    assert "3D lost" not in page
    probe = make_found((SLICES, PROBE, VOLUMES), (0.8, 0.8, 0.5), (1.0, 0.4, 0.4))
    assert lost(probe) == ""


def test_a_shortcut_is_a_red_banner_above_everything() -> None:
    quiet = make_found(notes=("metadata",))
    assert warnings(quiet) == ()
    assert 'class="notice bad"' not in render_comparison_page(quiet)
    assert "no voxels</span>" in render_comparison_page(quiet)
    loud = make_found(areas=(0.81, 0.79, 0.6), notes=("metadata",))
    (text,) = warnings(loud)
    assert text.startswith("Shortcut: the label can be told from metadata alone, without looking")
    page = render_comparison_page(loud)
    assert page.index('class="notice bad" role="alert"') < page.index('class="hero"')
    assert chip(loud)[0] == "bad"
    assert "shortcut</span>" in page


def test_random_features_are_labelled_as_such() -> None:
    who = (VOLUMES, SLICES, FROZEN)
    page = render_comparison_page(make_found(who, start="random"))
    assert 'class="mark">random features</span>' in page
    assert "untrained: random features" in line_of(2, make_found(who, start="random").standings[2])
    other = render_comparison_page(make_found(who, start="pretrained"))
    assert "random features</span>" not in other
    assert "pretrained features" in other


def test_weights_from_a_file_are_a_limit_of_the_evidence() -> None:
    assert not any("weights from a file" in text.lower() for text in limits(make_found()))
    (said,) = [t for t in limits(make_found(start="file")) if "weights from a file" in t]
    assert "(majority)" in said
    assert "not for clinical use" in limits(make_found())[-1]


def test_the_matrix_turns_its_signs_at_the_diagonal() -> None:
    cells = matrix(make_found())
    assert [[cell.difference for cell in row] for row in cells] == [
        ["", "+0.020", "+0.310"],
        ["-0.020", "", "+0.290"],
        ["-0.310", "-0.290", ""],
    ]
    assert [cell.share > 0 for cell in cells[0]] == [False, False, True]
    assert cells[2][0].p == cells[0][2].p == "0.004"


def test_a_difference_turned_twice_is_itself() -> None:
    value = Estimate(0.1, -0.05, 0.2, "paired")
    assert turned(value) == Estimate(-0.1, -0.2, 0.05, "paired")
    assert turned(turned(value)) == value
    assert f"{turned(Estimate(0.0, None, None, '')).estimate:+.3f}" == "+0.000"


def test_p_values_are_never_shown_as_zero() -> None:
    assert p_text(0.0004) == "<\u00a00.001"
    assert p_text(0.0126) == "0.013"
    assert p_text(None) == "\N{EN DASH}"


def test_the_forest_says_in_words_what_it_shows() -> None:
    drawings = re.findall(r"<svg.*?</svg>", render_comparison_page(make_found()), flags=re.DOTALL)
    assert len(drawings) == 2
    assert "volumes 0.810 0.760 to 0.860; slices 0.790" in drawings[0]
    assert "slices -0.020 -0.040 to" in drawings[1]
    for variable in ("--accent", "--second", "--muted"):
        assert f"var({variable})" in drawings[0]
    words = re.findall(r">([^<>]+)</(?:text|tspan)>", drawings[0])
    assert {"1  volumes", "2  slices", "3  majority", "AUROC"} <= set(words)


def test_a_forest_of_figures_without_intervals_is_drawn() -> None:
    lines = [Line("a" * 60, estimate(1.0, None), "other"), Line("b", estimate(None), "slices")]
    drawn = forest_plot(lines, "x", "none", label="AUROC", reference=0.5, bounded=True)
    assert "a" * 20 + "…" in drawn
    assert "a" * 21 not in drawn
    assert "nan" not in drawn


def test_names_are_escaped_and_nothing_is_loaded() -> None:
    who: list[Who] = [(text, "network", text) for text in HOSTILE]
    page = render_comparison_page(make_found(who, classes=HOSTILE, notes=HOSTILE))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.search(r"<(script|iframe|object|embed|link|base|form|img)", page)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert not re.search(r"https?:|file:|@import|url\((?!#)", page)
    assert set(re.findall(r'(?:src|href)="(.)', page)) <= {"#"}
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)


def _browsing() -> ModuleType:
    return importlib.import_module("test_pipeline_reports_browser")


def test_nothing_is_wider_than_a_laptop_or_a_phone(tmp_path: Path) -> None:
    tools = _browsing()
    browser = tools._browser()
    long = "a_run_with_a_name_that_goes_on_and_on_without_a_space" * 2
    who: list[Who] = [(f"{long}_{place}", "network", long) for place in range(8)]
    areas = [0.9 - place / 20 for place in range(8)]
    found = make_found(who, areas, [0.01] * 28, start="random", notes=("metadata", long))
    page = html.escape(render_comparison_page(found).replace("<details>", "<details open>"))
    frames = "".join(tools._FRAME.format(page=page, width=width) for width in tools.WIDTHS)
    outer = tmp_path / "outer.html"
    outer.write_text(tools._MEASURE.replace("{frames}", frames))
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    log = ("--enable-logging=stderr", "--v=0")
    done = subprocess.run(
        [browser, *tools._FLAGS, *log, profile, "--window-size=1800,3000", "--dump-dom",
         outer.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )  # fmt: skip
    measured = re.findall(r'<p id="found">(.*?)</p>', done.stdout, flags=re.DOTALL)
    expected = "; ".join(f"width {width} blank 0 wide 0 undefined" for width in tools.WIDTHS)
    assert measured == [expected]
    assert "Content Security Policy" not in done.stderr
    assert "CONSOLE" not in done.stderr


@pytest.mark.parametrize("low", [-0.6, -0.25, -0.04, 0.35])
def test_ticks_of_the_forest_plot_keep_apart(low: float, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []

    def kept(figure: Figure, name: str, alt: str) -> Markup:
        drawn.append(figure)
        return Markup()

    monkeypatch.setattr(compare_plot, "inline_svg", kept)
    line = Line("a run", Estimate(low + 0.1, low, low + 0.2, ""), "volume")
    forest_plot([line], "plot", "", label="AUROC", reference=0.0, bounded=False)
    (figure,) = drawn
    figure.draw_without_rendering()
    ticks = figure.axes[0].xaxis.get_major_ticks()
    boxes = [tick.label1.get_window_extent() for tick in ticks]
    shown = sorted((box.x0, box.x1) for box in boxes if box.width > 0)
    assert len(shown) >= 3
    assert all(left[1] < right[0] for left, right in pairwise(shown))
