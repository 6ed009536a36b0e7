"""Matplotlib figures as small inline SVG that takes its colours from the page's style sheet."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

# Stand-ins that no other drawing uses; the page gives each a light and a dark value.
INK = "#010101"
MUTED = "#020202"
GRID = "#030303"
ACCENT = "#040404"
SECOND = "#050505"
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
}
_RC: dict[RcKeyType, object] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be named "$5"
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.0,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "figure.facecolor": "none",
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


@contextmanager
def drawing() -> Iterator[None]:
    """The settings in which figures are made and rendered; the global ones stay untouched."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        # Text is written as text: the reader's browser has glyphs that DejaVu lacks.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def inline_svg(figure: Figure, name: str, alt: str) -> Markup:
    """Renders a figure for direct use in HTML.

    Args:
        figure: Made within `drawing()`, as this call must be.
        name: Unique within the page; ids inside the drawing start with it.
        alt: What the drawing shows, for those who cannot see it.

    Returns:
        One `<svg>` element without size (the page sets its width), addresses or metadata.
    """
    stream = io.StringIO()
    FigureCanvasSVG(figure)
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", lambda tag: _tidy(tag.group(), name), text)
    text = re.sub(r">\s*\n\s*<", "><", text)
    label = f'role="img" aria-label="{escape(alt)}"'
    return Markup(text.strip().replace("<svg ", f"<svg {label} ", 1))


def _tidy(tag: str, name: str) -> str:
    """One tag with colours of the page and ids of its own; text between tags is not touched."""
    tag = re.sub(r'\s+xmlns(?::\w+)?="[^"]*"', "", tag)
    if tag.startswith("<svg"):
        tag = re.sub(r'\s+(?:width|height|version)="[^"]*"', "", tag)
    if tag.startswith("<g"):
        tag = re.sub(r'\s+id="[^"]*"', "", tag)
    tag = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', tag)
    tag = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, variable)
    return tag
