"""The verb `reliability`: what becomes of bad files, measured, as a page.

Heavy libraries are imported inside it, after the arguments are checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Debug, names_of
from .console import refusals
from .errors import ConfigError, DataError

_TITLE = "# Reliability"
_ROWS = range(1, 59)


def reliability(
    out: Annotated[Path, typer.Option("--out", "-o", help="Markdown file to write.")],
    rows: Annotated[
        str,
        typer.Option(
            "--rows",
            metavar="NUMBER,NUMBER",
            help="Measure these rows of the table of bad inputs alone; the page says so.",
        ),
    ] = "",
    flips: Annotated[int, typer.Option(min=1, help="How many bits are flipped.")] = 500,
    mutations: Annotated[
        int, typer.Option(min=1, help="How many bytes of a header are changed.")
    ] = 5000,
    debug: Debug = False,
) -> None:
    """Measure what becomes of bad files, beside other readers; code 3 if a figure does not hold."""
    with refusals(debug):
        from .storage import check_writable

        chosen = _chosen(rows)
        _refuse_foreign(out)
        check_writable(out.parent)
        from .progress import display
        from .reliability import Amounts, failures, figures
        from .reliability import reliability as measure

        with display() as shown:
            seen = measure(out, shown, Amounts(chosen, flips, mutations))
        for figure in figures(seen):
            typer.echo(figure.line())
        typer.echo(f"page: {out}")
        failed = failures(seen)
        if failed:
            typer.echo("\n".join(["what did not hold:", *(f"  {line}" for line in failed)]))
            raise typer.Exit(DataError.exit_code)


def _chosen(rows: str) -> tuple[int, ...]:
    """The numbers of rows; all where none is named."""
    names = names_of(rows)
    if not all(name.isascii() and name.isdigit() and int(name) in _ROWS for name in names):
        raise ConfigError(
            f"there are no rows {rows!r}",
            where="--rows",
            remedy=f"name numbers from {_ROWS[0]} to {_ROWS[-1]}, e.g. --rows 1,4,54",
        )
    return tuple(sorted({int(name) for name in names})) or tuple(_ROWS)


def _refuse_foreign(out: Path) -> None:
    """Refuses to replace anything but a page that this command wrote."""
    if out.is_dir():
        raise ConfigError(
            "the page is written to a file, and this is a folder",
            where=str(out),
            remedy=f"name a file in it: --out {out / 'reliability.md'}",
        )
    if not out.exists():
        return
    start = b""
    if out.is_file():
        with out.open("rb") as handle:
            start = handle.read(len(_TITLE))
    if start != _TITLE.encode():
        raise ConfigError(
            f"there is a {out.name} already",
            where=str(out),
            why="it is no page of this command, and a file of yours is not overwritten",
            remedy="choose another file with --out",
        )
