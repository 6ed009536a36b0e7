"""The report of a run: `index.html` for people and `metrics.json` for programs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import JsonValue

from ..evaluation.results import Evaluation, evaluate
from ..storage import make_folder, write_json, write_text
from . import sections
from .drawings import band_weights, learning_drawings, ranking_drawings, reliability_drawing
from .gallery import hardest_cases
from .limits import limits
from .plots import best_epoch
from .redaction import hide_paths, relative_only
from .run_files import RunFiles, read_run
from .slice_section import slice_section
from .start import start_words, untrained_parts
from .wording import basis, counted, headline, interval, number, percent, verdict


@dataclass(frozen=True, eq=False)
class Report:
    """What was written.

    Attributes:
        page: The HTML file.
        metrics: The JSON file.
        evaluation: The figures in both.
        notices: What the reader must know first, e.g. that folds are not finished.
    """

    page: Path
    metrics: Path
    evaluation: Evaluation
    notices: tuple[str, ...]


def write_report(run: Path, out: Path | None = None) -> Report:
    """Writes the report of a run from the files of its folder alone.

    The same files give the same bytes. The page needs no network and runs no script.

    Args:
        run: The run folder; some of its folds may be unfinished, which the page then says.
        out: Folder for `index.html` and `metrics.json`; by default `RUN/report`.

    Raises:
        StorageError: The run is missing, unfinished in all folds or damaged, or `out` cannot be
            written.
    """
    files = read_run(run)
    result = evaluate(files.scored, resamples=files.settings.bootstrap, seed=files.seed)
    notices = _notices(files)
    folder = make_folder(run / "report" if out is None else out)
    report = Report(folder / "index.html", folder / "metrics.json", result, notices)
    write_text(report.page, render_page(files, result, notices))
    write_json(report.metrics, metrics_json(files, result))
    return report


def metrics_json(run: RunFiles, result: Evaluation) -> dict[str, JsonValue]:
    """The evaluation as JSON, with what the logs say of each fold."""
    values = result.as_json()
    folds: list[JsonValue] = []
    for item in result.folds:
        epochs = run.logs.get(item.fold, ())
        known: dict[str, JsonValue] = {
            **item.as_json(),
            "best_epoch": best_epoch(epochs),
            "epochs": epochs[-1].epoch if epochs else None,
        }
        folds.append(known)
    unfinished: list[JsonValue] = list(run.unfinished)
    more: dict[str, JsonValue] = {}
    if run.judged is not None:
        more = {"covariates": run.judged.model_dump(mode="json", exclude={"format"})}
    left_out = len(run.left_out)
    return {**values, "folds": folds, "unfinished_folds": unfinished, "left_out": left_out, **more}


def render_page(run: RunFiles, result: Evaluation, notices: tuple[str, ...]) -> str:
    """The page as HTML; every text from the run is escaped.

    Args:
        run: The run.
        result: Its evaluation.
        notices: Sentences shown at the top.
    """
    weights, auroc = band_weights(run), result.metrics["auroc"]
    return template_environment().get_template("page.html").render(
        title=run.folder.resolve().name,
        result=result,
        auroc=auroc,
        verdict=verdict(auroc),
        headline=headline(result),
        basis=basis(
            result, run.plan.scheme, run.environment.get("patients_assumed") == "true"
        ),
        notices=notices,
        warnings=() if run.judged is None else run.judged.warnings(),
        figures=sections.figure_rows(run, result),
        limits=limits(run, result),
        folds=sections.fold_rows(run, result),
        rankings=ranking_drawings(run, weights),
        confusion=sections.confusion_rows(result),
        reliability=reliability_drawing(run, weights),
        classes=sections.class_rows(result),
        balance=sections.balance_rows(run),
        sites=sections.site_rows(run),
        learning=learning_drawings(run),
        slices=slice_section(run),
        gallery=hardest_cases(run, run.settings.gallery),
        start=start_words(run.config),
        run=run,
    )  # fmt: skip


_DECLARED = {
    ("patients_assumed", "true"): "The manifest has no patient column, so every case counts as a "
    "patient of its own. If a patient has several scans, all figures are too good and all "
    "intervals too narrow.",
    ("bit_exact", "false"): "The run was resumed with other versions, another device or another "
    "number of threads: repeating it gives the same choices, and results only to rounding.",
}


def _notices(run: RunFiles) -> tuple[str, ...]:
    return (
        *_unfinished(run),
        *untrained_parts(run.config),
        *(text for (key, value), text in _DECLARED.items() if run.environment.get(key) == value),
        *_doubtful(run),
        *run.notices,
    )


def _doubtful(run: RunFiles) -> tuple[str, ...]:
    text = run.environment.get("doubtful", "")
    return (f"Some volumes were read with a doubt: {text}.",) if text else ()


def _unfinished(run: RunFiles) -> tuple[str, ...]:
    planned, unfinished = len(run.plan.folds), run.unfinished
    if not unfinished:
        return ()
    names = ", ".join(str(fold) for fold in unfinished)
    loud = (
        f"This run is not finished: {planned - len(unfinished)} of {planned} folds have "
        f"predictions (missing: fold {names}). All figures are of the finished folds only."
    )
    return (loud,)


@cache
def template_environment() -> Environment:
    """Jinja with escaping on, and the filters that pages use; templates are compiled once."""
    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        percent=percent,
        interval=interval,
        counted=counted,
        hide_paths=hide_paths,
        relative_only=relative_only,
    )
    return environment
