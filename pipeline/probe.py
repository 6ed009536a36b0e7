"""`volclass probe`: which depth of a network carries the signal, from a file of features."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

from .config import CvConfig
from .data.cases import Case
from .data.folds_file import read_folds
from .data.splits import class_order, make_folds
from .errors import ConfigError, DataError
from .evaluation.competitors import Card, Start, check_place, write_competitor
from .evaluation.probe_parts import ProbePlan, make_plan, needs_companion
from .evaluation.probe_results import ProbeEvaluation, run_probes
from .feature_table import FeatureTable, read_features, training_path
from .feature_table import Start as Origin
from .progress import Display
from .reports.probe_page import render_probe_page
from .reports.probe_words import figure_text, stage_title, verdict
from .storage import check_writable, write_json, write_text

_AGAIN = "extract the features again with `volclass features`"
#: How a competitor says where its features come from.
_STARTS: dict[Origin, Start] = {
    "run": "trained",
    "random": "random",
    "timm": "pretrained",
    "pretraining": "pretrained",
    "file": "file",
}


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What was written.

    Attributes:
        page: The HTML file.
        metrics: The JSON file.
        evaluation: The figures in both.
    """

    page: Path
    metrics: Path
    evaluation: ProbeEvaluation

    def lines(self) -> list[str]:
        """The result for the console: one line a stage, the verdict, and where the page is."""
        return [
            *(
                f"{stage_title(item).lower()}: AUROC {figure_text(item)}"
                for item in self.evaluation.stages
            ),
            verdict(self.evaluation).sentence,
            verdict(self.evaluation).chip,
            f"{self.evaluation.cases} cases of {self.evaluation.patients} patients",
            f"page: {self.page}",
        ]


def probe(
    path: Path,
    out: Path,
    display: Display,
    *,
    run: Path | None = None,
    folds: int = 5,
    resamples: int = 2000,
) -> ProbeResult:
    """Probes every stage of the network behind a file of features.

    Args:
        path: A file that `volclass features` wrote; features of a cross-validated run need the
            companion that lies beside it.
        out: Folder for `index.html` and `metrics.json`, and for what `volclass report` compares:
            `predictions.csv` and `competitor.json`, of logistic regression on all stages.
        display: Shows the progress.
        run: A run whose folds the features must have been made with.
        folds: Folds to make, by patient, where the file names none.
        resamples: Bootstrap resamplings of patients.

    Raises:
        ConfigError: `folds` is below 2, the file's name tells no format, or `out` holds a run, a
            ladder or a competitor that is no probe.
        DataError: The features cannot be probed; says why.
        StorageError: A file cannot be read, or `out` cannot be written.
    """
    if folds < 2:
        raise ConfigError(f"--folds {folds} is too few", remedy="take 2 or more")
    check_place(out, "probe")
    check_writable(out)
    plan = _plan(path, run, folds)
    found = run_probes(plan, display, resamples=resamples)
    result = ProbeResult(out / "index.html", out / "metrics.json", found)
    write_text(result.page, render_probe_page(found))
    write_json(result.metrics, found.as_json())
    _write_answers(out, found)
    return result


def _write_answers(out: Path, found: ProbeEvaluation) -> None:
    """What `volclass report` compares with runs on the same folds."""
    assert found.answers is not None
    notes = ["logistic regression on all stages"]
    notes += ["folds made by the probe"] if found.scheme == "probe" else []
    card = Card(
        title=f"probe of {found.origin.network}",
        kind="probe",
        network=found.origin.network,
        start=_STARTS[found.origin.start],
        folds=found.origin.folds,
        notes=tuple(notes),
    )
    write_competitor(out, card, found.case_ids, found.answers)


def _plan(path: Path, run: Path | None, folds: int) -> ProbePlan:
    table = read_features(path)
    _check_labels(path, table)
    if run is not None:
        _check_run(path, table, run)
    if all(fold is None for fold in table.folds):
        table = _with_own_folds(path, table, folds)
        return make_plan(table, table, _classes(path, table), "probe")
    training = _companion(path, table) if needs_companion(table) else table
    scheme = table.origin.scheme or "kfold"
    return make_plan(table, training, _classes(path, table, training), scheme)


def _check_labels(path: Path, table: FeatureTable) -> None:
    without = [c for c, label in zip(table.case_ids, table.labels, strict=True) if label is None]
    if without or not table.case_ids:
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        named = f"these cases have none: {', '.join(without[:5])}{more}"
        raise DataError(
            "E_EMPTY: a probe needs cases with labels",
            where=path.name,
            why=named if without else "the file has no cases",
            remedy="extract the features from a run, or from a manifest with a label column",
        )


def _classes(path: Path, *tables: FeatureTable) -> tuple[str, ...]:
    """The classes that occur, in the order of the run where there is one."""
    found = {label for table in tables for label in table.labels if label is not None}
    order = tables[0].origin.classes
    unknown = sorted(found - set(order)) if order else []
    if unknown:
        raise DataError(
            "labels are not among the classes of the features",
            where=path.name,
            why=f"{', '.join(unknown[:5])}; the classes are {', '.join(order)}",
            remedy=_AGAIN,
        )
    classes = tuple(name for name in order if name in found) or class_order(found)
    if len(classes) < 2:
        raise DataError(
            "E_ONE_CLASS: there is nothing to tell apart",
            where=path.name,
            why=f"the classes are {', '.join(classes)}",
            remedy="add cases of another class",
        )
    return classes


def _check_run(path: Path, table: FeatureTable, run: Path) -> None:
    own = read_folds(run / "folds.json").sha256
    if own != table.origin.folds:
        raise DataError(
            "features of other folds",
            where=path.name,
            why=f"the run's folds are {own[:12]}, those of the features "
            f"{(table.origin.folds or 'none')[:12]}",
            remedy="name the run that the features were extracted from, or " + _AGAIN,
        )


def _companion(path: Path, table: FeatureTable) -> FeatureTable:
    """Features of the training parts, from each fold's own model."""
    beside = training_path(path)
    if not beside.is_file():
        raise DataError(
            "the features of the training parts are missing",
            where=beside.name,
            why="the models of several folds made these features; each fold's probe can learn only "
            "from features of its own model",
            remedy=_AGAIN + ", and keep both files together",
        )
    training = read_features(beside)
    differing = [
        item.name
        for item in fields(table.origin)
        if getattr(table.origin, item.name) != getattr(training.origin, item.name)
    ]
    if differing:
        raise DataError(
            "a feature file of another model or other folds",
            where=beside.name,
            why=f"it differs from {path.name} in {', '.join(differing)}",
            remedy=_AGAIN,
        )
    _check_labels(beside, training)
    return training


def _with_own_folds(path: Path, table: FeatureTable, count: int) -> FeatureTable:
    """The table with folds by patient and stratified by class, as a run would make them."""
    if len(set(table.models)) > 1:
        raise DataError(
            "features of several models cannot be probed together",
            where=path.name,
            why="no fold is named, and features of different models have nothing in common",
            remedy="extract the features from the run itself, or from one network",
        )
    rows = zip(table.case_ids, table.patient_ids, table.labels, strict=True)
    cases = [Case(case_id, patient, Path(), label) for case_id, patient, label in rows]
    try:
        made = make_folds(cases, CvConfig(folds=count), table.origin.seed)
    except DataError as error:
        remedy = error.remedy and error.remedy.replace("cv.folds=", "--folds ")
        raise DataError(error.what, where=error.where, why=error.why, remedy=remedy) from None
    fold_of = {key: number for number, fold in enumerate(made.folds) for key in fold.test}
    own = tuple(fold_of[case_id] for case_id in table.case_ids)
    return replace(table, folds=own, origin=replace(table.origin, folds=made.sha256))
