"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigName = Annotated[
    str, typer.Option("--config", "-c", help="YAML file, or the name of a shipped config.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run folder.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Rungs = Annotated[
    str,
    typer.Option(
        "--rungs",
        metavar="NAME,NAME",
        help="Climb these alone, and what they rest on; the others wait for another start.",
    ),
]


def names_of(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list, e.g. `shape, nano`."""
    return tuple(name for part in text.split(",") if (name := part.strip()))
