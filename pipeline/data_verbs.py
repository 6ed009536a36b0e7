"""The verbs that examine data before anything is trained.

Heavy libraries are imported inside the verbs, after the arguments are checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import ConfigName, Debug, Overrides
from .console import checked, refusals, say
from .errors import DataError


def audit(
    config: ConfigName,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for page and findings.")],
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Find bad files, leaks, copies, outliers and shortcuts; code 3 if you must decide."""
    with refusals(debug):
        settings = checked(config, overrides, out, resume=False)
        from .audit import audit as audit_data
        from .progress import display

        with display() as shown:
            found = audit_data(settings, out, shown)
        for line in found.lines():
            say(line)
        if not found.passed:
            raise typer.Exit(DataError.exit_code)
