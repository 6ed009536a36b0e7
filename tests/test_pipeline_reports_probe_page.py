"""The page of the probes: right figures and words, escaped, nothing from outside, in a browser."""

from __future__ import annotations

import html
import importlib
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest

from pipeline.evaluation.intervals import Estimate
from pipeline.evaluation.probe_results import ProbeEvaluation, ProbeFigures, StageResult
from pipeline.evaluation.probes import KINDS
from pipeline.feature_table import Origin
from pipeline.reports.probe_page import render_probe_page
from pipeline.reports.probe_words import basis, caution, limits, verdict

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "日本語 $x$")
Span = tuple[float | None, float | None, float | None]


def estimate(span: Span) -> Estimate:
    """A figure of (value, low, high)."""
    reason = None if span[1] is not None else "every resampling gives the same value"
    return Estimate(*span, "mean over 5 folds", reason)


def make_found(
    areas: Sequence[Span] = (
        (0.55, 0.45, 0.65),
        (0.62, 0.52, 0.7),
        (0.71, 0.6, 0.8),
        (0.6, 0.5, 0.7),
    ),
    differences: Sequence[Span] = ((-0.05, -0.1, 0.02), (0.02, -0.1, 0.1), (0.11, -0.02, 0.2)),
    *,
    network: str = "poolformer3d_t",
    classes: tuple[str, ...] = ("healthy", "tumour"),
    trained_on: bool = True,
    start: Literal["run", "random", "file"] = "run",
    widening: float = 0.01,
) -> ProbeEvaluation:
    """Figures of a network; all stages together are like the last one, and the probes agree."""
    count = len(areas)
    values = [*map(estimate, areas), estimate(areas[-1])]
    compared = [*map(estimate, differences), None, estimate((0.0, -0.1, 0.1))]
    stages = []
    for place, (value, difference) in enumerate(zip(values, compared, strict=True)):
        named = dict.fromkeys(("auroc", "accuracy", "balanced_accuracy"), value)
        low = None if value.low is None else value.low - widening
        figures = ProbeFigures(named, difference, (0.01,) * 5, (3, 3, 3, 3, 0), low)
        number = place + 1 if place < count else None
        stages.append(StageResult(number, 32 * 2**place, dict.fromkeys(KINDS, figures)))
    weights = {f"fold_{fold}": str(fold) * 64 for fold in range(5)}
    channels = tuple(item.channels for item in stages[:-1])
    origin = Origin(
        network=network, settings="5" * 64, start=start, channels=channels, weights=weights,
        preprocessing="a" * 64, cases="b" * 64, folds="c" * 64, scheme="kfold", classes=classes,
        seed=0,
    )  # fmt: skip
    return ProbeEvaluation(
        origin, "kfold", 158, 30, classes, (0, 1, 2, 3, 4), trained_on, trained_on, 2000, (*stages,)
    )


def test_the_page_shows_every_figure_and_how_it_came_about() -> None:
    page = render_probe_page(make_found())
    for text in ("0.710", "0.600 to 0.800", "+0.110", "-0.020 to +0.200", "0.01*", "fold_4"):
        assert text in page
    assert "The AUROC is highest at stage 3: 0.71 (0.60 to 0.80)" in page
    assert "no stage differs from the last beyond chance." in page
    assert "158 test cases of 30 patients, 2 classes, 5 folds of the run" in page
    assert "96 features" in page
    assert "c" * 12 in page
    assert "c" * 13 not in page
    assert page == render_probe_page(make_found())


def test_the_curve_names_both_probes_chance_and_every_stage() -> None:
    curve = re.findall(r"<svg.*?</svg>", render_probe_page(make_found()), flags=re.DOTALL)
    assert len(curve) == 1
    words = re.findall(r">([^<>]+)</(?:text|tspan)>", curve[0])
    assert {"logistic", "regression", "nearest", "neighbours", "chance", "all"} <= set(words)
    assert [word for word in words if word in "1234"] == list("1234")
    assert "Stage 3: logistic regression 0.710, nearest neighbours 0.710" in curve[0]
    assert "var(--accent)" in curve[0]
    assert "var(--second)" in curve[0]
    assert not re.search(r"#0[1-5]0[1-5]0[1-5]", curve[0])


NO_DIFFERENCE: tuple[Span, ...] = ((-0.1, -0.2, 0.1),)


@pytest.mark.parametrize(
    ("areas", "differences", "kind", "words"),
    [
        (
            ((0.8, 0.7, 0.9), (0.6, 0.5, 0.7)),
            ((0.2, 0.1, 0.3),),
            "good",
            "highest at stage 1: 0.80 (0.70 to 0.90); it ranks better than the last stage.",
        ),
        (
            ((0.6, 0.52, 0.7), (0.7, 0.6, 0.8)),
            ((-0.1, -0.2, -0.01),),
            "good",
            "highest at stage 2: 0.70 (0.60 to 0.80); stage 1 ranks worse than the last",
        ),
        (
            ((0.5, 0.4, 0.6), (0.55, 0.4, 0.7)),
            NO_DIFFERENCE,
            "open",
            "No stage is shown to carry signal: the highest AUROC, 0.55 (0.40 to 0.70) at stage 2",
        ),
        (
            ((0.6, 0.55, 0.65), (0.62, 0.4, 0.8)),
            NO_DIFFERENCE,
            "open",
            "0.62 (0.40 to 0.80), which cannot be told from chance; stage 1 can be.",
        ),
        (((0.3, 0.2, 0.4),), (), "bad", "Every stage ranks below chance"),
        (((1.0, None, None),), (), "open", "highest at stage 1 (1.00, no interval)."),
        (((None, None, None),), (), "open", "cannot be computed"),
    ],
)
def test_the_verdict_says_no_more_than_the_intervals(
    areas: Sequence[Span], differences: Sequence[Span], kind: str, words: str
) -> None:
    found = make_found(areas, differences)
    told = verdict(found)
    assert told.kind == kind
    assert words in told.sentence
    page = render_probe_page(found)
    assert html.escape(told.sentence) in page
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL).lower()


def test_the_best_of_several_stages_must_hold_for_all_looks() -> None:
    assert verdict(make_found(widening=0.09)).kind == "good"
    told = verdict(make_found(widening=0.11))
    assert told.kind == "open"
    assert "by its own interval only" in told.chip


def test_nobody_knows_what_a_file_has_seen() -> None:
    told = limits(make_found(trained_on=False, start="file"))[0]
    assert "if that was trained on any of them, every figure here is too high" in told


def test_the_page_warns_of_many_looks_and_of_networks_that_know_the_cases() -> None:
    found = make_found()
    assert "8 comparisons" in caution(found)
    assert "flatters that stage" in caution(found)
    assert (
        "each fold's network was trained on the cases that its probes learn from"
        in (limits(found)[0])
    )
    fresh = make_found(trained_on=False, start="random")
    assert "trained on none of these cases" in limits(fresh)[0]
    assert "Random features" in basis(fresh)
    assert "Random features" not in basis(found)
    assert "not for clinical use" in limits(found)[-1]


def test_names_are_escaped_and_nothing_is_loaded() -> None:
    page = render_probe_page(make_found(network=HOSTILE[1], classes=HOSTILE))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not re.search(r"<(script|iframe|object|embed|link|base|form|img)", page)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert not re.search(r"https?:|file:|@import|url\((?!#)", page)
    assert set(re.findall(r'(?:src|href)="(.)', page)) <= {"#"}
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)


def test_the_page_needs_no_torch() -> None:
    code = (
        "import sys; import pipeline.reports.probe_page, pipeline.probe; "
        "found = {'torch', 'monai', 'matplotlib.pyplot'} & set(sys.modules); "
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def _browsing() -> ModuleType:
    return importlib.import_module("test_pipeline_reports_browser")


def test_nothing_is_wider_than_a_laptop_or_a_phone(tmp_path: Path) -> None:
    tools = _browsing()
    browser = tools._browser()
    many: list[Span] = [(0.6, 0.5, 0.7)] * 9
    found = make_found(
        many, [(0.0, -0.1, 0.1)] * 8, network="a_network_with_a_long_name_" * 4,
        classes=("a", "a_class_with_a_name_that_goes_on_and_on_without_a_space", "c"),
    )  # fmt: skip
    weights = {**found.origin.weights, "x" * 90: "9" * 64}
    found = replace(found, origin=replace(found.origin, weights=weights))
    page = html.escape(render_probe_page(found).replace("<details>", "<details open>"))
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
