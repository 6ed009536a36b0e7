"""The verb `plan`: settings for a data set, each with its reason.

Heavy libraries are imported inside it, after the arguments are checked.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .arguments import Debug
from .console import refusals, say
from .errors import ConfigError


def plan(
    out: Annotated[Path, typer.Option("--out", "-o", help="YAML file to write.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MANIFEST] [SECTION.KEY=VALUE]...",
            help="A CSV of volumes, unless --config names one; and settings that shall stand.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", help="Start from this config in place of base."),
    ] = None,
    fold: Annotated[
        int | None, typer.Option(min=0, help="Look at this fold's training part alone, from 0.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Look at every volume and propose a config, with the reason for each setting."""
    with refusals(debug):
        from .planning.request import request_of
        from .storage import check_writable

        # Mistakes are told before a heavy library is imported.
        request = request_of(config, words or ())
        _refuse_existing(out, force=force)
        check_writable(out.parent)
        from .plan import plan as plan_volumes
        from .progress import display

        with display() as shown:
            made = plan_volumes(request, out, shown, fold=fold)
        for line in made.lines():
            say(line)


def _refuse_existing(out: Path, *, force: bool) -> None:
    if out.is_dir():
        raise ConfigError(
            "a plan is written to a file, and this is a folder",
            where=str(out),
            remedy=f"name a file in it: --out {out / 'plan.yaml'}",
        )
    if os.path.lexists(out) and not force:
        raise ConfigError(
            f"there is a {out.name} already",
            where=str(out),
            why="a file of yours is not overwritten",
            remedy="choose another file with --out, or replace it with --force",
        )
