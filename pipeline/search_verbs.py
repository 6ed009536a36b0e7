"""The verbs that run many networks: ladder, benchmark, tune and bench.

Heavy libraries are imported inside the verbs, after the arguments are checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Debug, Overrides, Rungs, names_of
from .console import nothing, refusals, say


def ladder(
    config: Annotated[
        str, typer.Option("--config", "-c", help="Ladder file, or the name of a shipped one.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the ladder.")],
    overrides: Overrides = None,
    rungs: Rungs = "",
    page: Annotated[
        Path | None, typer.Option("--page", help="Markdown file that gets a table of the rungs.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Compare baselines, 2D and 3D networks on the same folds; stopped, it goes on where it was."""
    with refusals(debug):
        from .ladder_config import read_ladder
        from .storage import check_writable

        # Mistakes are told before a heavy library is imported.
        plan = read_ladder(config, overrides or (), nothing)
        only = names_of(rungs)
        if only:
            plan.cut(only)
        check_writable(out)
        from .ladder import ladder as climb
        from .progress import display

        with display() as shown:
            comparison = climb(config, out, shown, overrides or (), only=only, page=page)
        for line in comparison.lines():
            say(line)


def benchmark(
    root: Annotated[Path, typer.Argument(help="Folder of the official MedMNIST 3D files.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the runs.")],
    page: Annotated[Path, typer.Option("--page", help="Markdown file for the tables.")],
    size: Annotated[int, typer.Option("--size", help="Voxels along an axis: 28 or 64.")] = 28,
    overrides: Overrides = None,
    rungs: Rungs = "",
    debug: Debug = False,
) -> None:
    """Run one recipe on every MedMNIST 3D set at hand, beside the published figures."""
    with refusals(debug):
        from .errors import ConfigError
        from .storage import check_writable

        if size not in (28, 64):
            raise ConfigError(
                f"there are no volumes of {size}^3", where="--size", remedy="28 or 64"
            )
        check_writable(out)
        from .benchmark import benchmark as run_benchmark
        from .progress import display

        with display() as shown:
            lines = run_benchmark(
                root,
                out,
                page,
                shown,
                size=size,
                overrides=overrides or (),
                only=names_of(rungs),
            )
        for line in lines:
            say(line)


def tune(
    config: Annotated[
        str, typer.Option("--config", "-c", help="Tuning file, or the name of a shipped one.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the search.")],
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Search settings, judged by validation parts alone; stopped, it goes on where it was."""
    with refusals(debug):
        from .storage import check_writable
        from .tune_plan import read_tuning
        from .tune_search import optuna_version

        # Mistakes are told before a heavy library is imported.
        read_tuning(config, overrides or ())
        optuna_version()
        check_writable(out)
        from .progress import display
        from .tune import tune as search

        with display() as shown:
            found = search(config, out, shown, overrides or ())
        for line in found.lines():
            say(line)


def bench(
    out: Annotated[Path, typer.Option("--out", "-o", help="Markdown file to write.")],
    debug: Debug = False,
) -> None:
    """Measure speed on this machine, as ratios, side by side."""
    with refusals(debug):
        from .bench import bench as measure
        from .progress import display

        with display() as shown:
            for ratio in measure(out, shown):
                typer.echo(
                    f"{ratio.name}: {ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
                )
