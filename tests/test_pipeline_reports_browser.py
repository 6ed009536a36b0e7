"""The page in a real browser: nothing overflows and nothing is refused, wide and narrow."""

from __future__ import annotations

import html
import importlib
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.reports.page import write_report

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --virtual-time-budget=5000"
).split()
WIDTHS = (1280, 390)
# The page itself allows no script; frames around it, of the same origin, measure it.
_FRAME = '<iframe srcdoc="{page}" style="border:0;width:{width}px;height:3000px"></iframe>'
_MEASURE = """<!doctype html><body style="margin:0">{frames}<p id="found"></p><script>
onload = () => {
  const box = (node) => node.getBoundingClientRect();
  found.textContent = [...document.querySelectorAll("iframe")].map((frame) => {
    const inside = frame.contentDocument, width = frame.clientWidth;
    const wide = [...inside.querySelectorAll("body *")]
      .filter((node) => node.closest(".scroll, nav") === null && box(node).right > width + 0.5)
      .map((node) => node.outerHTML.slice(0, 90));
    const pictures = [...inside.querySelectorAll("svg, img")];
    const blank = pictures.filter((node) => box(node).height < 40).length;
    const scroll = inside.documentElement.scrollWidth;
    return `width ${scroll} blank ${blank} wide ${wide.length} ${wide[0]}`;
  }).join("; ");
};
</script></body>"""


def _maker() -> ModuleType:
    return importlib.import_module("test_pipeline_reports_page")


def _browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no chromium on this machine")


def test_nothing_is_wider_than_a_laptop_or_a_phone(tmp_path: Path) -> None:
    browser, run = _browser(), tmp_path / ("a_run_with_a_very_long_name_" * 3)
    run.mkdir()
    classes = ("a", "a_class_with_a_name_that_goes_on_and_on_without_a_space", "c", "d", "e")
    _maker().make_run(run, classes, names={0: "x" * 150}, sites=("north", "y" * 80))
    page = html.escape(write_report(run).page.read_text())
    frames = "".join(_FRAME.format(page=page, width=width) for width in WIDTHS)
    outer = tmp_path / "outer.html"
    outer.write_text(_MEASURE.replace("{frames}", frames))
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [browser, *_FLAGS, profile, "--window-size=1800,3000", "--dump-dom", outer.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = re.findall(r'<p id="found">(.*?)</p>', done.stdout, flags=re.DOTALL)
    assert found == ["; ".join(f"width {width} blank 0 wide 0 undefined" for width in WIDTHS)]
    assert "Content Security Policy" not in done.stderr
