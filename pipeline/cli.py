"""The console command `volclass`: reads the command line, and shows what became of it.

Heavy libraries are imported inside the verbs, after the arguments are checked, so that help and
refusals come at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

import pipeline

from .arguments import ConfigName, Debug, Out, Overrides, RunArgument
from .console import (
    checked,
    comparison,
    feature_source,
    headline,
    refusals,
    run_report,
    say,
    stop,
)
from .data_verbs import audit
from .plan_verb import plan
from .process_start import end_quickly, prepare_process
from .reliability_verb import reliability
from .search_verbs import bench, benchmark, ladder, tune

app = typer.Typer(
    name="volclass",
    help="Classify 3D medical volumes, with honest cross-validation.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)


@app.command(epilog="Example: volclass train --config quickstart train.epochs=10 --out runs/demo")
def train(
    config: ConfigName,
    out: Out,
    overrides: Overrides = None,
    fold: Annotated[int | None, typer.Option(help="Train this fold only, from 0.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the forecast.")] = False,
    debug: Debug = False,
) -> None:
    """Cross-validate a network on labelled volumes and write a report."""
    with refusals(debug):
        settings = checked(config, overrides, out, resume=resume)
        from .crossval import cross_validate
        from .progress import display

        with display() as shown:
            folder = cross_validate(settings, out, shown, fold=fold, resume=resume, dry_run=dry_run)
        if folder is not None:
            headline(folder.report)


@app.command(epilog="Example: volclass pretrain --config quickstart --out runs/pretrained")
def pretrain(
    config: ConfigName,
    out: Out,
    overrides: Overrides = None,
    fold: Annotated[int | None, typer.Option(help="Pretrain for this fold only, from 0.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a stopped pretraining.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Let networks learn from volumes without labels; `train` starts from them by model.init."""
    with refusals(debug):
        settings = checked(config, overrides, out, resume=resume)
        from .pretrain import pretrain as pretrain_networks
        from .progress import display

        with display() as shown:
            done = pretrain_networks(settings, out, shown, fold=fold, resume=resume)
        for line in done.lines() if done is not None else ():
            say(line)


@app.command(epilog="Example: volclass predict runs/demo new_scans/ --out predictions.csv")
def predict(
    run: RunArgument,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Volumes, folders or manifests; data.KEY=VALUE overrides."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV to write.")],
    out_of_fold: Annotated[
        bool, typer.Option("--out-of-fold", help="Use only models that did not see a case.")
    ] = False,
    refit: Annotated[
        bool, typer.Option("--refit", help="Use the network of all cases (cv.refit).")
    ] = False,
    debug: Debug = False,
) -> None:
    """Predict volumes with the ensemble of a run's fold models."""
    with refusals(debug):
        from .predict import predict as predict_volumes
        from .progress import display

        with display() as shown:
            results = predict_volumes(run, inputs, out, shown, out_of_fold=out_of_fold, refit=refit)
        seen = sum(item.seen for item in results)
        typer.echo(f"{len(results)} cases: {out}")
        if seen and not out_of_fold:
            typer.echo(
                f"warning: the run was trained on {seen} of them; "
                "their predictions are too good. --out-of-fold uses models that did not see them.",
                err=True,
            )


@app.command(epilog="Example: volclass features runs/demo --out features/demo.parquet")
def features(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN] [INPUT]...",
            help="A run folder, unless --config is given; then volumes, folders or manifests in "
            "place of its own cases, and SECTION.KEY=VALUE overrides.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help=".parquet or .npz to write.")] = Path(
        "features.parquet"
    ),
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", help="Describe by this config's network, as it starts."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Describe all cases by one network of the run: fold_0, ..., refit."),
    ] = None,
    maps: Annotated[
        Path | None, typer.Option(help="Folder for the whole maps of every stage.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Extract the features of every stage for every case; stopped, it goes on where it was."""
    with refusals(debug):
        source, inputs = feature_source(config, words or [], model)
        from .features import extract
        from .progress import display

        with display() as shown:
            done = extract(source, inputs, out, shown, model=model, maps=maps)
        stages = ", ".join(str(count) for count in done.table.origin.channels)
        typer.echo(f"{len(done.table.case_ids)} cases, stages of {stages} channels: {out}")
        if done.training is not None:
            typer.echo(f"training parts by each fold's network, for the probe: {done.training}")
        if done.table.origin.start == "file":
            typer.echo(
                "note: the weights come from a file; if it was trained on any of these cases, "
                "whatever is found in their features is too good.",
                err=True,
            )
        if any(done.table.seen):
            typer.echo(
                f"warning: {sum(done.table.seen)} cases are described by a network that was "
                "trained on them, or on their patients; the column seen marks them.",
                err=True,
            )


@app.command(epilog="Example: volclass probe features/demo.parquet --out runs/demo_probe")
def probe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `volclass features` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the page.")],
    run: Annotated[
        Path | None, typer.Option(help="Make sure that the features are on this run's folds.")
    ] = None,
    folds: Annotated[
        int, typer.Option(min=2, help="Folds to make where the features have none.")
    ] = 5,
    debug: Debug = False,
) -> None:
    """Say which depth of a network carries the signal: simple classifiers on every stage."""
    with refusals(debug):
        from .probe import probe as probe_stages
        from .progress import display

        with display() as shown:
            result = probe_stages(file, out, shown, run=run, folds=folds)
        for line in result.lines():
            say(line)


@app.command(epilog="Example: volclass init scans/ --out work/")
def init(
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER-or-CSV", help="Volumes, or a table that names them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for manifest and config.")],
    debug: Debug = False,
) -> None:
    """Propose a manifest and a config for your own data, and say what was guessed."""
    with refusals(debug):
        from .init import propose
        from .progress import display

        with display() as shown:
            proposal = propose(source, out, shown)
        for line in proposal.lines():
            say(line)


@app.command(epilog="Example: volclass report runs/demo runs/other --out runs/compared")
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="A run folder; several are compared."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder; by default RUN/report. Needed for several."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write the report of a run again, from its files alone; or compare several on one page."""
    with refusals(debug):
        if len(runs) > 1:
            comparison(runs, out)
        else:
            run_report(runs[0], out)


@app.command(epilog="Example: volclass split --config my.yaml cv.folds=5 --out runs/mine")
def split(config: ConfigName, out: Out, overrides: Overrides = None, debug: Debug = False) -> None:
    """Write folds.json into a run folder; `train` obeys it."""
    with refusals(debug):
        settings = checked(config, overrides, out, resume=False)
        from .progress import display
        from .split import split as write_split

        with display() as shown:
            folds = write_split(settings, out, shown)
        for number, fold in enumerate(folds.folds):
            typer.echo(
                f"fold {number}: {len(fold.train)} train, {len(fold.validation)} validation, "
                f"{len(fold.test)} test"
            )
        typer.echo(f"folds: {out / 'folds.json'}")


app.command(
    epilog="Example: volclass audit --config base data.manifest=cases.csv --out runs/audit"
)(audit)
app.command(epilog="Example: volclass plan cases.csv --out plan.yaml")(plan)
app.command(
    epilog="Example: volclass ladder --config ladders/quick data.manifest=cases.csv "
    "--out runs/ladder"
)(ladder)
app.command(
    epilog="Example: volclass benchmark ../data/medmnist --out runs/benchmark "
    "--page docs/benchmarks.md"
)(benchmark)
app.command(
    epilog="Example: volclass tune --config tuning/mr_patches data.manifest=cases.csv "
    "--out runs/tuned"
)(tune)
app.command(epilog="Example: volclass bench --out docs/benchmarks.md")(bench)
app.command(epilog="Example: volclass reliability --out docs/reliability.md")(reliability)


@app.command(epilog="Example: volclass models 'poolformer3d_*'")
def models(
    pattern: Annotated[str, typer.Argument(help="Shell pattern.")] = "*", debug: Debug = False
) -> None:
    """List the networks, with parameters and stages."""
    with refusals(debug):
        from .build import describe_models

        for line in describe_models(pattern):
            say(line)


def _refuse_namesakes() -> None:
    """Another distribution's `pipeline` would answer in place of ours, now or later."""
    found = Path(pipeline.__file__ or "").parent
    if getattr(pipeline, "DISTRIBUTION", None) == "volclass" and found == Path(__file__).parent:
        return
    stop(
        f"volclass: another distribution provides 'pipeline'\n  where: {found}\n"
        "  what to do: install volclass into a virtual environment of its own"
    )


def main(verb: str | None = None) -> None:
    """Entry of the console command, and of the scripts, which are its verbs."""
    _refuse_namesakes()
    prepare_process()
    arguments = sys.argv[1:] if verb is None else [verb, *sys.argv[1:]]
    program: Callable[..., object] = app
    try:
        program(args=arguments, prog_name="volclass")
    finally:
        end_quickly()
