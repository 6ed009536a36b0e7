"""The page of a search: right figures and words, escaped, nothing from outside, in a browser."""

from __future__ import annotations

import html
import importlib
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import JsonValue

from pipeline.reports.tune_page import render_tune_page
from pipeline.reports.tune_words import honest, optimism, protocol
from pipeline.tune_config import Dimension
from pipeline.tune_record import Curve, Fold, Monitor, State, Subject, Trial

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "日本語 $x$")
SPACE = {
    "train.lr": Dimension(low=1e-4, high=1e-1, log=True),
    "train.batch_size": Dimension(low=8, high=32, step=8),
    "model.mixer": Dimension(choices=("pool", "identity", "conv")),
}


def make_subject(
    monitor: Monitor = "auroc",
    *,
    space: dict[str, Dimension] | None = None,
    name: str = "mr_patches",
    scheme: str = "kfold",
    folds: int = 1,
    untouched: tuple[int, ...] = (0,),
    seeds: int = 1,
) -> Subject:
    parts = [Fold(fold=k, train=90, validation=30, patients=7) for k in range(folds)]
    return Subject(
        name=name, monitor=monitor, seed=3, startup=5, pruner="median", spared=2,
        space=SPACE if space is None else space, settings={"train.seeds": seeds}, scheme=scheme,
        folds_sha256="f" * 64, folds=tuple(parts), fold_count=5, untouched=untouched,
    )  # fmt: skip


def make_trial(
    number: int,
    state: State,
    *figures: float,
    reason: str | None = None,
    parameters: Mapping[str, JsonValue] | None = None,
) -> Trial:
    chosen: dict[str, JsonValue] = {
        **{"train.lr": 0.00123456, "train.batch_size": 16, "model.mixer": "pool"},
        **(parameters or {}),
    }
    curves = (Curve(fold=0, replica=0, figures=figures),) if figures else ()
    value = max(figures) if state == "complete" else None
    return Trial(
        number=number, parameters=chosen, state=state, value=value, curves=curves, reason=reason,
        seconds=12.4,
    )  # fmt: skip


TRIALS = (
    make_trial(0, "complete", 0.6, 0.712),
    make_trial(1, "complete", 0.5, 0.834, parameters={"model.mixer": "conv"}),
    make_trial(2, "pruned", 0.555, reason="fold 0: behind the median"),
    make_trial(3, "failed", reason="the loss is not finite"),
)


def drawings(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)


def test_the_page_shows_every_trial_and_the_best_settings() -> None:
    page = render_tune_page(make_subject(), TRIALS, "5.0.0")
    for text in ("0.712", "0.834", "0.555", "behind the median", "the loss is not finite"):
        assert text in page
    assert "Trial 1 has the best validation AUROC of 2 complete trials: 0.834" in page
    assert "on 30 validation cases of 7 patients" in page
    best = re.findall(r'<td class="wide value">(.*?)</td>', page)
    assert best == ["0.001235", "16", "conv"]
    assert page.count('<span class="mark">best</span>') == 1
    assert "0.0001 to 0.1, on a logarithmic scale" in page
    assert "8 to 32 in steps of 8" in page
    assert "one of pool, identity, conv" in page
    assert page == render_tune_page(make_subject(), TRIALS, "5.0.0")


def test_there_is_a_history_and_a_picture_of_each_parameter() -> None:
    found = drawings(render_tune_page(make_subject(), TRIALS, "5.0.0"))
    assert len(found) == 4
    assert "best is 0.834" in found[0]
    words = [re.findall(r">([^<>]+)</(?:text|tspan)>", item) for item in found]
    assert {"0.001", "0.01", "0.1"} <= set(words[1])
    assert {"8", "32"} <= {word.strip() for word in words[2]} | {"8", "32"}
    assert {"pool", "identity", "conv"} <= set(words[3])
    for item in found:
        assert "mathdefault" not in item
        assert "var(--second)" in item
        assert not re.search(r"#0[1-5]0[1-5]0[1-5]", item)
    pruned = drawings(render_tune_page(make_subject(), TRIALS[:2], "5.0.0"))
    assert len(found[0]) > len(pruned[0])


def test_the_page_says_what_the_figure_is_not() -> None:
    page = html.unescape(render_tune_page(make_subject(), TRIALS, "5.0.0"))
    assert "Optimistic" in page
    assert "No trial was given a test case, and this page has no test figure" in page
    assert "the best of 3 trials was chosen because its validation AUROC is the best" in page
    assert "nested use" in page
    assert "What 1 pruned trial would have come to" in page
    assert "not for clinical use" in page
    assert "no trial was given a test case" in optimism(make_subject(), TRIALS)


def test_what_is_honest_depends_on_the_folds() -> None:
    assert "--fold 0 has an honest test figure there" in honest(make_subject())
    every = honest(make_subject(folds=5, untouched=()))
    assert "every case taught or judged the trials" in every
    assert "--fold" not in every
    official = honest(make_subject(scheme="official"))
    assert "its test figure is honest" in official
    assert all("nested use" in text for text in (every, official))


def test_a_loss_is_called_a_loss() -> None:
    page = render_tune_page(make_subject("loss"), TRIALS, "5.0.0")
    assert "AUROC" not in page
    assert "Trial 0 has the best validation loss" in page
    assert "lower is better" in dict(protocol(make_subject("loss"), "5.0.0"))["Figure of a trial"]


def test_several_networks_are_named() -> None:
    page = render_tune_page(make_subject(folds=2, seeds=3), TRIALS, "5.0.0")
    assert "mean of 6 networks, on 60 validation cases of 14 patients" in page


@pytest.mark.parametrize("trials", [(), TRIALS[3:], TRIALS[2:], TRIALS[:1]])
def test_a_search_that_has_found_little_has_a_page(trials: tuple[Trial, ...]) -> None:
    moved = [item.model_copy(update={"number": k}) for k, item in enumerate(trials)]
    page = render_tune_page(make_subject(), moved, "5.0.0")
    assert ("no best settings" in page) == (not trials or trials[0].state != "complete")
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL).lower()


def test_names_are_escaped_and_nothing_is_loaded() -> None:
    nested: list[JsonValue] = [1, {"a": HOSTILE[0]}]
    choices: tuple[JsonValue, ...] = (
        *HOSTILE,
        "/".join(("", "somebody", "secret", "w.safetensors")),
        nested,
        None,
    )
    space = {**SPACE, "model.weights": Dimension(choices=choices)}
    trials = [
        make_trial(k, "complete", 0.5, reason=HOSTILE[k % 3], parameters={"model.weights": choice})
        for k, choice in enumerate(choices)
    ]
    page = render_tune_page(make_subject(space=space, name=HOSTILE[1]), trials, HOSTILE[0])
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "somebody" not in page
    assert "…/w.safetensors" in page
    assert not re.search(r"<(script|iframe|object|embed|link|base|form|img)", page)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert not re.search(r"https?:|file:|@import|url\((?!#)", page)
    assert set(re.findall(r'(?:src|href)="(.)', page)) <= {"#"}
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)


def test_the_page_needs_neither_torch_nor_optuna() -> None:
    code = (
        "import sys; import pipeline.reports.tune_page; "
        "found = {'torch', 'monai', 'optuna', 'matplotlib.pyplot'} & set(sys.modules); "
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
    long = "a_choice_with_a_name_that_goes_on_and_on_without_a_space_" * 2
    space = {**SPACE, "model.options.a_very_long_name_of_an_option": Dimension(choices=(long, "b"))}
    more: dict[str, JsonValue] = {"model.options.a_very_long_name_of_an_option": long}
    trials = [make_trial(k, "complete", 0.5 + k / 60, parameters=more) for k in range(25)]
    trials.append(make_trial(25, "failed", reason=long * 2, parameters=more))
    subject = make_subject(space=space, name="a_search_with_a_long_name_" * 4)
    page = render_tune_page(subject, trials, "5.0.0")
    page = html.escape(page.replace("<details>", "<details open>"))
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
